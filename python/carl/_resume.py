"""What a run that goes on takes from its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._checkpoint import read_header
from ._early_views import UNDECIDED
from ._notes import path_from_note
from ._reading import parse_json, sha256_of
from .errors import FileError, InvalidArgumentError
from .weights import weights_path

if TYPE_CHECKING:
    from .estimator import CARL

#: Parameters of the program and the machine rather than of the run.
_OWN = ("weights", "memory", "threads", "run_dir", "eval_every", "progress", "callbacks")
#: What says how long a run is.
_LENGTH = ("epochs", "total_steps", "budget")
#: Parameters besides the configuration's that decide which values training gets of the images.
_READING = ("value_range", "cache_size", "feature_views")


def take_stored(model: CARL, checkpoint: str) -> None:
    """Gives the model the parameters of a checkpoint that it leaves out: the run goes on as it was started. How long it
    is counts as one: none of what says so is taken where one is given, but a budget that has not decided yet.

    InvalidArgumentError for another length beside such a budget. What is damaged is told when the file is read.
    """
    stored, undecided = _stored(checkpoint)
    given = {key: getattr(model, key) for key in _LENGTH if getattr(model, key) is not None}
    if undecided and given and "budget" not in given:
        key, value = next(iter(given.items()))
        raise InvalidArgumentError(
            f"{key}: got {value!r}, but {checkpoint} was made with budget={stored.get('budget')!r}, which has not "
            "decided yet how long the run is: leave it out"
        )
    defaults = model._parameter_defaults()
    for key, value in stored.items():
        free = key in defaults and key not in _OWN and not (given and key in _LENGTH)
        if free and value is not None and repr(getattr(model, key)) == repr(defaults[key]):
            setattr(model, key, value)


def read_settings(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Of parameters beside the configuration's that cannot change, what a checkpoint says, for ``refuse_changes``."""
    stored = notes.get("params", {})
    found = {key: stored[key] for key in _READING if key in stored}
    if "cache" in stored and stored["cache"] is None:
        found["cache"] = None  # the folder may be another one, but there is none without
    return found


def refuse_other_weights(given: Any, noted: Mapping[str, str] | None, checkpoint: str) -> None:
    """InvalidArgumentError where `given`, the parameter weights of a run that goes on, is not the file that the run
    began with. A file that is not there any more is as good as none: the checkpoint has all weights.

    noted: the checkpoint's note of the file, None where the run began without one.
    """
    if given is None:
        return
    path = weights_path(given)
    if noted is None:
        raise InvalidArgumentError(
            f"weights: got {path!r}, but {checkpoint} began with random weights: leave it out, or begin another run"
        )
    if os.path.isfile(path) and sha256_of(path) != noted.get("sha256"):
        raise InvalidArgumentError(
            f"weights: {path} is not the file that {checkpoint} began with, {noted.get('file')} of SHA-256 "
            f"{noted.get('sha256')}: leave it out, the checkpoint has all weights"
        )


def _stored(checkpoint: str) -> tuple[dict[str, Any], bool]:
    """The parameters that a checkpoint notes, and whether a budget has yet to decide the length of its run."""
    try:
        metadata = read_header(checkpoint)["__metadata__"]
        params = dict(parse_json(metadata["notes"])["carl"]["params"])
        params["cache"] = path_from_note(params.get("cache"))
        config = parse_json(metadata["config"])
        undecided = params.get("budget") is not None and (
            config.get("early_steps") == UNDECIDED or config.get("total_steps") is None
        )
        return params, bool(undecided)
    except (FileError, KeyError, TypeError, ValueError, AttributeError):
        return {}, False
