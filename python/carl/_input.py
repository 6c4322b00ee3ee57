"""What the estimator asks of images: how many, which channels and size, and their pixels some at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidArgumentError
from .sources import BatchStream, ImageSource
from .sources.broken import BrokenImages
from .sources.labelled import opened
from .sources.loader import MOST_IMAGES, images_at_once, read_parts

if TYPE_CHECKING:
    from .progress import Bar


def samples_of(source: ImageSource | BatchStream) -> int | None:
    """The number of images; None for a stream."""
    return None if isinstance(source, BatchStream) else len(source)


def channels_of(source: ImageSource | BatchStream) -> int:
    """The images' channels; a stream's are those of its first images."""
    return source.channels


def typical_side(source: ImageSource | BatchStream) -> int:
    """Pixels of the shorter side of a typical image; of a stream the median over its first ones."""
    return source.side


#: What is said of an image that cannot be read and is not an error.
ROW_OF_NAN = "a row of NaN stands for an image that cannot be read"


def embedded(
    embed: Callable[[Any], np.ndarray],
    images: Any,
    channels: int,
    width: int,
    on_error: str = "raise",
    *,
    bar: Bar | None = None,
    names: bool = False,
    says: str = ROW_OF_NAN,
    value_range: Any = None,
) -> tuple[np.ndarray, list[str]]:
    """float32 (N, width): what `embed` makes of whatever ``carl.as_source`` takes, some images at a time; and with
    `names` the images' paths, or numbers where they have none."""
    rows = []
    with opened(images, channels, value_range) as source:
        if bar is not None:
            bar.plan(samples_of(source))
        for part in image_parts(source, channels, on_error, says, value_range):
            rows.append(_rows(embed, part, width))
            if bar is not None:
                bar.advance(by=len(part))
        found = np.concatenate(rows) if rows else np.empty((0, width), np.float32)
        return found, row_names(source, len(found)) if names else []


def row_names(source: ImageSource | BatchStream, count: int) -> list[str]:
    """How to name each of `count` images: by path, or by number."""
    return [f"image {place}" if isinstance(source, BatchStream) else source.identity(place) for place in range(count)]


def _rows(embed: Callable[[Any], np.ndarray], images: Any, width: int) -> np.ndarray:
    """Of one part; None stands for an image that could not be read."""
    good = [place for place, image in enumerate(images) if image is not None] if isinstance(images, list) else None
    if good is None or len(good) == len(images):
        return embed(images)
    rows = np.full((len(images), width), np.nan, np.float32)
    if good:
        rows[good] = embed([images[place] for place in good])
    return rows


def image_parts(
    images: Any, channels: int, on_error: str = "raise", says: str = ROW_OF_NAN, value_range: Any = None
) -> Iterator[Any]:
    """The images, some at a time, in what ``embed_images`` takes; with on_error "nan" a list has None for those that
    cannot be read, of which a warning `says` what that means. In a batch that the caller has made they are an error."""
    if on_error not in ("raise", "nan"):
        raise InvalidArgumentError(f'on_error: got {on_error!r}, want "raise" or "nan"')
    with opened(images, channels, value_range) as source:
        if isinstance(source, BatchStream):
            gave = 0
            for part in (
                _with_gaps(source, says) if on_error == "nan" else source.batches_of(MOST_IMAGES, keep_last=True)
            ):
                gave += len(part)
                yield part
            if gave == 0:
                once = "; an iterator gives its images once" if source.once else ""
                raise InvalidArgumentError(f"images: {source.describe()} gave none{once}")
            return
        for part in read_parts(source, images_at_once(source)):
            errors = [item for item in part if isinstance(item, BaseException)] if isinstance(part, list) else []
            if errors and on_error == "raise":
                raise errors[0]
            for error in errors:
                warnings.warn(f"{says}: {error}", UserWarning, stacklevel=3)
            yield [None if isinstance(item, BaseException) else item for item in part] if errors else part


def _with_gaps(stream: BatchStream, says: str) -> Iterator[Any]:
    """The images of a stream, some at a time, with None for single ones that cannot be decoded."""
    gaps = _Gaps(says)
    for images in stream.batches_of(1, gaps):  # one at a time: so the gaps fall between the right ones
        if isinstance(images, list):
            gaps.waiting += images
            if len(gaps.waiting) >= MOST_IMAGES:
                yield gaps.taken()
        else:
            if gaps.waiting:
                yield gaps.taken()
            yield images
    if gaps.waiting:
        yield gaps.taken()


class _Gaps(BrokenImages):
    """Any number of broken images: each is warned of, and leaves None among those that wait for their turn."""

    def __init__(self, says: str) -> None:
        super().__init__(None)
        self._says = says
        self.waiting: list[Any] = []

    def add(self, place: int | None, name: str, error: BaseException) -> None:
        warnings.warn(f"{self._says}: {error}", UserWarning, stacklevel=3)
        self.waiting.append(None)

    def count_tried(self, images: int) -> None:
        pass

    def taken(self) -> list[Any]:
        taken, self.waiting = self.waiting, []
        return taken
