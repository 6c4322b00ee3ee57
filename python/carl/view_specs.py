"""What the configuration key ``views`` comes to."""

from __future__ import annotations

import math
from typing import Any

from . import _arrays
from ._c_api import LIB, string_from
from .config import ViewSpec, parse_list
from .views import spec_text


def expand_views(spec: Any, channels: int = 3, view_size: int | None = None) -> list[ViewSpec]:
    """The specifications that a preset's name, a specification or a list of them comes to, every default filled in.

    view_size: pixels of a preset's views, 32 by default; specifications have their own.
    """
    text = spec_text(spec)
    channels = _arrays.c_integer(channels, "channels")
    size = _arrays.c_integer(32 if view_size is None else view_size, "view_size")

    def expand(_: Any, buffer: Any, capacity: int, needed: Any) -> int:
        return int(LIB.carl_views_expand(text, size, channels, buffer, capacity, needed))

    return parse_list(string_from(expand, None), "views")


def least_side(specs: list[ViewSpec]) -> int:
    """The shorter side of an image, in pixels, from which on even the smallest crop of any view has as many pixels as
    the view.

    A crop of share s of the area and ratio r (width by height) is at least sqrt(s min(r, 1/r)) of the shorter side
    long.
    """
    return max(
        math.ceil(float(spec["size"]) / math.sqrt(spec["scale"][0] * min(spec["ratio"][0], 1 / spec["ratio"][1], 1.0)))
        for spec in specs
    )
