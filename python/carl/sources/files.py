"""Image files: a list of paths, a flat folder, a folder with one sub-folder a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FileError, InvalidArgumentError
from .base import ImageSource, Images
from .decode import SUFFIXES, gray_file, pillow, read_image

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class FileSource(ImageSource):
    """Image files, decoded by threads (Pillow releases the interpreter lock).

    channels: 1 or 3; None looks at a few files: gray if all of those are, else RGB.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        channels: int | None = None,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        place: str = "image files",
        workers: int | None = None,
    ) -> None:
        pillow()
        self.paths = [os.fspath(path) for path in paths]
        if not self.paths:
            raise InvalidArgumentError("images: got no paths")
        if channels not in (None, 1, 3):
            raise InvalidArgumentError(f"in_channels: got {channels}, image files give 1 (gray) or 3 (RGB)")
        if channels is None:
            sample = self.paths[:: max(1, len(self.paths) // 16)][:16]
            channels = 1 if all(gray_file(path) for path in sample) else 3
        self._channels = channels
        self.labels, self.class_names = labels, class_names
        self._place = place
        self._workers = workers or min(8, (os.cpu_count() or 1) + 1)
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray) -> Images:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="carl-decode")
        paths = [self.paths[int(place)] for place in indices]
        return list(self._pool.map(read_image, paths, [self._channels] * len(paths)))

    def identity(self, place: int) -> str:
        return self.paths[place]

    def describe(self) -> str:
        classes = f" of {len(self.class_names)} classes" if self.class_names else ""
        return f"{len(self)} {self._place}{classes}, {'gray' if self._channels == 1 else 'RGB'}"

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def folder_source(folder: str | os.PathLike[str], channels: int | None = None) -> FileSource:
    """All images below a folder, in the order of their paths.

    If every image lies in a sub-folder, and there are at least two, the sub-folders are taken for classes: their names in
    order become the labels, which training ignores.
    """
    from pathlib import Path

    root = Path(folder)
    paths: list[Path] = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [
            Path(place, name) for name in sorted(files)
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    if not paths:
        raise FileError(f"no images below {root}: looked for {', '.join(sorted(SUFFIXES))}")
    paths.sort()
    parts = [path.relative_to(root).parts for path in paths]
    labels = class_names = None
    if all(len(part) > 1 for part in parts):
        names = sorted({part[0] for part in parts})
        if len(names) > 1:
            class_names = names
            number = {name: place for place, name in enumerate(names)}
            labels = np.array([number[part[0]] for part in parts], np.int64)
    return FileSource([str(path) for path in paths], channels, labels, class_names, f"image files below {root}")
