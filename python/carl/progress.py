"""Progress bars."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

from ._signals import is_terminal
from .metrics import Metrics

#: A bar of ten columns with the rate and the time left before all else: what stands behind them is cut off where the
#: line ends, and without it nothing of it is lost on 80 columns.
_WITH_TOTAL = "{desc}: {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} {rate_fmt}, {remaining} left{postfix}"
_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit}s, {elapsed}, {rate_fmt}{postfix}"


def _bar_format(total: int | None) -> str:
    return _WITHOUT_TOTAL if total is None else _WITH_TOTAL


def _width() -> dict[str, Any]:
    """Columns and lines, as tqdm takes them: those of the terminal, whenever they change. One that says it has none, as
    in a container that was not told, has 80 and 24: tqdm would draw nothing."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno()) if is_terminal(sys.stderr) else (1, 1)
    except (OSError, ValueError, AttributeError):
        columns = lines = 1
    return {**({"ncols": 80} if columns < 1 else {"dynamic_ncols": True}), **({"nrows": 24} if lines < 1 else {})}


def _in_notebook() -> bool:
    """Whether a kernel runs this: its standard error is no terminal, and its bars are drawn by widgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@functools.lru_cache(maxsize=1)
def _bar_class() -> Any:
    """tqdm's bar with a lock of its own, of this process alone: tqdm's is shared with forked children, so that one that
    is killed while it draws would stop the bars of all for ever."""
    from tqdm.auto import tqdm

    class OwnBar(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        def refresh(self, nolock: bool = False, lock_args: Any = None) -> Any:
            # tqdm keeps the lock when drawing fails, or Ctrl-C comes meanwhile: other threads would wait for ever.
            with nullcontext() if nolock else self._lock:
                return super().refresh(nolock=True)

    def renew() -> None:
        OwnBar.set_lock(threading.RLock())

    renew()
    os.register_at_fork(after_in_child=renew)
    return OwnBar


class Bar:
    """A tqdm bar, or nothing. Use as a context, or ``close`` it. It ends where standard error is closed or its reader
    is gone: the work that it shows goes on.

    total: of the units, None if not known. done: with how many of them it begins. delay: seconds before it appears;
    what takes less has no bar.
    """

    def __init__(
        self, shown: bool, total: int | None, name: str, unit: str = "step", done: int = 0, delay: float = 0.0
    ) -> None:
        self._bar: Any = None
        if not shown or sys.stderr is None:
            return
        with suppress(OSError, ValueError):
            # In a log file a bar is a line a time: one every ten seconds is enough there.
            interval = 0.2 if is_terminal(sys.stderr) or _in_notebook() else 10.0
            self._bar = _bar_class()(
                total=total,
                initial=done,
                unit=unit,
                desc=name,
                **_width(),
                mininterval=interval,
                delay=delay,
                bar_format=_bar_format(total),
            )

    def _draw(self, draw: Callable[[Any], object]) -> None:
        try:
            if self._bar is not None:
                draw(self._bar)
        except (OSError, ValueError):
            self._bar.disable = True  # tqdm would draw it once more when it is dropped
            self._bar = None

    def advance(self, text: str | None = None, by: int = 1) -> None:
        """Advances the bar. text: what is shown after it from now on."""

        def draw(bar: Any) -> None:
            if text is not None:
                bar.set_postfix_str(text, refresh=False)
            bar.update(by)

        self._draw(draw)

    def describe(self, text: str) -> None:
        """What is shown after it from now on."""
        self._draw(lambda bar: bar.set_postfix_str(text, refresh=False))

    def rename(self, name: str) -> None:
        self._draw(lambda bar: bar.set_description_str(name, refresh=False))

    def plan(self, total: int | None) -> None:
        """How many units there will be, where that has changed."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.bar_format = _bar_format(total)

    def close(self) -> None:
        self._draw(lambda bar: bar.close())

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
        self._untold: Callable[[], None] | None = None
        self.plan = self._bar.plan

    def step(self, metrics: Metrics, epoch: int, epochs: int, data_wait: float) -> None:
        if not self.shown:
            return
        now = time.monotonic()
        self._untold = lambda: self._tell(metrics, epoch, epochs, data_wait)
        if now >= self._next_figures:
            self._next_figures = now + 0.2
            self._untold()
            self._untold = None
        self._bar.advance()

    def _tell(self, metrics: Metrics, epoch: int, epochs: int, data_wait: float) -> None:
        self._bar.rename(f"epoch {epoch + 1}/{epochs}")
        self._bar.describe(describe(metrics, data_wait) + self._note)

    def close(self) -> None:
        """With the figures of the last step."""
        if self._untold is not None:
            self._untold()
        self._bar.close()

    def note(self, text: str) -> None:
        """Text to show after the figures from now on."""
        self._note = f", {text}"


def show_beside_bars(text: str) -> None:
    """Whole lines on standard error, which may be closed: bars that are there make room and follow below."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        if "tqdm.auto" not in sys.modules:  # there is no bar
            sys.stderr.write(text)
            return
        with (bars := _bar_class()).get_lock():  # tqdm itself would keep it where writing fails
            bars.write(text, file=sys.stderr, end="", nolock=True)


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
    pixels = f", raw pixels {figures['raw_pixels']:.4f}" if figures.get("raw_pixels") is not None else ""
    return f"k-NN {figures['knn']:.4f}, linear {figures['linear']:.4f}{pixels}"
