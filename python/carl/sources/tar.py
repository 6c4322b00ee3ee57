"""Tar archives of image files, such as the shards of a WebDataset, read in place and in any order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._decode import decode, gray_file, pillow
from .._reading import DataFile, Reader
from .._values import Values
from ..errors import FileError
from .base import DecodedSource
from .files import check_file_channels, classes_of, is_image_name

#: A WebDataset's label: a number as text, beside the image of the same key.
_LABEL = "cls"
#: Bytes of a label at most, so that it is a number of 64 bits.
_LONGEST_LABEL = 18


class TarSource(DecodedSource):
    """The image files in tar archives, in the order in which they lie there. Only the headers are read at first.

    Labels come from the members "KEY.cls" beside "KEY.jpg", where all images have one; else from folders, as
    ``folder_source`` takes them. Compressed archives cannot be read in any order and are an error.
    """

    def __init__(
        self,
        paths: Sequence[str],
        channels: int | None = None,
        workers: int | None = None,
        halve: bool = True,
        value_range: Any = None,
    ) -> None:
        pillow()
        self._values = Values(value_range)
        super().__init__(workers)
        check_file_channels(channels)
        self.paths = list(paths)
        self._halve = halve
        self._files: list[DataFile] = []
        names: list[str] = []
        spans: list[tuple[int, int, int]] = []
        labels: dict[tuple[int, str], tuple[int, int]] = {}
        for number, path in enumerate(self.paths):
            self._files.append(DataFile(path))
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
        return decode(
            io.BytesIO(self._content(*self._spans[place])),
            self._channels,
            least_side if self._halve else None,
            self._values,
            self.identity(place),
        )

    def channels_at(self, place: int) -> int:
        return 1 if gray_file(io.BytesIO(self._content(*self._spans[place]))) else 3

    def identity(self, place: int) -> str:
        return f"{self.paths[self._spans[place, 0]]}: {self._names[place]}"

    def fingerprint(self) -> str:
        facts = [(file.path, *file.facts) for file in self._files]
        return f"channels {self._channels}, halve {self._halve}{self._values}, {facts}"

    def describe(self) -> str:
        place = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} tar archives"
        return f"{len(self)} images in {place}, {'gray' if self._channels == 1 else 'RGB'}"

    def close(self) -> None:
        super().close()
        for file in self._files:
            file.close()

    def _content(self, number: int, start: int, size: int) -> bytes:
        return self._files[number].read(int(start), int(size))

    def _numbers(self, members: dict[tuple[int, str], tuple[int, int]]) -> np.ndarray | None:
        """The labels of all images, or None if one has none that is a number."""
        labels = []
        for (number, _, _), name in zip(self._spans, self._names):
            span = members.get((int(number), _key(name)))
            if span is None or span[1] > _LONGEST_LABEL:
                return None
            try:
                labels.append(int(self._content(number, *span)))
            except ValueError:
                return None
        return np.array(labels, np.int64)


def is_tar(path: str) -> bool:
    return path.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def _key(name: str) -> str:
    """What the files of one sample have in common: the path up to the first dot of the file's name."""
    folder, separator, base = name.rpartition("/")
    return folder + separator + base.partition(".")[0]


def _members(path: str) -> list[tuple[str, int, int]]:
    """Name, start and size of each file in an archive."""
    import tarfile

    if not path.lower().endswith(".tar"):
        raise FileError(
            f"{path}: is compressed, so its images cannot be read in any order: unpack it to a .tar file first"
        )
    found = []
    try:
        with Reader(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            end = 0
            while (member := archive.next()) is not None:
                if member.isreg() and not member.issparse():
                    found.append((member.name, member.offset_data, member.size))
                    last = member.offset_data + member.size
                    if member.size < 0 or last > file.size:
                        raise FileError(f"{path} is cut short: {member.name} should end at byte {last} of {file.size}")
                if archive.offset <= end:  # a negative size would loop forever
                    raise FileError(f"{path} is damaged: the header behind {member.name} would lie before it")
                end = archive.offset
                archive.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
    except FileError:
        raise
    except Exception as error:  # besides its own errors the package lets ValueError, RecursionError and others through
        raise FileError(f"cannot read the tar archive {path}: {str(error) or type(error).__name__}") from error
    return found
