"""How fast this machine trains and embeds: steps on random views, timed, and their profile by layer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from ctypes import byref, c_double
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _arrays
from ._c_api import LIB, call
from ._shown import ShownFields
from .encoder import Encoder
from .trainer import Trainer
from .view_specs import expand_views


def peak_rate(threads: int = 0) -> float:
    """Float32 operations a second of `threads` threads (0: the default) doing nothing but multiply and add. Takes about
    0.1 s."""
    result = c_double()
    call(LIB.carl_peak_rate, threads, byref(result))
    return result.value


@dataclass(repr=False)
class Speed(ShownFields):
    """What `measure` found. Rates are medians; operations are those of the direct methods, so a rate may exceed
    `peak`."""

    #: Views a second in training, and seconds of a step.
    views_per_second: float
    step_seconds: float
    #: Floating-point operations a second: of the step, and at most (`peak_rate`).
    operations_per_second: float
    peak: float
    #: Bytes of activations and scratch held per view.
    bytes_per_view: float
    #: Images a second embedded in batches, and seconds for a single one.
    images_per_second: float
    image_seconds: float
    #: Rows of `Trainer.profile`, for one step.
    profile: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def measure(config: Mapping[str, Any] | None = None, *, images: int = 64, steps: int = 5, **overrides: Any) -> Speed:
    """Takes `steps` timed training steps on random normalised views of `images` images, after one to warm up, and
    embeds.

    config and keywords: as for `Trainer`. Every view has the size that the configuration gives it.
    """
    images = _arrays.integer(images, "images", 2, 1_000_000)
    steps = _arrays.integer(steps, "steps", 1, 1_000_000)
    random = np.random.default_rng(0)
    with Trainer(config, **overrides) as trainer:
        channels = trainer.config.in_channels or 3
        specs = expand_views(trainer.config.views, channels, trainer.config.view_size)
        sizes = [spec["size"] for spec in specs for _ in range(spec.get("count", 1))]
        views = [random.standard_normal((images, size, size, channels), dtype=np.float32) for size in sizes]
        trainer.step_views(views)
        trainer.start_profile()
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            metrics = trainer.step_views(views)
            seconds.append(time.perf_counter() - start)
        profile = trainer.profile()
        with Encoder.from_trainer(trainer) as encoder:
            embedding = {count: _seconds_to_embed(encoder, views[0], count, steps) for count in (images, 1)}
        threads = trainer.config.threads or 0
    for row in profile:
        for key in ("calls", "seconds", "operations", "bytes"):
            row[key] /= steps
    step = statistics.median(seconds)
    return Speed(
        views_per_second=images * len(views) / step,
        step_seconds=step,
        operations_per_second=sum(row["operations"] for row in profile) / step,
        peak=peak_rate(threads),
        bytes_per_view=metrics.memory_bytes / (images * len(views)),
        images_per_second=images / embedding[images],
        image_seconds=embedding[1],
        profile=profile,
    )


def _seconds_to_embed(encoder: Encoder, view: np.ndarray, count: int, repeats: int) -> float:
    batch = np.ascontiguousarray(view[:count])
    encoder.embed(batch)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        encoder.embed(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
