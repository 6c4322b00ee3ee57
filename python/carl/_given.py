"""Which images a run was given, where a single path does not say it: a list of files, an array of an archive."""

from __future__ import annotations

import glob
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._checkpoint import read_header
from ._notes import path_from_note, path_note, path_of
from ._reading import parse_json, read_text
from ._writing import replace_file
from .errors import FileError

#: In a run folder.
_FILE = "images.json"
#: Bytes of it at most.
_MOST = 1 << 30
#: Files that are gone and are named.
_TOLD = 3


class Given(NamedTuple):
    """images: an absolute path, or several; None where they had none. image_key: as of ``carl.as_source``."""

    images: str | list[str] | None = None
    image_key: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the note of a path in the checkpoint says it all."""
        return not isinstance(self.images, list) and self.image_key is None

    def describe(self) -> str:
        return f"{len(self.images)} files" if isinstance(self.images, list) else str(self.images)

    def check(self, run: str) -> None:
        """FileError where files of a list are gone: a list has no others in their place."""
        gone = [path for path in self.images if not os.path.lexists(path)] if isinstance(self.images, list) else []
        if gone:
            more = f" and {len(gone) - _TOLD} more" if len(gone) > _TOLD else ""
            raise FileError(
                f"{run}: of the {len(self.images or ())} files it was trained on, {len(gone)} are gone: "
                f"{', '.join(gone[:_TOLD])}{more}: put them back, or name the images, in the same order"
            )


def matching(path: str) -> list[str]:
    """The paths that a pattern stands for, in order; none for a path that exists, or is no pattern. ``**`` stands for
    any number of folders."""
    if not glob.has_magic(path) or os.path.exists(path):
        return []
    found = sorted(glob.glob(path, recursive=True))
    if "**" in path:  # folders are found beside their own files, which would come twice
        found = [match for match in found if not os.path.isdir(match)] or found
    return found


def is_place(word: str) -> bool:
    """Whether a word of a command line is a path that exists, or a pattern of such."""
    return os.path.exists(word) or bool(matching(word))


def given_of(images: Any, image_key: str | None = None) -> Given:
    """What was given to ``fit``: a path, paths, or a source of such; nothing of images that came without paths. Of
    patterns in a list the paths are noted that they stand for now."""
    known = getattr(images, "given", None)
    if isinstance(known, Given):
        return known
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU" and images.ndim == 1:
        images = images.tolist()
    if isinstance(images, (list, tuple)) and images and all(isinstance(item, (str, os.PathLike)) for item in images):
        paths = [os.path.expanduser(os.fsdecode(item)) for item in images]
        return Given([str(path_of(found)) for path in paths for found in matching(path) or [path]], image_key)
    return Given(path_of(images), image_key)


def write_given(folder: Path, given: Given) -> None:
    """Keeps it in a run folder, or removes what was kept of other images there."""
    file = folder / _FILE
    if given.is_plain:
        with suppress(FileNotFoundError):
            file.unlink()
        return
    images = [path_note(path) for path in given.images] if isinstance(given.images, list) else path_note(given.images)
    replace_file(file, json.dumps({"images": images, "image_key": given.image_key}, indent=0) + "\n")


def images_of(checkpoint: str | os.PathLike[str]) -> str | list[str] | None:
    """The paths of the images that a checkpoint's model was trained on; None where they cannot be told."""
    with suppress(FileError, KeyError, TypeError, ValueError, AttributeError):
        given = read_given(checkpoint)
        if given is not None:
            return given.images
        notes = parse_json(read_header(checkpoint)["__metadata__"]["notes"])
        return path_from_note(notes["carl"]["data"])
    return None


def read_given(checkpoint: str | os.PathLike[str]) -> Given | None:
    """What the run folder keeps that a checkpoint lies in; None where there is nothing."""
    file = Path(checkpoint).absolute().parent.parent / _FILE
    if Path(checkpoint).absolute().parent.name != "checkpoints" or not file.is_file():
        return None
    try:
        value = parse_json(read_text(file, _MOST))
        images, key = value["images"], value["image_key"]
        paths = [path_from_note(each) for each in images] if isinstance(images, list) else path_from_note(images)
        if not all(isinstance(path, str) for path in (paths if isinstance(paths, list) else [paths])):
            raise ValueError("want paths")
        if key is not None and not isinstance(key, str):
            raise ValueError("want a key of text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{file} is damaged: {error}") from None
    return Given(paths, key)  # type: ignore[arg-type]
