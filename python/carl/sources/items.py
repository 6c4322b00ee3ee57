"""One item of a data set or stream: where its image is, and its pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _arrays, _images
from .._array_like import is_array_like, is_tensor
from .._decode import SUFFIXES, Header, decode, file_header, header_of, to_array
from .._layout import MAX_SIDE, channels_last
from .._values import Values
from ..errors import FileError, InvalidArgumentError

#: Names under which an image is looked for in an item that is a dict.
IMAGE_COLUMNS = ("image", "images", "img", "picture", "pixel_values", "x")
#: Names under which labels are looked for.
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "targets", "class", "y")


def is_pillow(value: Any) -> bool:
    return hasattr(value, "convert") and hasattr(value, "getbands")


def _is_array(value: Any) -> bool:
    return is_array_like(value) and hasattr(value, "shape")


def is_encoded(value: Any) -> bool:
    """An image file as bytes, or as the dict of bytes and path that the datasets package uses."""
    return (
        isinstance(value, (bytes, bytearray))
        or (isinstance(value, memoryview) and value.ndim == 1)
        or isinstance(value, Mapping)
        and "bytes" in value
        and set(value) <= {"bytes", "path"}
    )


def is_image(value: Any) -> bool:
    """Whether a value is one image: of Pillow, encoded, or an array (H, W) or (H, W, C), or a tensor (C, H, W) of 1 or
    3 channels.

    Arrays of three dimensions are images when the last one is 1, 3, 4, or at most 13 and at most half of the others;
    else they are batches (B, H, W).
    """
    if is_pillow(value) or is_encoded(value):
        return True
    if not _is_array(value):
        return False
    shape = tuple(value.shape)
    if len(shape) != 3:
        return len(shape) == 2
    channels = shape[2]
    return channels in (1, 3, 4) or 2 * channels <= min(26, *shape[:2]) or (is_tensor(value) and shape[0] in (1, 3))


def is_single(item: Any) -> bool:
    """Whether an item of a set that is read by number is one image, be it with others' dimensions: it says so by the
    single label beside it."""
    return (
        isinstance(item, tuple)
        and len(item) > 1
        and _is_array(item[0])
        and len(item[0].shape) == 3
        and _is_number(item[1])
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) or (_is_array(value) and len(value.shape) == 0)


def _kind(image: Any) -> Any:
    """What images of one batch have in common."""
    if is_pillow(image):
        return image.mode
    return (len(image.shape), str(image.dtype), tuple(image.shape)) if _is_array(image) else type(image)


def is_batch(value: Any) -> bool:
    """Whether a value is several images: a list of them, or an array (B, H, W) or (B, H, W, C)."""
    if isinstance(value, (list, tuple)):
        if isinstance(value, tuple) and len(value) < 2:
            return False  # what a data set without labels gives for one image
        return len(value) > 0 and all(is_image(item) or _is_array(item) and len(item.shape) == 3 for item in value)
    return _is_array(value) and len(value.shape) in (3, 4) and not is_image(value)


def _is_row(value: Any, rows: int) -> bool:
    """Whether one of the `rows` elements of a list is an image with what belongs to it, rather than a batch."""
    if isinstance(value, Mapping):
        return True
    if not isinstance(value, (list, tuple)) or not value or not is_image(value[0]):
        return False
    # Of images alone: (photo, mask), or all the photos of a batch.
    pair = isinstance(value, tuple) and len({_kind(image) for image in value}) > 1 and len(value) <= max(2, rows)
    return pair or not is_batch(value)


def _are_views(first: Any, second: Any) -> bool:
    """Whether both are batches, of as many images of one kind."""
    if _is_array(first) and _is_array(second):
        return len(first.shape) in (3, 4) and not is_image(first) and _kind(first) == _kind(second)
    if not (isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second)):
        return False
    return is_batch(list(first)) and is_batch(list(second)) and _kind(first[0]) == _kind(second[0])


def image_of(item: Any, name: str, single: bool = False) -> Any:
    """The image, or images, of an item: itself, the first of a tuple (image, label), or a column of a dict; of a list
    of such tuples and dicts the images of all.

    Of a tuple of several images, such as (photo, mask), the first one too. InvalidArgumentError where they are of one
    kind, and so may be a batch, and for several views of one image, or of the images of a batch; single: items are one
    image each, so a tuple is no batch.
    """
    if isinstance(item, tuple) and is_batch(item):
        if not single and len({_kind(image) for image in item}) == 1:
            raise InvalidArgumentError(
                f"{name}: got a tuple of {len(item)} images; want the image alone or with its label, or a list where "
                "it is a batch"
            )
        return item[0]
    if is_image(item) or is_batch(item):
        return item
    if isinstance(item, Mapping):
        return item[image_column(item, name)]
    if isinstance(item, list) and item and all(_is_row(row, len(item)) for row in item):
        found = [image_of(row, f"{name}[{place}]", single=True) for place, row in enumerate(item)]
        return found if len(found) > 1 else found[0]
    if isinstance(item, (list, tuple)) and item:
        first = item[0]
        if len(item) > 1 and _are_views(first, item[1]):
            raise InvalidArgumentError(
                f"{name}: got several batches of images of one kind, which look like views of the same images; want "
                "the images alone, or with labels behind them: views are made here"
            )
        if isinstance(first, (list, tuple)) and is_batch(first):
            if len(item) > 1 and _is_number(item[1]):
                raise InvalidArgumentError(
                    f"{name}: got {len(first)} images with one label, which look like views of one image; want the "
                    "image itself: views are made here"
                )
            return first
        return image_of(first, name, single)
    if _is_array(item):
        return item  # of a shape that is no image: the check of arrays says what was wanted
    raise InvalidArgumentError(
        f"{name}: got {type(item).__name__}, want an image, a batch of images, a tuple with one in front, or a dict "
        "with one"
    )


def image_column(item: Mapping[str, Any], name: str) -> str:
    """The key of the image in a dict: a name of ``IMAGE_COLUMNS``, an image file's ending, or the only one that holds
    images."""
    for key in IMAGE_COLUMNS:
        if key in item and (is_image(item[key]) or is_batch(item[key])):
            return key
    for key in item:
        if "." + str(key).lower().rpartition(".")[2] in SUFFIXES:
            return key
    found = [key for key, value in item.items() if is_image(value) or (is_batch(value) and not isinstance(value, list))]
    if len(found) != 1:
        held = ", ".join(map(str, item)) or "nothing"
        raise InvalidArgumentError(
            f"{name}: got a dict of {held}; want an image under one of {', '.join(IMAGE_COLUMNS)}"
        )
    return found[0]


def header_of_item(value: Any) -> Header:
    """Size and channels of one image; Pillow and encoded images have 1 or 3."""
    if is_pillow(value):
        return header_of(value)
    if is_encoded(value):
        return file_header(_file(value))
    shape = tuple(map(int, channels_last(value).shape))
    return Header(shape[0], shape[1], 1 if len(shape) == 2 else shape[2])


def to_pixels(
    value: Any, name: str, channels: int | None, least_side: int | None = None, values: Values | None = None
) -> np.ndarray:
    """One image as uint8 (H, W, C). Pillow and encoded images become gray or RGB by `channels`; arrays stay as they
    are, but that gray ones are repeated where 3 channels are wanted."""
    if is_pillow(value):
        return to_array(value, channels, least_side, values, name)
    if is_encoded(value):
        return decode(_file(value), channels, least_side, values, name)
    values, array = values or Values(), channels_last(value, name)
    array = _arrays.as_array(array, name)
    if array.dtype.kind == "f" and values.range is None:
        raise InvalidArgumentError(
            f"{name}: got dtype {array.dtype}, want uint8 (0 .. 255): leave out what makes floats, such as ToTensor "
            "and Normalize, or give value_range=(low, high), the values that become black and white"
        )
    if array.ndim in (2, 3) and max(array.shape[:2]) > MAX_SIDE:  # a broken image, as a file of this size is
        height, width = array.shape[:2]
        raise FileError(f"has {width} x {height} pixels, want sides of at most {MAX_SIDE}")
    array = _images.one_image(values.image(array, name), name)
    if channels == 3 and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if channels is not None and array.shape[2] != channels:
        raise InvalidArgumentError(f"{name}: got {array.shape[2]} channel(s), want {channels}")
    return array


def _file(value: Any) -> Any:
    """What Pillow opens: a path or an open file."""
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if content is None:
            if not isinstance(path, (str, os.PathLike)):
                raise FileError("an image without bytes and without a path")
            return os.fspath(path)
        value = content
    return io.BytesIO(value)
