"""The folder of a run: which one a fit takes, where it may not be, and whether its disk has room."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ._given import Given
from ._writing import refuse_file
from .errors import BusyError, FileError, InvalidArgumentError
from .runs import RunFolder, goes_on_with
from .sources.files import holds_images, is_image_name

if TYPE_CHECKING:
    from .estimator import CARL


def check_place(folder: str | os.PathLike[str], given: Given, name: str = "run_dir") -> None:
    """InvalidArgumentError for a new run's folder that images lie in: the run's files would be among them, and what is
    in the folder of a run is not taken for images. A folder of its own below them is a good one. FileError for a
    file."""
    refuse_file(folder, name)
    own = os.path.realpath(os.path.expanduser(folder))
    if os.path.exists(os.path.join(own, "checkpoints", "last.carl")):
        return  # no new one: whoever begins it anew is told so
    places = given.images if isinstance(given.images, list) else [given.images] if given.images else []
    folders = {path for path in places if os.path.isdir(path)}
    beside = {os.path.dirname(path) for path in places if path not in folders and is_image_name(os.path.basename(path))}
    below = any(own.startswith(os.path.realpath(path).rstrip(os.sep) + os.sep) for path in folders)
    if own in map(os.path.realpath, folders | beside) or (below and holds_images(own)):
        raise InvalidArgumentError(
            f"{name}: {os.fspath(folder)} is a folder of the images, which the files of the run would be among: "
            f"choose a folder of its own, such as {os.path.join('runs', os.path.basename(own) or 'train')}"
        )


def claim_run(
    model: CARL, stack: ExitStack, going_on: Callable[[RunFolder], bool], known: Path | None = None
) -> RunFolder | None:
    """The model's run folder, for this fit alone as long as `stack` is open; see ``RunFolder.claim``. known: where it
    was, if this goes on with it: a relative run_dir is one of the working directory of then."""
    model.run_dir_ = None
    if model.run_dir is None:
        return None
    for number in itertools.count(1):
        run = RunFolder(model.run_dir)
        if number == 1 and model._shares_run_dir():
            continue  # the name is left to the model that the clone was made of
        if number > 1:
            run = RunFolder(f"{run.path}-{number}")
        # A relative run_dir, as it was given.
        parts = Path(model.run_dir if number == 1 else f"{os.fspath(model.run_dir).rstrip(os.sep)}-{number}").parts
        if known is not None and known.parts[-len(parts) :] == parts:
            run = RunFolder(known)
        check_place(model.run_dir, model._given)
        try:
            run.claim(going_on)
        except (BusyError, InvalidArgumentError):
            if not model._is_clone:
                raise
            continue
        stack.enter_context(run)
        model.run_dir_ = run.path
        return run
    raise AssertionError("there is always a further number")


def claim_to_fit(model: CARL, stack: ExitStack, resume: bool | str | os.PathLike[str]) -> RunFolder | None:
    """``claim_run`` for fit(resume=resume). Of several folders of one name a clone goes on with its own."""
    mine, shares = model._own_run, model._shares_run_dir() and resume is True
    return claim_run(model, stack, lambda run: goes_on_with(run, resume) and (run.path == mine or not shares))


def check_room(model: CARL, run: RunFolder) -> None:
    """FileError where the disk has no room for the first checkpoint: at least the parameters and their momenta. The old
    one is replaced only when the new one is complete, so that both are there for a moment."""
    need = 8 * sum(info.count for info in model.trainer_._tensors().values() if info.trained)
    try:
        free = shutil.disk_usage(run.path).free
    except OSError:
        return
    if free < need:
        raise FileError(f"{run.path}: a checkpoint takes {need} bytes, its disk has {free} left: make room there")
