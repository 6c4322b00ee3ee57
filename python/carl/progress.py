"""The progress bar of a fit."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from .metrics import Metrics


class Progress:
    """A tqdm bar over steps that shows loss, consistency, prior, effective prototypes, views a second, and the share of
    the epoch's time spent waiting for images."""

    def __init__(self, shown: bool, total: int | None, done: int) -> None:
        self.shown = shown
        self._bar: Any = None
        if shown:
            from tqdm.auto import tqdm

            # In a log file a bar is a line a time: one every ten seconds is enough there.
            interval = 0.2 if sys.stderr.isatty() else 10.0
            self._bar = tqdm(
                total=total, initial=done, unit="step", desc="carl", dynamic_ncols=True, mininterval=interval
            )
        self._next_figures = 0.0
        self._note = ""

    def step(self, metrics: Metrics, epoch: int, epochs: int, data_wait: float) -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if now >= self._next_figures:
            self._next_figures = now + 0.2
            self._bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
            self._bar.set_postfix_str(describe(metrics, data_wait) + self._note, refresh=False)
        self._bar.update(1)

    def plan(self, total: int | None) -> None:
        """How many steps there will be, where that has changed."""
        if self._bar is not None:
            self._bar.total = total

    def note(self, text: str) -> None:
        """Text behind the figures from now on."""
        self._note = f", {text}"

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class CacheProgress:
    """A tqdm bar over the images of a cache that is being made. Use as a context."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._bar: Any = None

    def __enter__(self) -> CacheProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, count: int) -> None:
        if self._shown and self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=count, unit="image", desc="cache", dynamic_ncols=True)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)


def describe(metrics: Metrics, data_wait: float | None = None) -> str:
    """The figures that tell how a run is doing, on one line. data_wait: share of the time of several steps; None for the step's own."""
    contrast = f"contrast {metrics.contrast:.3f}, " if metrics.contrast else ""
    return (
        f"loss {metrics.loss:.3f}, consistency {metrics.consistency:.3f}, prior {metrics.prior:.3f}, {contrast}"
        f"effective prototypes {metrics.effective_prototypes:.1f}, {metrics.views_per_second:.0f} views/s, "
        f"{metrics.data_wait if data_wait is None else data_wait:.1%} waiting for images"
    )


def describe_evaluation(figures: Mapping[str, Any]) -> str:
    """An evaluation's accuracies on one line."""
    return f"k-NN {figures['knn']:.4f}, linear {figures['linear']:.4f}"
