"""What the estimator asks of images: how many, which channels and size, and their pixels some at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _images
from .errors import InvalidArgumentError
from .sources import BatchStream, ImageSource
from .sources.labelled import opened
from .sources.loader import MOST_IMAGES, images_at_once, read_parts


def samples_of(source: ImageSource | BatchStream) -> int | None:
    """The number of images; None for a stream."""
    return None if isinstance(source, BatchStream) else len(source)


def channels_of(source: ImageSource | BatchStream) -> int:
    """The images' channels; a stream's are those of its first item."""
    return (
        _images.pack_images(source.probe(), "images").channels if isinstance(source, BatchStream) else source.channels
    )


def typical_side(source: ImageSource | BatchStream) -> int:
    """Pixels of the shorter side of a typical image; of a stream the median over its first item."""
    if isinstance(source, BatchStream):
        records = _images.pack_images(source.probe(), "images").records
        return int(np.median(np.minimum(records["height"], records["width"])))
    return source.side


def image_parts(images: Any, channels: int, on_error: str = "raise", value_range: Any = None) -> Iterator[Any]:
    """The images, some at a time, in what ``embed_images`` takes; with on_error "nan" a list has None for those that
    cannot be read."""
    if on_error not in ("raise", "nan"):
        raise InvalidArgumentError(f'on_error: got {on_error!r}, want "raise" or "nan"')
    with opened(images, channels, value_range) as source:
        if isinstance(source, BatchStream):
            yield from source.batches_of(MOST_IMAGES, keep_last=True)
            return
        for part in read_parts(source, images_at_once(source)):
            errors = [item for item in part if isinstance(item, BaseException)] if isinstance(part, list) else []
            if errors and on_error == "raise":
                raise errors[0]
            for error in errors:
                warnings.warn(
                    f"a row of NaN stands for an image that cannot be read: {error}", UserWarning, stacklevel=3
                )
            yield [None if isinstance(item, BaseException) else item for item in part] if errors else part
