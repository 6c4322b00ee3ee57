"""Making views, and the specifications they are made from."""

from __future__ import annotations

import json

import numpy as np

from .. import models, values
from ..scenario import Scenario
from . import recipe
from .images import epoch, image_count, images, indices


def _sizes(spec: object) -> list[int]:
    """Sizes of the views that a valid specification makes, [] for a preset."""
    if isinstance(spec, str):
        return [32, 32] + [14] * (6 if spec == "multicrop" else 0)
    listed = spec if isinstance(spec, list) else [spec]
    return [int(one.get("size", 32)) for one in listed for _ in range(int(one.get("count", 1)))]


@recipe("carl_make_views", 8)
def make_views(s: Scenario) -> None:
    spec = models.view_spec(s.random)
    channels = s.choose([3, 3, 3, 1, 2, 4])
    sizes = _sizes(spec)
    count = image_count(s, 1)
    text = json.dumps(spec).encode()
    if count < 64 and s.odd(0.1):
        # The library may find other views in it than we know, so that the room is wrong: it has to see that first.
        text = values.json_text(s.random, spec, True)
    counts = [s.size_t(count * size * size * channels + (1 if count > 1 << 20 else 0), 0.04) % 2**64 for size in sizes]
    out = [0 if s.odd(0.01) else s.claimed_output(4 * n) for n in counts]
    claimed = s.size_t(len(sizes), 0.05)
    if claimed > len(out):
        extra = min(claimed, 1 << 16) - len(out)
        counts, out = counts + [1] * extra, out + [s.output(4)] * extra
    s.call(
        "carl_make_views",
        {
            "images": images(s, count, channels),
            "count": count,
            "spec_json": s.text(text),
            "seed": s.size_t(5),
            "epoch": epoch(s),
            "indices": indices(s, count if count < 1 << 20 else 0),
            "threads": s.threads(),
            "out": s.pointers(out),
            "out_counts": s.input(np.array(counts, np.uint64)),
            "out_views": claimed,
        },
    )


@recipe("carl_views_describe", 2)
def describe(s: Scenario) -> None:
    capacity = s.size_t(s.choose([0, 1, 2, 8, 64]))
    s.call(
        "carl_views_describe",
        {
            "spec_json": s.json(models.view_spec(s.random), 0.4),
            "channels": s.int32(s.choose([1, 3, 4])),
            "sizes": s.claimed_output(4 * capacity),
            "capacity": capacity,
            "views": s.output(8),
        },
    )


@recipe("carl_views_expand", 2)
def expand(s: Scenario) -> None:
    capacity = s.size_t(s.choose([0, 1, 500, 5000]))
    s.call(
        "carl_views_expand",
        {
            "spec_json": s.json(models.view_spec(s.random), 0.4),
            "view_size": s.int32(s.choose([1, 8, 32, 4096])),
            "channels": s.int32(s.choose([1, 3, 4])),
            "buffer": s.claimed_output(capacity),
            "capacity": capacity,
            "needed": s.output(8),
        },
    )
