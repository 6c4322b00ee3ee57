"""Looking at --out before the work begins: that it can be written, and that it is none of what is read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._features import csv_rows
from .._given import images_of, matching
from .._writing import make_folder, refuse_file, replace_file
from ..errors import FileError, InvalidArgumentError
from ..runs import checkpoint_path
from ..sources.files import is_image_name

#: What a run writes but pictures, pages and exported weights, which are made anew.
_WRITTEN = (
    "config.json", "metrics.jsonl", "usage.jsonl", "eval.jsonl", "images.json", "broken_images.jsonl", "plots.jsonl",
    "features.npy", "features.json", "train.log",
)  # fmt: skip
#: Besides images, what a folder of data may consist of.
_PARTS = (".tar", ".bin")


def check_output(
    out: str, *, model: str | None = None, data: tuple[str | None, ...] = (), option: str = "--out"
) -> None:
    """Makes the folders of `out` that are not there. Raises FileError where it cannot be written, and
    InvalidArgumentError where it is, or links to, a file that the command reads: the checkpoint of `model`, what else
    its run has written, one of the images that it was trained on, or one of the images and labels at the paths
    `data`."""
    target = os.path.realpath(os.path.expanduser(out))
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise FileError(f"{option}: cannot write {out}: it is a folder")
    refuse_file(folder, f"{option}: cannot write {out}")
    above = folder
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK | os.X_OK):
        raise FileError(f"{option}: cannot write {out}: the folder {above} cannot be written to")
    check_not_read(out, model=model, data=data, option=option)
    make_folder(folder)


def check_not_read(
    out: str, *, model: str | None = None, data: tuple[str | None, ...] = (), option: str = "--out"
) -> None:
    """Raises InvalidArgumentError where `out` is, or links to, a file that the command reads; see ``check_output``."""
    own = _identity(os.path.expanduser(out))
    if own is None:
        return  # a new file
    checkpoint = None if model is None else _checkpoint_of(model)
    if checkpoint is not None and checkpoint.parent.name == "checkpoints":
        run = checkpoint.parent.parent
        if own in {_identity(str(run / name)) for name in _WRITTEN}:
            raise InvalidArgumentError(f"{option}: {out} belongs to the run in {run}: choose another name")
    for path in _files(checkpoint, data):
        if _identity(path) == own:
            raise InvalidArgumentError(
                f"{option}: {out} is {path}, which this command, or the run, reads: choose another name"
            )


def _checkpoint_of(model: str) -> Path | None:
    try:
        return checkpoint_path(model)
    except FileError:
        return None  # told when it is opened


def check_csv(out: str | None, *, model: str, data: tuple[str | None, ...]) -> None:
    """``check_output`` of a table, None for none, whose name must end with .csv."""
    if out is None:
        return
    if os.path.splitext(out)[1].lower() != ".csv":
        raise InvalidArgumentError(f"--out: got {out}, want a name that ends with .csv")
    check_output(out, model=model, data=data)


def write_csv(path: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, which appears when it is complete. Bytes of names that are no UTF-8 become escapes."""
    text = io.StringIO(newline="")
    table = csv_rows(text)
    table.writerow(head)
    table.writerows(rows)
    replace_file(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _files(checkpoint: Path | None, data: tuple[str | None, ...]) -> Iterator[str]:
    if checkpoint is not None:
        yield str(checkpoint)
        images = images_of(checkpoint)
        data = (*data, *(images if isinstance(images, list) else [images]))
    for place in data:
        if place is None:
            continue
        place = os.path.expanduser(place)
        for path in matching(place) or [place]:
            yield path
            if os.path.isdir(path):
                yield from _below(path, set())


def _below(folder: str, seen: set[tuple[int, int] | None]) -> Iterator[str]:
    """The files of a folder that are read as images. Links are followed; no folder is entered twice."""
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_image_name(entry.name) or entry.name.lower().endswith(_PARTS):
                    yield entry.path
                elif entry.is_dir():
                    yield from _below(entry.path, seen)
    except OSError:
        pass  # told when it is opened


def _identity(path: str) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino
