"""A copy of a set on disk, made smaller: decoded once, read at the speed of the disk in every epoch.

A cache is a folder of

    cache.json     what it was made from, written last: without it the rest is unfinished
    pixels.bin     uint8 pixels of all images, concatenated, each (H, W, C) in C order
    images.bin     a record (offset, height, width) of each image; height 0 for one that could not be read
    broken.jsonl   place and reason of those
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, Any

import numpy as np

from .. import _arrays
from .._decode import pillow
from .._layout import MAX_SIDE
from .._reading import DataFile, check_regular, parse_json, read_bytes, read_lines, read_text
from .._writing import refuse_file
from ..errors import FileError, InvalidArgumentError
from .base import Images, ImageSource, broken_image, decoding_workers
from .loader import read_parts

_RECORD = np.dtype([("offset", np.int64), ("height", np.int32), ("width", np.int32)])
_FORMAT = 1
#: Images decoded between two writes.
_CHUNK = 64


class CachedSource(ImageSource):
    """The images of `source` with their shorter side reduced to `size` pixels, from a cache that is made first if need
    be.

    folder: of the cache; a new or empty one, or one that a cache was made in. A cache that was cut off is completed;
    one of other images or another size is rebuilt, as is one that was cut short.
    size: pixels of the shorter side; smaller images stay as they are.
    progress: called with (images done, images in all) while the cache is made.
    say: called with a line of text about what is done.

    Raises FileError when the folder cannot be written, when it holds something else, when another process is making the
    cache, and when the disk is full: what was written by then is kept and used when there is room.
    """

    def __init__(
        self,
        source: ImageSource,
        folder: str | os.PathLike[str],
        size: int,
        progress: Callable[[int, int], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._source = source
        self.folder = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        size = _arrays.integer(size, "cache_size", 1, MAX_SIDE)
        fingerprint = source.fingerprint()
        if fingerprint is None:
            raise InvalidArgumentError(
                f"cache: {source.describe()} cannot be told from others, so a cache of them could be out of date "
                "unnoticed; image files, tar archives and datasets.Dataset objects can be cached"
            )
        self._channels = source.channels
        key = {
            "format": _FORMAT,
            "size": size,
            "channels": self._channels,
            "images": len(source),
            "source": _hash(fingerprint),
        }
        builder = _Builder(source, self.folder, key, progress or (lambda done, count: None), say or (lambda text: None))
        self._records, self._pixels, self._reasons = builder.opened()
        self.labels, self.class_names = source.labels, source.class_names
        self._size = size

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: np.ndarray) -> Images:
        images = self.read_each(indices)
        for image in images:
            if isinstance(image, BaseException):
                raise image
        return images

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> list[Any]:
        records = self._records[indices]
        sizes = _sizes(records, self._channels)
        try:
            pixels = self._pixels.read_spans(records["offset"], sizes)
        except FileError as error:
            if len(indices) == 1:
                return [broken_image(self.identity(int(indices[0])), error)]
            return [self.read_each(indices[slot : slot + 1])[0] for slot in range(len(indices))]
        ends = np.cumsum(sizes).tolist()
        return [
            pixels[end - size : end].reshape(height, width, self._channels) if height else self._broken(int(place))
            for end, size, place, height, width in zip(
                ends, sizes.tolist(), indices, records["height"].tolist(), records["width"].tolist()
            )
        ]

    def _broken(self, place: int) -> FileError:
        return broken_image(
            self.identity(place), FileError(self._reasons.get(place, "it could not be read when the cache was made"))
        )

    def identity(self, place: int) -> str:
        return self._source.identity(place)

    def fingerprint(self) -> str | None:
        return None

    def describe(self) -> str:
        return f"{self._source.describe()}, from the cache {self.folder} (shorter side {self._size})"

    def close(self) -> None:
        self._source.close()
        self._pixels.close()


class _Builder:
    """Makes, completes and opens a cache."""

    def __init__(
        self,
        source: ImageSource,
        folder: str,
        key: dict[str, Any],
        progress: Callable[[int, int], None],
        say: Callable[[str], None],
    ) -> None:
        self._source, self._folder, self._key, self._progress, self._say = source, folder, key, progress, say

    def opened(self) -> tuple[np.ndarray, DataFile, dict[int, str]]:
        """Records, pixels, and why images are broken."""
        found = self._complete()
        if found is not None:
            return found
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._check_folder()
            with open(self._path("lock"), "a") as lock:
                _lock(lock, self._folder)
                found = self._complete()  # another process may have made it meanwhile
                if found is None:
                    self._build()
                    found = self._complete()
        except FileError:
            raise
        except OSError as error:
            raise self._failed(error) from error
        if found is None:
            raise FileError(f"cache: {self._folder} changed while it was made")
        return found

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _complete(self) -> tuple[np.ndarray, DataFile, dict[int, str]] | None:
        """The cache, if it is there, whole, and of these images."""
        count = self._key["images"]
        try:
            facts = parse_json(read_text(self._path("cache.json")))
            pixels = DataFile(self._path("pixels.bin"), random=True)
            if facts.pop("bytes") != pixels.size or facts != self._key:
                return None
            content = read_bytes(self._path("images.bin"), count * _RECORD.itemsize)
            if len(content) != count * _RECORD.itemsize:
                return None
            records = np.frombuffer(content, _RECORD)
            if self._following(records) != count or _end(records, self._key["channels"]) > pixels.size:
                return None
            return records, pixels, _read_reasons(self._path("broken.jsonl"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _following(self, records: np.ndarray) -> int:
        """How many of the first records are valid: each image's pixels directly follow those of the one before."""
        sizes = _sizes(records, self._key["channels"])
        possible = (
            (records["height"] >= 0) & (records["width"] >= 0) & ((records["height"] == 0) == (records["width"] == 0))
        )
        possible &= (records["height"] <= MAX_SIDE) & (records["width"] <= MAX_SIDE)
        possible &= (
            records["offset"]
            == np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(possible, sizes, 0))[:-1]])[: len(records)]
        )
        return len(records) if possible.all() else int(np.argmin(possible))

    def _check_folder(self) -> None:
        own = {"cache.json", "cache.json.partial", "pixels.bin", "images.bin", "broken.jsonl", "lock", "building.json"}
        others = sorted(set(os.listdir(self._folder)) - own - {name + ".partial" for name in own})
        if others:
            raise FileError(
                f"cache: {self._folder} holds {others[0]}, which is no part of a cache: name another folder"
            )
        for name in os.listdir(self._folder):
            check_regular(self._path(name))  # to open a pipe would wait for ever

    def _build(self) -> None:
        if os.path.exists(self._path("cache.json")):
            self._say(
                f"cache {self._folder}: made from other images or with other parameters, or damaged; it is made anew"
            )
            os.remove(self._path("cache.json"))
        names = ("pixels.bin", "images.bin", "broken.jsonl")
        if not self._is_continued():
            for name in names:
                for ending in ("", ".partial"):
                    _remove(self._path(name + ending))
            _write_json(self._path("building.json"), self._key)
        begun = self._usable()
        if begun:
            self._say(f"cache {self._folder}: {begun} of {self._key['images']} images are there already")
        with ExitStack() as stack:
            pixels, records, broken = (stack.enter_context(open(self._path(name + ".partial"), "ab")) for name in names)
            self._write(begun, pixels, records, broken)
            for file in (pixels, records, broken):
                file.flush()
                os.fsync(file.fileno())
            size = pixels.tell()
        for name in names:
            os.replace(self._path(name + ".partial"), self._path(name))
        _write_json(self._path("cache.json"), {**self._key, "bytes": size})
        _remove(self._path("building.json"))
        self._say(f"cache {self._folder}: {self._key['images']} images, {size / 1e9:.2f} GB")

    def _is_continued(self) -> bool:
        try:
            return bool(parse_json(read_text(self._path("building.json"))) == self._key) and os.path.exists(
                self._path("pixels.bin.partial")
            )
        except (OSError, ValueError):
            return False

    def _usable(self) -> int:
        """Complete images of an unfinished cache. What follows them is cut off."""
        pixels, images, broken = (
            self._path(name + ".partial") for name in ("pixels.bin", "images.bin", "broken.jsonl")
        )
        if not (os.path.exists(pixels) and os.path.exists(images)):
            return 0
        with open(images, "rb") as file:
            content = file.read(self._key["images"] * _RECORD.itemsize)
        records = np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
        records = records[: self._following(records)]
        ends = records["offset"] + _sizes(records, self._key["channels"])
        count = int(np.searchsorted(ends, os.path.getsize(pixels), side="right"))
        os.truncate(images, count * _RECORD.itemsize)
        os.truncate(pixels, int(ends[count - 1]) if count else 0)
        reasons = _read_reasons(broken)
        # A broken image whose reason was lost is read again, and what follows it.
        unexplained = [
            place for place in np.flatnonzero(records["height"][:count] == 0).tolist() if place not in reasons
        ]
        if unexplained:
            count = unexplained[0]
            os.truncate(images, count * _RECORD.itemsize)
            os.truncate(pixels, int(ends[count - 1]) if count else 0)
        with open(broken, "w", encoding="utf-8") as file:
            file.writelines(_reason_line(place, reason) for place, reason in reasons.items() if place < count)
        return count

    def _write(self, place: int, pixels: IO[bytes], records: IO[bytes], broken: IO[bytes]) -> None:
        workers = decoding_workers(None)
        count, first = self._key["images"], place
        offset = begun = pixels.seek(0, os.SEEK_END)
        try:
            for part in read_parts(self._source, _CHUNK, place, 2 * self._key["size"]):
                rows = np.zeros(len(part), _RECORD)
                for row, image in zip(rows, workers.map(self._smaller, part)):
                    row["offset"] = offset
                    if isinstance(image, BaseException):
                        broken.write(_reason_line(place, str(image.__cause__ or image)).encode())
                    else:
                        row["height"], row["width"] = image.shape[:2]
                        pixels.write(image.data)
                        offset += image.nbytes
                    place += 1
                # In this order, so that every record that is there has its pixels and its reason.
                pixels.flush()
                broken.flush()
                records.write(rows.tobytes())
                records.flush()
                self._progress(place, count)
                self._check_room((offset - begun) / (place - first) * (count - place))
        finally:
            workers.close()

    def _smaller(self, image: Any) -> Any:
        """An image with its shorter side at the cache's size, by Pillow's antialiased bicubic filter."""
        if isinstance(image, BaseException):
            return image
        height, width = image.shape[:2]
        size = self._key["size"]
        if min(height, width) <= size:
            return np.ascontiguousarray(image)
        shape = (
            (size, max(1, round(height * size / width)))
            if width <= height
            else (max(1, round(width * size / height)), size)
        )
        Image = pillow()
        if image.shape[2] not in (1, 3):
            raise InvalidArgumentError(f"cache: got images of {image.shape[2]} channels, want 1 or 3")
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
        small = np.asarray(picture.resize(shape, Image.Resampling.BICUBIC))
        return np.ascontiguousarray(small[..., None] if small.ndim == 2 else small)

    def _check_room(self, needed: float) -> None:
        """A disk too small is reported before hours of decoding, not after them."""
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise FileError(
                f"cache: {self._folder} needs about {needed / 1e9:.2f} GB more, its disk has {free / 1e9:.2f} GB left: "
                "make room, choose a smaller cache_size, or a folder on another disk; what is there is kept"
            )

    def _failed(self, error: OSError) -> FileError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return FileError(
                f"cache: the disk of {self._folder} is full: make room and start again, what is there is kept ({error})"
            )
        refuse_file(self._folder, "cache")
        return FileError(f"cache: cannot write {self._folder}: {error.strerror or error}")


def _hash(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _lock(file: IO[str], folder: str) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(f"cache: another process is making {folder}: wait for it, or name another folder") from None


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)


def _write_json(path: str, value: dict[str, Any]) -> None:
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".partial", path)


def _reason_line(place: int, reason: str) -> str:
    return json.dumps({"place": place, "reason": reason}) + "\n"


def _read_reasons(path: str) -> dict[int, str]:
    reasons = {}
    try:
        for line in read_lines(path):
            row = parse_json(line)
            reasons[int(row["place"])] = str(row["reason"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass  # callers see what is missing
    return reasons


def _sizes(records: np.ndarray, channels: int) -> np.ndarray:
    """Bytes of each image, int64."""
    return np.asarray(records["height"].astype(np.int64) * records["width"] * channels)


def _end(records: np.ndarray, channels: int) -> int:
    """Where the last image's pixels end."""
    return int(records["offset"][-1] + _sizes(records[-1:], channels)[0]) if len(records) else 0
