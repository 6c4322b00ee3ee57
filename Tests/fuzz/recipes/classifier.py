"""Making classifiers and training them."""

from __future__ import annotations

import ctypes

import numpy as np

from .. import models
from ..models import Handle, too_long
from ..scenario import Scenario
from . import recipe
from .images import batch, epoch, image_count, images, indices, metrics
from .shared import saved


def _made(s: Scenario, status: int, out: ctypes.c_void_p, encoder: Handle | None) -> None:
    if status == 0 and (handle := s.adopt("classifier", out.value or 0)) is not None:
        s.learn(handle, encoder.config if encoder else {})
        handle.own = s.own_config("classifier", handle.value)


@recipe("carl_classifier_create", 1)
def create(s: Scenario) -> None:
    if len(s.handles) >= 6:
        return
    encoder = s.need("encoder")
    config = models.classifier_config(s.random)
    if s.odd(0.005):
        config["classes"] = 2**20
    out = ctypes.c_void_p()
    value = s.handle_argument(encoder)
    status = s.call(
        "carl_classifier_create", {"encoder": value, "config_json": s.json(config, 0.25), "out": ctypes.addressof(out)}
    )
    _made(s, status, out, next((other for other in s.handles if other.value == value), None))


@recipe("carl_classifier_load", 1)
def load(s: Scenario) -> None:
    if len(s.handles) >= 6:
        return
    out = ctypes.c_void_p()
    overrides = (
        0
        if s.random.random() < 0.6
        else s.json(s.choose([{"threads": 2}, {"momentum": 0.5}, {"view": {"size": 5}}]), 0.3)
    )
    status = s.call(
        "carl_classifier_load", {"path": s.text(saved(s)), "overrides_json": overrides, "out": ctypes.addressof(out)}
    )
    _made(s, status, out, s.live("encoder"))


def labels(s: Scenario, count: int, handle: Handle | None) -> int:
    classes = int(handle.own.get("classes", 2)) if handle else 2

    def make() -> np.ndarray:
        drawn = np.array([s.random.randrange(max(classes, 1)) for _ in range(count)], np.int32)
        if count and s.odd(0.1):
            drawn[s.random.randrange(count)] = s.choose([-1, classes, 2**31 - 1, -(2**31)])
        return drawn

    return s.claimed_input(4 * count, make)


@recipe("carl_classifier_step", 5)
def step(s: Scenario) -> None:
    handle = s.need("classifier")
    count = image_count(s)
    channels = handle.channels if handle and handle.config else 3
    if not _short(handle, count):
        return
    s.call(
        "carl_classifier_step",
        {
            "classifier": s.handle_argument(handle),
            "images": images(s, count, channels),
            "labels": labels(s, count, handle),
            "count": count,
            "indices": indices(s, count if count < 1 << 20 else 0),
            "epoch": epoch(s),
            "metrics": metrics(s, "carl_classifier_metrics"),
        },
    )


@recipe("carl_classifier_step_batch", 5)
def step_batch(s: Scenario) -> None:
    handle = s.need("classifier")
    if not _short(handle, 4):
        return
    one = batch(s, handle)
    count = s.size_t(max(one.batch, 0), 0.1)
    s.call(
        "carl_classifier_step_batch",
        {
            "classifier": s.handle_argument(handle),
            "images": s.input(bytes(one)),
            "labels": labels(s, count, handle),
            "label_count": count,
            "metrics": metrics(s, "carl_classifier_metrics"),
        },
    )


@recipe("carl_classifier_standardize", 1)
def standardize(s: Scenario) -> None:
    handle = s.need("classifier")
    count = image_count(s)
    if 1 << 20 < count <= 1 << 31:
        count = 300  # so many one can serve, by going on for hours
    channels = handle.channels if handle and handle.config else 3
    if not _short(handle, count):
        return
    s.call(
        "carl_classifier_standardize",
        {"classifier": s.handle_argument(handle), "images": images(s, count, channels), "count": count},
    )


def _short(handle: Handle | None, count: int) -> bool:
    if handle is None or not handle.config:
        return count < 64
    size = int(handle.own.get("view", {}).get("size", 8))
    return not too_long(handle.config, count, [size])
