"""Progress bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from .metrics import Metrics


class Bar:
    """A tqdm bar, or nothing. Use as a context, or ``close`` it.

    total: of the units, None if not known. done: with how many of them it begins.
    """

    def __init__(self, shown: bool, total: int | None, name: str, unit: str = "step", done: int = 0) -> None:
        self._bar: Any = None
        if shown and sys.stderr is not None:  # which may be closed
            from tqdm.auto import tqdm

            # In a log file a bar is a line a time: one every ten seconds is enough there.
            interval = 0.2 if sys.stderr.isatty() else 10.0
            self._bar = tqdm(total=total, initial=done, unit=unit, desc=name, dynamic_ncols=True, mininterval=interval)

    def advance(self, text: str | None = None, by: int = 1) -> None:
        """Advances the bar. text: what is shown after it from now on."""
        if self._bar is not None:
            if text is not None:
                self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(by)

    def rename(self, name: str) -> None:
        if self._bar is not None:
            self._bar.set_description(name, refresh=False)

    def plan(self, total: int | None) -> None:
        """How many units there will be, where that has changed."""
        if self._bar is not None:
            self._bar.total = total

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Progress:
    """A bar over the steps of a fit that shows loss, consistency, prior, effective prototypes, views a second, and the
    share of the epoch's time spent waiting for images."""

    def __init__(self, shown: bool, total: int | None, done: int) -> None:
        self.shown = shown
        self._bar = Bar(shown, total, "carl", done=done)
        self._next_figures = 0.0
        self._note = ""
        self.plan, self.close = self._bar.plan, self._bar.close

    def step(self, metrics: Metrics, epoch: int, epochs: int, data_wait: float) -> None:
        if not self.shown:
            return
        now = time.monotonic()
        figures = None
        if now >= self._next_figures:
            self._next_figures = now + 0.2
            self._bar.rename(f"epoch {epoch + 1}/{epochs}")
            figures = describe(metrics, data_wait) + self._note
        self._bar.advance(figures)

    def note(self, text: str) -> None:
        """Text to show after the figures from now on."""
        self._note = f", {text}"


class CacheProgress:
    """A bar over the images of a cache, which appears with the first of them. Use as a context."""

    def __init__(self, shown: bool) -> None:
        self._shown, self._done = shown, 0
        self._bar: Bar | None = None

    def __enter__(self) -> CacheProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, count: int) -> None:
        """`done` of `count` images are there."""
        if self._bar is None:
            self._bar = Bar(self._shown, count, "cache", "image")
        self._bar.advance(by=done - self._done)
        self._done = done


def describe(metrics: Metrics, data_wait: float | None = None) -> str:
    """The figures that tell how a run is doing, on one line. data_wait: share of the time of several steps; None for
    the step's own."""
    contrast = f"contrast {metrics.contrast:.3f}, " if metrics.contrast else ""
    return (
        f"loss {metrics.loss:.3f}, consistency {metrics.consistency:.3f}, prior {metrics.prior:.3f}, {contrast}"
        f"effective prototypes {metrics.effective_prototypes:.1f}, {metrics.views_per_second:.0f} views/s, "
        f"{metrics.data_wait if data_wait is None else data_wait:.1%} waiting for images"
    )


def describe_evaluation(figures: Mapping[str, Any]) -> str:
    """An evaluation's accuracies on one line."""
    return f"k-NN {figures['knn']:.4f}, linear {figures['linear']:.4f}"
