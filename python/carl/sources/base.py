"""The interface that training needs of a data set."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from .._decode import Header
from .._given import Given
from .._open_files import is_out_of_files, out_of_files
from ..errors import CARLError, FileError, InvalidArgumentError
from .order import evenly_spaced
from .threads import Workers

#: A batch of images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes.
Images = np.ndarray | list[np.ndarray]

#: Images looked at to learn the channels and the typical size of a set.
LOOKED_AT = 16
#: As many of them at a time: they are read at full size.
_AT_ONCE = 4


class ImageSource(ABC):
    """Images that can be read in any order. Subclasses are read by one background thread at a time.

    A subclass of your own needs ``__len__``, ``read`` and ``describe``. What cannot be read is a ``carl.FileError`` (or
    any OSError) of ``read``: training then leaves that image out, by its ``on_error``.

    labels: int64 (N,) where the source knows them (class folders, labelled archives), used in evaluation only.
    class_names: the name of each label.
    """

    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    #: Whether images are decoded as they are read, always to the same pixels: then they are worth being kept.
    decodes: bool = False
    #: The paths that the source was made of by ``carl.as_source``, for runs that go on.
    given: Given | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def read(self, indices: np.ndarray) -> Images:
        """The images of these places, in this order."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for messages and logs."""

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> Images | list[Any]:
        """The images of these places; an OSError stands in the place of what cannot be read.

        least_side: images may be halved in size while both sides stay at least so many pixels. Sources that decode do
            so.
        """
        try:
            return self.read(indices)
        except OSError as error:
            if is_out_of_files(error):
                raise out_of_files(self.describe(), error) from error
            if len(indices) == 1:
                return [error]
        return [self.read_each(indices[place : place + 1], least_side)[0] for place in range(len(indices))]

    def shapes(self, places: np.ndarray) -> list[Any]:
        """(H, W) or (H, W, C) of the images of these places, with errors in the places of broken ones."""
        found: list[Any] = []
        for start in range(0, len(places), _AT_ONCE):
            images = self.read_each(places[start : start + _AT_ONCE])
            found += [image if isinstance(image, BaseException) else image.shape for image in images]
        return found

    def decoding_bytes(self, least_side: int | None) -> int:
        """About how much memory decoders hold while ``read_each`` reads, beside the images that it gives."""
        return 0

    def identity(self, place: int) -> str:
        """How to name one image to the user: a path, or its number."""
        return f"image {place}"

    def fingerprint(self) -> str | None:
        """Text that changes when the images do, by which a cache knows them; None where that cannot be told."""
        return None

    def close(self) -> None:  # noqa: B027
        """Ends threads and closes files, if any; a later read starts them again. Leaving a ``with`` block does so too,
        and so does dropping the last reference."""

    def __repr__(self) -> str:
        try:
            return f"{type(self).__name__}({self.describe()})"
        except AttributeError:  # of one that could not be made
            return f"{type(self).__name__}()"

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def channels(self) -> int:
        """Channels of the images; the first one decides."""
        return self._probe()[0]

    @property
    def side(self) -> int:
        """Typical shorter side in pixels: the median over a few images."""
        return self._probe()[1]

    def _probe(self) -> tuple[int, int]:
        found: tuple[int, int] | None = getattr(self, "_probed", None)
        if found is None:
            looked_at = self.shapes(evenly_spaced(len(self), LOOKED_AT))
            shapes: list[Any] = [shape for shape in looked_at if not isinstance(shape, BaseException)]
            errors = [error for error in looked_at if isinstance(error, BaseException)]
            if not shapes and not errors:
                raise InvalidArgumentError(f"images: got none from {self.describe()}, want images")
            if not shapes:
                raise errors[0]
            channels = 1 if len(shapes[0]) == 2 else int(shapes[0][2])
            found = channels, int(np.median([min(shape[:2]) for shape in shapes]))
            self._probed = found
        return found


class DecodedSource(ImageSource):
    """Images that are decoded one by one, in threads: Pillow's decoders release the interpreter lock.

    A subclass has ``load``, and calls ``_choose_channels``.

    workers: threads; one more than there are processors by default.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = decoding_workers(workers)
        self._channels: int | None = None

    @abstractmethod
    def load(self, place: int, least_side: int | None) -> np.ndarray:
        """One image, uint8 (H, W, C). Any error but InvalidArgumentError means that the image is broken."""

    @abstractmethod
    def header_at(self, place: int) -> Header:
        """Size and channels of an image, without decoding it if that can be. Errors as of ``load``."""

    def read(self, indices: np.ndarray) -> Images:
        images = self.read_each(indices)
        for image in images:
            if isinstance(image, BaseException):
                raise image
        return list(images)

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> Images | list[Any]:
        return self._workers.map(
            lambda place: tried(lambda: self.load(place, least_side), self.identity(place)), map(int, indices)
        )

    def shapes(self, places: np.ndarray) -> list[Any]:
        return [
            header if isinstance(header, BaseException) else (header.height, header.width, self._channels)
            for header in self._headers(places)
        ]

    def decoding_bytes(self, least_side: int | None) -> int:
        headers = [header for header in self._sample() if isinstance(header, Header)]
        return self._workers.count * max((header.decoding_bytes(least_side) for header in headers), default=0)

    def close(self) -> None:
        self._workers.close()

    def _sample(self) -> list[Any]:
        """Headers of a few images, errors among them."""
        return self._headers(evenly_spaced(len(self), LOOKED_AT))

    def _headers(self, places: np.ndarray) -> list[Any]:
        """Headers of these images, each looked at once, with errors in the places of broken ones."""
        known: dict[int, Any] = vars(self).setdefault("_known_headers", {})
        for place in map(int, places):
            if place not in known:
                known[place] = tried(lambda: self.header_at(place), self.identity(place))
        return [known[int(place)] for place in places]

    def _choose_channels(self, channels: int | None) -> None:
        """`channels`, or the most that any of a few images has: gray among coloured ones are made RGB."""
        if channels is None:
            sample = self._sample()
            known = [header.channels for header in sample if isinstance(header, Header)]
            if not known:
                raise sample[0]
            channels = max(known)
        self._channels = channels


def decoding_workers(count: int | None) -> Workers:
    """Threads to decode in: one more than there are processors, so that reading a file overlaps with decoding
    another."""
    return Workers(count or min(8, (os.cpu_count() or 1) + 1), "carl-decode")


def tried(function: Callable[[], Any], name: str) -> Any:
    """The result, or a FileError that names the image which cannot be read. Errors that the image did not cause are
    raised."""
    try:
        return function()
    except FileError as error:
        if is_out_of_files(error):
            raise out_of_files(name, error) from error
        return error if name in str(error) else broken_image(name, error)
    except CARLError:
        raise
    except Exception as error:
        # Decoders raise whatever they like on damaged files, MemoryError for sizes that cannot be.
        if is_out_of_files(error):
            raise out_of_files(name, error) from error
        return broken_image(name, error)


def whole(function: Callable[[], Any], name: str) -> Any:
    """The result; an image that cannot be read is a FileError that names it."""
    result = tried(function, name)
    if isinstance(result, FileError):
        raise result
    return result


def broken_image(name: str, error: Exception) -> FileError:
    """The error of an image that cannot be read; its cause is the reason alone."""
    broken = FileError(f"cannot read {name}: {str(error) or type(error).__name__}")
    broken.__cause__ = error
    return broken


class JoinedSource(ImageSource):
    """Several sources, concatenated. Gray images beside coloured ones are repeated to three channels; labels of classes
    with names are numbered anew by all their names."""

    def __init__(self, parts: list[ImageSource]) -> None:
        most = max(part.channels for part in parts)
        for part in parts:
            if part.channels != most and (part.channels, most) != (1, 3):
                other = next(part for part in parts if part.channels == most)
                raise InvalidArgumentError(
                    f"images: {part.describe()} have {part.channels} channel(s), {other.describe()} have {most}"
                )
        self._parts, self._channels = parts, most
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self.labels, self.class_names = _joined_labels(parts)
        # One that does not decode may give other pixels each time.
        self.decodes = all(part.decodes for part in parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _read(self, indices: np.ndarray, read: Any) -> list[Any]:
        images: list[Any] = [None] * len(indices)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for owner in np.unique(owners):
            places = np.flatnonzero(owners == owner)
            for place, image in zip(places, read(self._parts[owner], indices[places] - self._starts[owner])):
                images[place] = image
        return images

    def read(self, indices: np.ndarray) -> Images:
        return [self._as_all(image) for image in self._read(indices, lambda part, places: part.read(places))]

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> Images | list[Any]:
        found = self._read(indices, lambda part, places: part.read_each(places, least_side))
        return [self._as_all(image) for image in found]

    def shapes(self, places: np.ndarray) -> list[Any]:
        found = self._read(places, lambda part, own: part.shapes(own))
        return [shape if isinstance(shape, BaseException) else (*shape[:2], self._channels) for shape in found]

    def _as_all(self, image: Any) -> Any:
        """An image with as many channels as all have."""
        if isinstance(image, BaseException) or self._channels == 1:
            return image
        gray = image.ndim == 2 or image.shape[2] == 1
        return np.repeat(image.reshape(*image.shape[:2], 1), self._channels, axis=2) if gray else image

    def decoding_bytes(self, least_side: int | None) -> int:
        return max(part.decoding_bytes(least_side) for part in self._parts)

    def identity(self, place: int) -> str:
        owner = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._parts[owner].identity(place - int(self._starts[owner]))

    def fingerprint(self) -> str | None:
        prints = [part.fingerprint() for part in self._parts]
        return None if None in prints else "\n".join(map(str, prints))

    def describe(self) -> str:
        return f"{self._parts[0].describe()}, and {len(self._parts) - 1} more: {len(self)} images"

    def close(self) -> None:
        for part in self._parts:
            part.close()


def _joined_labels(parts: list[ImageSource]) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels of all parts; None where one has none, or where numbers of some meet names of others."""
    labels = [part.labels for part in parts if part.labels is not None]
    names = [part.class_names for part in parts if part.class_names is not None]
    if len(labels) < len(parts) or len(names) not in (0, len(parts)):
        return None, None
    if not names or all(found == names[0] for found in names):
        return np.concatenate(labels), names[0] if names else None
    union = sorted({name for found in names for name in found})
    number = {name: place for place, name in enumerate(union)}
    tables = [np.array([*(number[name] for name in found), -1], np.int64) for found in names]
    return np.concatenate([np.where(own < 0, own, table[own]) for own, table in zip(labels, tables)]), union
