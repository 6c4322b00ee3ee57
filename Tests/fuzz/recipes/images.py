"""Arrays of images of bytes and batches of float images."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .. import values
from ..models import Handle, too_long
from ..scenario import Scenario

_REPEATED = 1 << 17


def image(s: Scenario, channels: int) -> ctypes.Structure:
    """One carl_image with pixels of its own."""
    height, width = s.choose([1, 2, 7, 8, 12, 20, 33]), s.choose([1, 2, 7, 8, 12, 20, 33])
    if s.odd(0.02):
        height, width = s.choose(
            [(1, 65535), (65535, 1), (3000, 2), (65536, 1), (1, 65536), (65535, 65536), (0, 4), (4, -1)]
        )
    stride = width * channels + s.choose([0, 0, 1, 13])
    if s.odd(0.05):
        stride = s.choose(
            [width * channels - 1, 0, 2**40, 2**40 + 1, 2**62, 2**63 - 1, -(2**63), -width * channels + 1]
        )
    if s.random.random() < 0.2:
        stride = values.wrapped(-stride, 64, True)
    shown = channels
    if s.odd(0.03):
        shown = s.choose([0, -1, channels + 1, 1024, 1025, 2**31 - 1])
    valid = 1 <= height <= 65535 and 1 <= width <= 65535 and 1 <= shown <= 1024 and abs(stride) >= width * shown
    size = (height - 1) * abs(stride) + width * shown if valid else 0
    if size > 4 << 20:  # rows far apart: one row has to do, or the stride is what nobody's memory allows
        height, size = 1, width * shown
    address = s.input(s.random.randbytes(size)) if size < 1 << 20 else s.input(bytes(size))
    if stride < 0 and valid:
        address += (height - 1) * -stride
    reserved = s.choose([1, -1]) if s.odd(0.02) else 0
    return s.struct(
        "carl_image",
        pixels=0 if s.odd(0.02) else address,
        height=height,
        width=width,
        channels=shown,
        reserved=reserved,
        row_stride=stride,
    )


def images(s: Scenario, count: int, channels: int) -> int:
    """The address of an array of so many images."""
    if not 0 < count <= 64:
        if count <= 0:
            return s.input(b"")
        if count <= _REPEATED:
            pixels = s.input(bytes(16 * channels))
            return s.input(
                bytes(
                    s.struct("carl_image", pixels=pixels, height=4, width=4, channels=channels, row_stride=4 * channels)
                )
                * count
            )
        s._claimed_vast = True
        return s.world.vast_images.get(channels, s.world.vast_images[3]).address
    if s.random.random() < 0.5:
        kinds = [image(s, channels) for _ in range(min(count, 2))]
        return s.input(b"".join(bytes(s.choose(kinds)) for _ in range(count)))
    return s.input(b"".join(bytes(image(s, channels)) for _ in range(count)))


def image_count(s: Scenario, least: int = 2) -> int:
    """A number of images to claim. Enormous ones are so large that no model could serve them."""
    if s.odd(0.02):
        if s.random.random() < 0.03:
            return s.choose([2**28, 2**31 - 1, 2**31])  # some seconds to look at all of them
        return s.choose([2**23, 2**27, 2**31 + 1, 2**32, 2**40, 2**63, 2**64 - 1])
    if s.odd(0.1):
        return s.choose([0, 1, 65, 300])
    return s.choose([least, 2, 3, 4, 5, 8, 17])


def indices(s: Scenario, count: int) -> int:
    if s.random.random() < 0.5:
        return 0
    return s.claimed_input(
        8 * count, lambda: np.array([s.choose([0, 1, 7, 2**32, 2**63, 2**64 - 1]) for _ in range(count)], np.uint64)
    )


def epoch(s: Scenario) -> int:
    return s.size_t(s.choose([0, 1, 7, 2**24 - 1]), 0.1)


def batch(s: Scenario, handle: Handle | None, count: int | None = None, views: int = 1) -> ctypes.Structure:
    """A carl_batch that suits the model, or nearly."""
    channels = handle.channels if handle and handle.config else 3
    side = s.choose(handle.view_sizes) if handle and handle.config else 8
    side = min(side, 33)
    shape: list[int] = [
        count or s.choose([1, 2, 3, 4, 6]),
        s.choose([side, side, 5, 8, 1]),
        s.choose([side, side, 6, 9, 2]),
        channels,
    ]
    if s.odd(0.15):
        place = s.random.randrange(4)
        shape[place] = values.wrapped(values.size(s.random, shape[place]), 32, True)
    fine = all(n > 0 for n in shape) and shape[3] == channels
    if (
        fine
        and handle
        and handle.config
        and too_long(handle.config, shape[0] * views, [int((shape[1] * shape[2]) ** 0.5) + 1])
    ):
        shape = [2, 8, 8, channels]
    size = 1
    for n in shape:
        size *= max(n, 0)
    if s.diverging and s.random.random() < 0.5 and size < 1 << 16:
        address = s.input(
            np.sign(np.random.default_rng(s.random.getrandbits(32)).standard_normal(size)).astype(np.float32)
            * np.float32(3e38)
        )
    else:
        address = s.floats(size)
    return s.struct(
        "carl_batch",
        values=0 if s.odd(0.02) else address,
        batch=shape[0],
        height=shape[1],
        width=shape[2],
        channels=shape[3],
    )


def out_count(s: Scenario, count: int, handle: Handle | None, output: int) -> tuple[int, int]:
    """Room that embedding so many images is claimed to have, and its address."""
    right = count * (handle.widths.get(output, 4) if handle else 4)
    if count > 1 << 20:  # with the right room the call would go on for hours
        right += 1
    claimed = s.size_t(right) if right < 1 << 40 else 7
    return claimed, s.claimed_output(4 * claimed)


def output_kind(s: Scenario) -> int:
    return s.int32(s.choose([0, 0, 1, 2, 3]), 0.08)


def metrics(s: Scenario, name: str) -> int:
    return 0 if s.random.random() < 0.2 else s.sized_struct(name)


def step_is_short(handle: Handle | None, count: int) -> bool:
    """Whether a step on so many images ends soon, by computing or by refusing."""
    return handle is None or not handle.config or not too_long(handle.config, count, handle.view_sizes)


def arguments(**named: Any) -> dict[str, Any]:
    return named
