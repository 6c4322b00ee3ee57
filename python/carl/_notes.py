"""What a model's file holds besides the trainer's state: the estimator's parameters, its place in the data, where its
images were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._reading import parse_json
from .config import dump_json
from .errors import FileError, InvalidArgumentError

if TYPE_CHECKING:
    from .trainer import Trainer


#: Keys of a configuration that may change when a run goes on.
_FREE = ("epochs", "total_steps", "threads")


def saved_notes(trainer: Trainer, file: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``CARL.save`` has noted in the file that a trainer was resumed from; empty if another has written it.
    FileError for notes that ``save`` does not write."""
    notes = trainer.notes.get("carl", {})
    wrong = None
    if not isinstance(notes, dict):
        raise FileError(f"{os.fspath(file)}: its notes are damaged")
    position = notes.get("position", {})
    if not isinstance(position, dict) or not all(
        isinstance(position.get(key, 0), int)
        and 0 <= position.get(key, 0) < 2**63
        or key == "samples"
        and position[key] is None
        for key in ("epoch", "batch", "samples", "batch_size")
    ):
        wrong = "position"
    params = notes.get("params", {})
    paths = ("run_dir", "cache", "weights")
    if not isinstance(params, dict) or not all(_is_path_note(params.get(key)) for key in paths):
        wrong = "params"
    if not _is_path_note(notes.get("data")):
        wrong = "data"
    if not _is_budget_note(notes.get("budget")):
        wrong = "budget"
    weights = notes.get("weights")
    if weights is not None and not (
        isinstance(weights, dict) and all(isinstance(weights.get(key), str) for key in ("file", "family", "sha256"))
    ):
        wrong = "weights"
    sets = notes.get("eval")
    if not (sets is None or isinstance(sets, list) and all(path is None or isinstance(path, str) for path in sets)):
        wrong = "eval"
    if wrong is not None:
        raise FileError(f"{os.fspath(file)}: its notes are damaged: {wrong} is {str(notes[wrong])[:40]!r}")
    return notes


def is_change(wanted: Any, key: str, *known: Any) -> bool:
    """Whether a parameter is none of the known values, as JSON holds them, which knows neither tuples nor arrays, nor
    1.0 beside 1."""
    return parse_json(dump_json(wanted, key)) not in known


def refuse_changes(
    given: Mapping[str, Any], stored: Mapping[str, Any], config: Mapping[str, Any], file: str | os.PathLike[str]
) -> None:
    """InvalidArgumentError for a parameter that is given but is neither what the file's model was given nor what is in
    force there: a run that goes on stays as it was started."""
    for key, now in config.items():
        wanted = given.get(key)
        if wanted is not None and key not in _FREE and is_change(wanted, key, stored.get(key), now):
            raise InvalidArgumentError(
                f"{key}: got {wanted!r}, but {os.fspath(file)} was made with {now!r}, which stays: leave it out, or "
                "start a new run"
            )


def _is_budget_note(note: Any) -> bool:
    """Whether ``Pace.to_notes`` can have written it."""
    if not isinstance(note, dict):
        return note is None
    numbers = [
        note.get("seconds"),
        note.get("spent"),
        *(0.0 if note.get(key) is None else note[key] for key in ("step_seconds", "early")),
    ]
    return isinstance(note.get("chosen"), dict) and all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 1e12 for number in numbers
    )


def _is_path_note(note: Any) -> bool:
    """Whether ``path_from_note`` can read it."""
    if not isinstance(note, dict):
        return note is None or isinstance(note, str)
    try:
        bytes.fromhex(note["bytes"])
    except (KeyError, TypeError, ValueError):
        return False
    return True


def as_utf8(name: str) -> str:
    """A file's name as text to show and keep: bytes that are no UTF-8 become escapes, such as cl\\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name


def path_note(path: str | os.PathLike[str] | None) -> Any:
    """A path as JSON can hold it: text, or the bytes of a name that is not UTF-8."""
    if path is None:
        return None
    encoded = os.fsencode(path)
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return {"bytes": encoded.hex()}


def path_from_note(note: Any) -> str | None:
    """The path that ``path_note`` has written down."""
    return os.fsdecode(bytes.fromhex(note["bytes"])) if isinstance(note, dict) else note


def path_of(images: Any) -> str | None:
    """The absolute path of images that were given by a path; None for others."""
    return os.path.abspath(os.path.expanduser(os.fspath(images))) if isinstance(images, (str, os.PathLike)) else None
