"""Weights files of other programs, whole or damaged, and steps on features that were computed before."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..mutations import join, mutated
from ..scenario import Scenario
from . import recipe
from .images import metrics
from .shared import path, saved


def resnet18(base: int, channels: int) -> list[tuple[str, list[int]]]:
    """Names and shapes of the tensors of a ResNet-18 whose first layer has `base` filters."""
    tensors: list[tuple[str, list[int]]] = []

    def unit(convolution: str, norm: str, out: int, into: int, kernel: int) -> None:
        tensors.append((f"{convolution}.weight", [out, into, kernel, kernel]))
        tensors.extend((f"{norm}.{part}", [out]) for part in ("weight", "bias", "running_mean", "running_var"))

    unit("conv1", "bn1", base, channels, 3)
    into = base
    for stage in range(4):
        out = base << stage
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            unit(f"{name}.conv1", f"{name}.bn1", out, into, 3)
            unit(f"{name}.conv2", f"{name}.bn2", out, out, 3)
            if into != out:
                unit(f"{name}.downsample.0", f"{name}.downsample.1", out, into, 1)
            into = out
    return tensors


def weights(s: Scenario) -> bytes:
    """A path of a weights file that is good, damaged, or something else."""
    if s.odd(0.2):
        return saved(s)
    name = path(s, ".weights")
    # opening the folder's named pipe would wait for a reader
    if os.path.dirname(name) != os.fsencode(s.world.folder) or (os.path.lexists(name) and not os.path.isfile(name)):
        return name
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    wrapper = s.choose(["", "", "module.", "encoder."])
    for tensor, shape in resnet18(1, s.choose([3, 3, 1])):
        size = 4 * int(np.prod(shape))
        header[wrapper + tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    values = np.random.default_rng(s.random.getrandbits(32)).uniform(0.1, 0.5, place // 4).astype(np.float32)
    data = join(header, values.tobytes())
    if s.odd(0.4):
        try:
            data = mutated(s.random, data)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return name
    try:
        Path(os.fsdecode(name)).write_bytes(data)
    except (OSError, ValueError):
        pass
    return name


@recipe("carl_weights_describe", 1)
def describe(s: Scenario) -> None:
    capacity = s.choose([0, 1, 1 << 12, s.size_t(1 << 12, 0.3)])
    s.call(
        "carl_weights_describe",
        {"path": s.text(weights(s)), "buffer": s.claimed_output(capacity), "capacity": capacity, "needed": s.output(8)},
    )


@recipe("carl_encoder_from_weights", 1)
def from_weights(s: Scenario) -> None:
    if len(s.handles) >= 6:
        return
    out = ctypes.c_void_p()
    changes = s.choose([{"view_size": 8}, {"in_channels": 1}, {"in_channels": 5, "mean": [0.5]}, {"width": 1}])
    status = s.call(
        "carl_encoder_from_weights",
        {
            "path": s.text(weights(s)),
            "overrides_json": 0 if s.random.random() < 0.4 else s.json(changes, 0.3),
            "threads": s.threads(),
            "out": ctypes.addressof(out),
        },
    )
    if status == 0 and (handle := s.adopt("encoder", out.value or 0)) is not None:
        trainer = s.live("trainer")
        s.learn(handle, trainer.config if trainer else {})


@recipe("carl_trainer_load_weights", 1)
def load_weights(s: Scenario) -> None:
    s.call("carl_trainer_load_weights", {"trainer": s.handle_argument(s.need("trainer")), "path": s.text(weights(s))})


@recipe("carl_trainer_step_features", 2)
def step_features(s: Scenario) -> None:
    handle = s.need("trainer")
    width = handle.widths.get(0, 4) if handle else 4
    views, batch = s.choose([2, 2, 3]), s.choose([2, 3, 5])
    count = s.size_t(views * batch * width)
    s.call(
        "carl_trainer_step_features",
        {
            "trainer": s.handle_argument(handle),
            "features": s.floats(count),
            "views": s.size_t(views),
            "batch": s.size_t(batch),
            "global_views": s.size_t(s.choose([0, 0, 1, 2])),
            "count": count,
            "metrics": metrics(s, "carl_metrics"),
        },
    )
