"""Training of a method in PyTorch on views that this library makes."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

import carl
from carl.sources import epoch_order

from .peer_methods import Method, optimizer_of
from .processor import has_bfloat16

#: Batches of views that are made ahead of the step.
AHEAD = 2
#: Steps that warm up, and that are timed, before a run of given seconds.
WARM, TIMED = 3, 12
#: A trapezoid falls over the last of so many parts of the steps.
DECAY = 5
#: Images embedded at a time.
EMBEDDED = 500


class NotFinite(Exception):
    """The loss is no number any more."""


class Views:
    """The views that training this library's model on `images` with the same seed would see, in the same order, made by
    a thread that reads ahead.

    specs: as carl.expand_views returns, two views of one size in all.
    """

    def __init__(self, images: np.ndarray, specs: list[Any], batch: int, seed: int) -> None:
        if sum(spec.get("count", 1) for spec in specs) != 2 or len({spec["size"] for spec in specs}) != 1:
            raise SystemExit("views: the peers take two views of one size")
        if len(images) < batch:
            raise SystemExit(f"batch size: got {batch} for {len(images)} images")
        self.images, self.specs, self.batch, self.seed = images, specs, batch, seed

    @property
    def steps_per_epoch(self) -> int:
        return len(self.images) // self.batch

    def __call__(self, steps: int) -> Iterator[list[torch.Tensor]]:
        waiting: deque[Any] = deque()
        with ThreadPoolExecutor(1) as pool:
            for epoch, places in itertools.islice(self._batches(), steps):
                waiting.append(pool.submit(self._make, epoch, places))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _batches(self) -> Iterator[tuple[int, np.ndarray]]:
        for epoch in itertools.count():
            order = epoch_order(len(self.images), self.seed, epoch)
            for start in range(self.steps_per_epoch):
                yield epoch, order[start * self.batch : (start + 1) * self.batch]

    def _make(self, epoch: int, places: np.ndarray) -> list[torch.Tensor]:
        views = carl.make_views(self.images[places], self.specs, self.seed, epoch=epoch, indices=places, threads=1)
        return [channels_last(view) for view in views]

    def embed(
        self, encoder: torch.nn.Module, images: np.ndarray, then: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> np.ndarray:
        """Features of uint8 images as they are, normalised as the views are; in evaluation mode, float32. `then` goes
        on from the features."""
        spec = self.specs[0]
        if images.shape[1:3] != (spec["size"], spec["size"]):
            raise SystemExit(
                f"images: got {images.shape[1]}x{images.shape[2]} pixels, want {spec['size']}, the size of the views"
            )
        mean, std = (np.asarray(spec[key], np.float32) for key in ("mean", "std"))
        training = encoder.training
        encoder.eval()
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), EMBEDDED):
                part = images[start : start + EMBEDDED].astype(np.float32)
                part = part[..., None] if part.ndim == 3 else part
                features = encoder(channels_last((part / np.float32(255) - mean) / std))
                parts.append((features if then is None else then(features)).numpy())
        encoder.train(training)
        return np.concatenate(parts)


def channels_last(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, C) as a tensor (B, C, H, W) on the same memory, which is channels_last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Precision:
    """name: "float32", "bfloat16" (autocast), or "auto", bfloat16 where the processor has instructions for it."""

    def __init__(self, name: str) -> None:
        self.bfloat16 = has_bfloat16() if name == "auto" else name == "bfloat16"
        self.name = "bfloat16" if self.bfloat16 else "float32"

    def __call__(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


def share_of_rate(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Linear from 0 over a share `warmup` of the steps; then, with "cosine", a cosine that ends at 0; with "trapezoid",
    this library's default, constant, and linearly to 0 over the last fifth of the steps."""
    warm = round(warmup * steps)
    if step < warm:
        return (step + 1) / warm
    if schedule == "trapezoid":
        return min(1, (steps - step) / max(1, steps // DECAY))
    if schedule != "cosine":
        raise SystemExit(f"schedule: got {schedule!r}, want cosine or trapezoid")
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def steps_of(method: Method, views: Views, steps: int, rate: float, precision: Precision) -> Iterator[float]:
    """Trains for `steps` and yields each step's loss."""
    optimizer, chosen = optimizer_of(method, rate), method.chosen
    method.train()
    for step, batch in enumerate(views(steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate * share_of_rate(step, steps, chosen["warmup"], chosen["schedule"])
        method.before_step()
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = method(batch)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise NotFinite(f"loss {value} at step {step + 1} of {steps}")
        yield value


def seconds_per_step(method: Method, views: Views, rate: float, precision: Precision) -> float:
    """Mean over some steps, at a rate of 0.001 of the given one; the method is not to be used afterwards."""
    marks = [time.perf_counter() for _ in steps_of(method, views, WARM + TIMED, rate / 1000, precision)]
    return (marks[-1] - marks[WARM - 1]) / TIMED
