"""Making trainers, training steps, profiles."""

from __future__ import annotations

import ctypes

from .. import models
from ..models import too_long
from ..scenario import Scenario
from . import recipe
from .images import batch, epoch, image_count, images, indices, metrics, step_is_short
from .shared import saved


def _made(s: Scenario, status: int, out: ctypes.c_void_p) -> None:
    if status == 0 and (handle := s.adopt("trainer", out.value or 0)) is not None:
        s.learn(handle, s.own_config("trainer", handle.value))


#: Valid configurations of models that are too large to use, or of steps that are.
LARGE = [
    {"width": 8},
    {"prototypes": 8_000_000, "projector": [512]},
    {"width": 1 / 64, "prototypes": 2**24, "projector": [1], "partition_size": 8},
    {"width": 1 / 64, "in_channels": 1024, "prototypes": 4, "projector": [4], "views": [{"size": 4096, "count": 64}]},
    {"width": 1 / 64, "prototypes": 2**20, "projector": [1], "view_size": 8, "used_window": 3},
    {"projector": [65536, 65536], "width": 1 / 64},
    {"width": 1 / 64, "prototypes": 8, "projector": [4], "views": [{"size": 4096}, {"size": 1, "count": 63}]},
]


@recipe("carl_trainer_create", 1.2)
def create(s: Scenario) -> None:
    config = models.trainer_config(s.random, s.diverging)
    if s.odd(0.04):
        config = s.choose(LARGE)
    if len(s.handles) >= 6:
        return
    out = ctypes.c_void_p()
    status = s.call("carl_trainer_create", {"config_json": s.json(config, 0.25), "out": ctypes.addressof(out)})
    _made(s, status, out)


@recipe("carl_trainer_resume", 1.5)
def resume(s: Scenario) -> None:
    if len(s.handles) >= 6:
        return
    out = ctypes.c_void_p()
    overrides = 0
    if s.random.random() < 0.4:
        changes = {
            key: value
            for key, value in models.trainer_config(s.random).items()
            if key not in ("width", "projector", "prototypes", "in_channels")
        }
        overrides = s.json(
            s.choose([{"threads": 2}, {"learning_rate": 0.1}, {"teacher_momentum": 0.9}, {"accumulate": 2}, changes]),
            0.3,
        )
    status = s.call(
        "carl_trainer_resume", {"path": s.text(saved(s)), "overrides_json": overrides, "out": ctypes.addressof(out)}
    )
    _made(s, status, out)


@recipe("carl_trainer_step", 8)
def step(s: Scenario) -> None:
    handle = s.need("trainer")
    count = image_count(s)
    if handle and handle.config and handle.channels == 1024 and s.random.random() < 0.5:
        count = 2**23  # with views of 4,096 pixels, 64 of them: 2^63 values
    if not step_is_short(handle, count):
        count = 2
        if not step_is_short(handle, count):
            return
    channels = handle.channels if handle and handle.config else 3
    s.call(
        "carl_trainer_step",
        {
            "trainer": s.handle_argument(handle),
            "images": images(s, count, channels),
            "count": count,
            "indices": indices(s, count if count < 1 << 20 else 0),
            "epoch": epoch(s),
            "metrics": metrics(s, "carl_metrics"),
        },
    )


@recipe("carl_trainer_step_views", 8)
def step_views(s: Scenario) -> None:
    handle = s.need("trainer")
    wanted = s.choose([2, 2, 2, 3, 4])
    count = s.choose([2, 3, 4, 9])
    views = [batch(s, handle, count if not s.odd(0.05) else None, wanted) for _ in range(wanted)]
    if s.random.random() < 0.4:
        views[1:] = [views[0]] * (wanted - 1)
    if handle and handle.config and too_long(handle.config, 8, [8] * wanted):
        return
    claimed = s.size_t(wanted, 0.06)
    array = b"".join(bytes(view) for view in views)
    if claimed * len(bytes(views[0])) > len(array):
        address = s.claimed_input(24 * claimed, lambda: bytes(views[0]) * claimed)
    else:
        address = s.input(array)
    s.call(
        "carl_trainer_step_views",
        {
            "trainer": s.handle_argument(handle),
            "views": address,
            "count": claimed,
            "metrics": metrics(s, "carl_metrics"),
        },
    )


@recipe("carl_trainer_set_profiling", 0.5)
def set_profiling(s: Scenario) -> None:
    s.call(
        "carl_trainer_set_profiling",
        {"trainer": s.handle_argument(s.need("trainer")), "enabled": s.int32(s.choose([0, 1]))},
    )
