"""Image files: a list of paths, a flat folder, a folder with one sub-folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._decode import SUFFIXES, Header, decode, file_header, pillow
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from .base import DecodedSource


class FileSource(DecodedSource):
    """Image files, decoded by threads.

    channels: 1 or 3; None looks at a few files: gray if all of those are, else RGB.
    halve: whether training may decode files that are much larger than its views at half, a quarter or an eighth of
        their size.
    value_range: the values that become 0 and 255 where they are no bytes; see ``carl.as_source``.
    """

    decodes = True

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        channels: int | None = None,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        place: str = "image files",
        workers: int | None = None,
        halve: bool = True,
        value_range: Any = None,
    ) -> None:
        pillow()
        self._values = Values(value_range)
        super().__init__(workers)
        self.paths = [os.fspath(path) for path in paths]
        if not self.paths:
            raise InvalidArgumentError("images: got no paths")
        check_file_channels(channels)
        self._place, self._halve = place, halve
        self._choose_channels(channels)
        self.labels, self.class_names = labels, class_names

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, place: int, least_side: int | None) -> np.ndarray:
        return decode(
            self.paths[place], self._channels, least_side if self._halve else None, self._values, self.paths[place]
        )

    def header_at(self, place: int) -> Header:
        return file_header(self.paths[place])

    def identity(self, place: int) -> str:
        return self.paths[place]

    def fingerprint(self) -> str:
        """Paths, sizes and times of the files."""
        import hashlib

        digest = hashlib.sha256(f"channels {self._channels}, halve {self._halve}{self._values}".encode())
        for path in self.paths:
            digest.update(os.fsencode(path) + b"\0")
            try:
                facts = os.stat(path)
                digest.update(b"%d %d" % (facts.st_size, facts.st_mtime_ns))
            except OSError:
                digest.update(b"missing")
        return digest.hexdigest()

    def describe(self) -> str:
        classes = f" of {len(self.class_names)} classes" if self.class_names else ""
        return f"{len(self)} {self._place}{classes}, {'gray' if self._channels == 1 else 'RGB'}"


def check_file_channels(channels: int | None) -> None:
    if channels not in (None, 1, 3):
        raise InvalidArgumentError(f"in_channels: got {channels}, image files give 1 (gray) or 3 (RGB)")


def folder_source(folder: str | os.PathLike[str], channels: int | None = None, value_range: Any = None) -> FileSource:
    """All images below a folder, in the order of their paths: files by the endings of ``SUFFIXES``, hidden ones left
    out, and so are the folders of runs below it.

    If every image lies in a sub-folder, and there are at least two, the sub-folders are taken for classes: their names
    in order become the labels, which training ignores.
    """
    root = os.path.normpath(os.fspath(folder))
    names = sorted(_images_below(root, "", ()), key=lambda name: name.split("/"))
    if not names:
        raise FileError(f"no images below {root}: looked for {', '.join(sorted(SUFFIXES))}")
    labels, class_names = classes_of(names)
    return FileSource(
        [os.path.join(root, name) for name in names],
        channels,
        labels,
        class_names,
        f"image files below {root}",
        value_range=value_range,
    )


def classes_of(names: Sequence[str]) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels and class names from relative paths, if all of them have a folder in front and there are two or more."""
    heads = [name.partition("/") for name in names]
    classes = sorted({head for head, _, _ in heads})
    if len(classes) < 2 or not all(separator for _, separator, _ in heads):
        return None, None
    number = {name: place for place, name in enumerate(classes)}
    return np.array([number[head] for head, _, _ in heads], np.int64), classes


def is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _images_below(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Relative paths, with "/". Links are followed, but not into a folder that they came from."""
    try:
        facts = os.stat(folder)
        own = facts.st_dev, facts.st_ino
        if own in above:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                kind = _kind(entry)
                if kind == "folder":
                    if _is_run(entry.path):
                        continue
                    yield from _images_below(entry.path, f"{prefix}{entry.name}/", (*above, own))
                # A link to nothing is a broken image; reading a pipe with an image's name would block forever.
                elif kind != "other" and is_image_name(entry.name):
                    yield prefix + entry.name
    except OSError as error:
        raise FileError(f"cannot read the folder {folder}: {error}") from error


def holds_images(folder: str) -> bool:
    """Whether there is an image in a folder or below it, which need not exist. A run's pictures are none."""
    if not os.path.isdir(folder) or _is_run(folder):
        return False
    return next(_images_below(folder, "", ()), None) is not None


def _is_run(folder: str) -> bool:
    """Whether a run has written here, whose pictures are none of the images that it was made from."""
    return os.path.isfile(os.path.join(folder, "config.json")) and (
        os.path.isfile(os.path.join(folder, "metrics.jsonl")) or os.path.isdir(os.path.join(folder, "checkpoints"))
    )


def _kind(entry: os.DirEntry[str]) -> str:
    """folder, file, dangling (a link to nothing or to itself), or other."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "dangling" if entry.is_symlink() and not os.path.exists(entry.path) else "other"
    except OSError:
        return "dangling"
