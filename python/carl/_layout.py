"""Where an image's channels are: last in arrays, in front in torch's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._array_like import is_tensor, shared
from .errors import InvalidArgumentError

#: Of an image's sides, the limit of carl_image in carl.h.
MAX_SIDE = 65535


def is_bands_first(shape: Sequence[int]) -> bool:
    """Whether an image of three dimensions is (C, H, W) rather than (H, W, C): one or three in front of two larger
    ones, or any number that is at most half of both."""
    first, smallest = shape[0], min(shape[1:])
    return smallest > 4 and (first in (1, 3) or 0 < 2 * first <= smallest)


def channels_last(value: Any, name: str = "images") -> Any:
    """Tensors (C, H, W) and (B, C, H, W), torch's order, made channels-last; everything else unchanged. Nothing is
    copied: one of torch's memory format channels_last becomes a contiguous array.

    A tensor that can be either, such as one of 3 rows and 3 channels, is taken for channels-last.
    """
    if not is_tensor(value):
        return value
    array = shared(value, name)
    if array.ndim in (3, 4) and is_bands_first(array.shape[-3:]):
        return np.moveaxis(array, -3, -1)
    return array


def batch_channels_last(value: Any, name: str = "images") -> Any:
    """The same of what can only be a batch: a tensor of three dimensions is gray images (B, H, W)."""
    return value if is_tensor(value) and len(value.shape) == 3 else channels_last(value, name)


def refuse_bands_first(shape: Sequence[int], name: str) -> None:
    """InvalidArgumentError for the shape of an image, or of a batch of them, that has its channels in front."""
    if is_bands_first(shape[-3:]):
        batch = len(shape) == 4
        got, want, how = (
            ("(B, C, H, W)", "(B, H, W, C)", "images.transpose(0, 2, 3, 1)")
            if batch
            else ("(C, H, W)", "(H, W, C)", "image.transpose(1, 2, 0)")
        )
        raise InvalidArgumentError(
            f"{name}: got shape {tuple(shape)}, which looks like {got}; want channels last, {want}: use {how}"
        )


def refuse_one_image(value: Any, name: str) -> None:
    """InvalidArgumentError for a tensor of three planes, which is a colour image (C, H, W) more likely than a batch of
    three gray ones."""
    if is_tensor(value) and len(value.shape) == 3 and value.shape[0] == 3 and is_bands_first(value.shape):
        raise InvalidArgumentError(
            f"{name}: got a tensor of shape {tuple(value.shape)}, which looks like one colour image; want (B, C, H, W) "
            f"or (B, H, W): pass {name}[None] for one image, {name}[:, None] for three gray ones"
        )
