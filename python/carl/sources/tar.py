"""Tar archives of image files, such as the shards of a WebDataset, read in place and in any order."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np

from ..errors import FileError
from .base import DecodedSource
from .decode import decode, gray_file, pillow
from .files import check_file_channels, classes_of, is_image_name

#: A WebDataset's label: a number as text, beside the image of the same key.
_LABEL = "cls"


class TarSource(DecodedSource):
    """The image files in tar archives, in the order in which they lie there. Only the headers are read at first.

    Labels come from the members "KEY.cls" beside "KEY.jpg", where all images have one; else from folders, as
    ``folder_source`` takes them. Compressed archives cannot be read in any order and are an error.
    """

    def __init__(
        self, paths: Sequence[str], channels: int | None = None, workers: int | None = None, halve: bool = True
    ) -> None:
        pillow()
        super().__init__(workers)
        check_file_channels(channels)
        self.paths = list(paths)
        self._halve = halve
        self._files: dict[int, int] = {}  # open archives by their number
        self._owner = os.getpid()
        names: list[str] = []
        spans: list[tuple[int, int, int]] = []
        labels: dict[tuple[int, str], tuple[int, int]] = {}
        for number, path in enumerate(self.paths):
            for name, start, size in _members(path):
                base = name.rpartition("/")[2]
                if is_image_name(base):
                    names.append(name)
                    spans.append((number, start, size))
                elif base.partition(".")[2] == _LABEL:
                    labels[number, _key(name)] = start, size
        if not names:
            raise FileError(f"no image files in {', '.join(self.paths[:3])}")
        self._names, self._spans = names, np.array(spans, np.int64)
        self._choose_channels(channels)
        self.labels, self.class_names = classes_of([name.removeprefix("./") for name in names])
        if labels:
            self.labels, self.class_names = self._numbers(labels), None

    def __len__(self) -> int:
        return len(self._names)

    def load(self, place: int, least_side: int | None) -> np.ndarray:
        return decode(io.BytesIO(self._content(*self._spans[place])), self._channels, least_side if self._halve else None)

    def channels_at(self, place: int) -> int:
        return 1 if gray_file(io.BytesIO(self._content(*self._spans[place]))) else 3

    def identity(self, place: int) -> str:
        return f"{self.paths[self._spans[place, 0]]}: {self._names[place]}"

    def fingerprint(self) -> str:
        facts = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in self.paths]
        return f"channels {self._channels}, halve {self._halve}, {facts}"

    def describe(self) -> str:
        place = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} tar archives"
        return f"{len(self)} images in {place}, {'gray' if self._channels == 1 else 'RGB'}"

    def close(self) -> None:
        super().close()
        if self._owner == os.getpid():
            for descriptor in self._files.values():
                os.close(descriptor)
        self._files = {}

    def _content(self, number: int, start: int, size: int) -> bytes:
        number = int(number)
        if number not in self._files:
            # Two threads may open an archive at once: the second one to finish closes its own again.
            descriptor = os.open(self.paths[number], os.O_RDONLY | os.O_CLOEXEC)
            if self._files.setdefault(number, descriptor) != descriptor:
                os.close(descriptor)
        content = os.pread(self._files[number], int(size), int(start))
        if len(content) != size:
            raise FileError(f"{self.paths[number]} was cut short while it was read")
        return content

    def _numbers(self, members: dict[tuple[int, str], tuple[int, int]]) -> np.ndarray | None:
        """The labels of all images, or None if one has none that is a number."""
        labels = []
        for (number, _, _), name in zip(self._spans, self._names):
            span = members.get((int(number), _key(name)))
            try:
                labels.append(int(self._content(number, *span)) if span is not None else None)
            except ValueError:
                return None
        return None if None in labels else np.array(labels, np.int64)


def is_tar(path: str) -> bool:
    return path.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def _key(name: str) -> str:
    """What the files of one sample have in common: the path without anything behind the first dot of the file's name."""
    folder, separator, base = name.rpartition("/")
    return folder + separator + base.partition(".")[0]


def _members(path: str) -> list[tuple[str, int, int]]:
    """Name, start and size of each file in an archive."""
    import tarfile

    if not path.lower().endswith(".tar"):
        raise FileError(f"{path}: is compressed, so its images cannot be read in any order: unpack it to a .tar file first")
    try:
        length = os.path.getsize(path)
        found = []
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                if member.isreg() and not member.issparse():
                    found.append((member.name, member.offset_data, member.size))
                archive.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
    except (OSError, tarfile.TarError, EOFError) as error:
        raise FileError(f"cannot read the tar archive {path}: {error}") from error
    if found and found[-1][1] + found[-1][2] > length:
        raise FileError(f"{path} is cut short: {found[-1][0]} should end at byte {found[-1][1] + found[-1][2]} of {length}")
    return found
