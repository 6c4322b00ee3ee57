"""Tar archives of image files, such as the shards of a WebDataset, read in place and in any order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from logging import getLogger
from typing import Any, NamedTuple

import numpy as np

from .._decode import Header, decode, file_header, pillow
from .._reading import DataFile, Reader
from .._values import Values
from ..errors import FileError
from ._labels import numbered
from .base import DecodedSource
from .files import check_file_channels, classes_of, is_image_name

#: A WebDataset's label: a number as text, beside the image of the same key.
_LABEL = "cls"
#: Bytes of a label at most: a number of 64 bits, or a class's name.
_LONGEST_LABEL = 255


class TarSource(DecodedSource):
    """The image files in tar archives, in the order in which they lie there. Only the headers are read at first.

    The files of a sample have a key in common, what stands before the ending: K.jpg, K.cls, K.seg.png. Of a sample that
    has K.jpg and K.seg.png, K.jpg is the image, the others are left out with a warning.

    image_key: what follows the key in the images' names, such as "seg.png", instead.
    label_key: what follows it in the names of the labels' files, of a whole number or a class's name each. By default
        labels come from K.cls, where all images have one (else they are left out with a warning); where there is none,
        from folders, as ``folder_source`` takes them.

    Compressed archives cannot be read in any order and are an error.
    """

    decodes = True

    def __init__(
        self,
        paths: Sequence[str],
        channels: int | None = None,
        workers: int | None = None,
        halve: bool = True,
        value_range: Any = None,
        image_key: str | None = None,
        label_key: str | None = None,
    ) -> None:
        pillow()
        self._values = Values(value_range)
        super().__init__(workers)
        check_file_channels(channels)
        self.paths = list(paths)
        self._halve = halve
        self._files: list[DataFile] = []
        images: list[_Member] = []
        others: dict[tuple[int, str], _Member] = {}
        ending = "." + (label_key or _LABEL).lstrip(".")
        for number, path in enumerate(self.paths):
            self._files.append(DataFile(path))
            for name, start, size in _members(path):
                base = name.rpartition("/")[2]
                if _is_wanted(base, image_key):
                    images.append(_Member(number, name, start, size))
                elif base.endswith(ending):
                    others[number, name] = _Member(number, name, start, size)
        if not images:
            what = "image files" if image_key is None else f"image files named *.{image_key.lstrip('.')}"
            raise FileError(f"no {what} in {', '.join(self.paths[:3])}")
        if image_key is None:
            images = _first_of_samples(images)
        self._ending = None if image_key is None else "." + image_key.lstrip(".")
        self._names = [image.name for image in images]
        self._spans = np.array([(image.archive, image.start, image.size) for image in images], np.int64)
        self._choose_channels(channels)
        self.labels, self.class_names = classes_of([name.removeprefix("./") for name in self._names])
        if others or label_key is not None:
            self.labels, self.class_names = self._beside(others, ending, label_key is not None)

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

    def header_at(self, place: int) -> Header:
        return file_header(io.BytesIO(self._content(*self._spans[place])))

    def identity(self, place: int) -> str:
        return f"{self.paths[self._spans[place, 0]]}: {self._names[place]}"

    def fingerprint(self) -> str:
        facts = [(file.path, *file.facts) for file in self._files]
        return f"channels {self._channels}, halve {self._halve}{self._values}{self._ending or ''}, {facts}"

    def describe(self) -> str:
        place = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} tar archives"
        return f"{len(self)} images in {place}, {'gray' if self._channels == 1 else 'RGB'}"

    def close(self) -> None:
        super().close()
        for file in self._files:
            file.close()

    def _content(self, number: int, start: int, size: int) -> bytes:
        return self._files[number].read(int(start), int(size))

    def _beside(
        self, members: dict[tuple[int, str], _Member], ending: str, wanted: bool
    ) -> tuple[np.ndarray | None, list[str] | None]:
        """The labels that lie beside the images. Those that cannot be used are an error where they were asked for, else
        left out with a warning."""
        texts: list[str] = []
        for place, name in enumerate(self._names):
            number = int(self._spans[place, 0])
            keys = [name.removesuffix(self._ending)] if self._ending else _keys(name)
            member = next((members[number, key + ending] for key in keys if (number, key + ending) in members), None)
            if member is None or member.size > _LONGEST_LABEL:
                what = f"{keys[0]}{ending}" + (" is missing" if member is None else " is longer than a label")
                return self._without(f"{self.paths[number]}: {what}", wanted)
            texts.append(self._content(number, member.start, member.size).decode("utf-8", "surrogateescape").strip())
        try:
            return np.array([int(text) for text in texts], np.int64), None
        except (ValueError, OverflowError):
            return numbered(texts, ending, len(texts))

    def _without(self, reason: str, wanted: bool) -> tuple[None, None]:
        if wanted:
            raise FileError(reason)
        getLogger("carl").warning("labels are left out: %s", reason)
        return None, None


class _Member(NamedTuple):
    """A file in the archive of this number."""

    archive: int
    name: str
    start: int
    size: int


def _is_wanted(base: str, image_key: str | None) -> bool:
    if image_key is None:
        return is_image_name(base)
    return base.endswith("." + image_key.lstrip(".")) and not base.startswith(".")


def _keys(name: str) -> list[str]:
    """The keys that a file may have, which end at a dot of its name: the longest first."""
    folder, separator, base = name.rpartition("/")
    parts = base.split(".")
    return [folder + separator + ".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _first_of_samples(images: list[_Member]) -> list[_Member]:
    """The images without those of which the key is a longer one than another's: K.seg.png beside K.jpg."""
    known = {(image.archive, _keys(image.name)[0]) for image in images}
    kept: list[_Member] = []
    left: list[_Member] = []
    for image in images:
        (left if any((image.archive, key) in known for key in _keys(image.name)[1:]) else kept).append(image)
    if left:
        ending = left[0].name[len(next(k for k in _keys(left[0].name)[1:] if (left[0].archive, k) in known)) + 1 :]
        getLogger("carl").warning(
            "left out %d image(s) that are further files of samples, such as %s: image_key=%r would take them",
            len(left),
            left[0].name,
            ending,
        )
    return kept


def is_tar(path: str) -> bool:
    return path.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def _members(path: str) -> list[tuple[str, int, int]]:
    """Name, start and size of each file in an archive, hard links to earlier ones included."""
    import tarfile

    if not path.lower().endswith(".tar"):
        raise FileError(
            f"{path}: is compressed, so its images cannot be read in any order: unpack it to a .tar file first"
        )
    found: list[tuple[str, int, int]] = []
    known: dict[str, tuple[int, int]] | None = None
    try:
        with Reader(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            end = 0
            while (member := archive.next()) is not None:
                if member.isreg() and not member.issparse():
                    found.append((member.name, member.offset_data, member.size))
                    if known is not None:
                        known[member.name] = member.offset_data, member.size
                    last = member.offset_data + member.size
                    if member.size < 0 or last > file.size:
                        raise FileError(f"{path} is cut short: {member.name} should end at byte {last} of {file.size}")
                elif member.islnk():
                    if known is None:  # few archives have any
                        known = {name: (start, size) for name, start, size in found}
                    if member.linkname in known:
                        known[member.name] = known[member.linkname]
                        found.append((member.name, *known[member.name]))
                    elif is_image_name(member.name.rpartition("/")[2]):
                        getLogger("carl").warning(
                            "left out %s: %s, a link to %s, which is no file before it in the archive",
                            path,
                            member.name,
                            member.linkname,
                        )
                if archive.offset <= end:  # a negative size would loop forever
                    raise FileError(f"{path} is damaged: the header behind {member.name} would lie before it")
                end = archive.offset
                archive.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
    except FileError:
        raise
    except Exception as error:  # besides its own errors the package lets ValueError, RecursionError and others through
        raise FileError(f"cannot read the tar archive {path}: {str(error) or type(error).__name__}") from error
    return found
