"""What all loggers share."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _arrays
from .._reading import read_text
from .._writing import replace_file
from ..callbacks import Callback
from ..metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from ..estimator import CARL

#: Figures of a step that are not series, but its number and a flag.
_LEFT_OUT = ("step", "updated")


class Logger(Callback):
    """Sends the figures of every `every`-th step somewhere; subclasses say where, in ``open``, ``write`` and ``close``.

    ``close`` runs whenever the fit ends, by an error or Ctrl-C too, but only if ``open`` has run without an error.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = _arrays.integer(every, "every", 1, 2**31 - 1)
        self._opened = False
        self._outer = 0

    def open(self, model: CARL, config: Mapping[str, Any]) -> None:
        """Before the first step. config: the complete configuration."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One step's figures, all of them finite."""
        raise NotImplementedError

    def close(self, failed: bool) -> None:
        """After the last step; failed: whether an error or Ctrl-C ended the fit."""

    def on_start(self, model: CARL) -> None:
        self.open(model, model.config_.to_dict())
        self._opened, self._outer = True, id(sys.exc_info()[1])

    def on_step(self, model: CARL, metrics: Metrics) -> None:
        if metrics.step % self.every == 0:
            figures = {name: float(value) for name, value in metrics.items() if name not in _LEFT_OUT}
            self.write(metrics.step, {name: value for name, value in figures.items() if math.isfinite(value)})

    def on_evaluation(self, model: CARL, figures: Mapping[str, Any]) -> None:
        self.write(
            int(figures["step"]),
            {f"eval_{name}": float(figures[name]) for name in ("knn", "linear", "raw_pixels") if name in figures},
        )

    def on_end(self, model: CARL) -> None:
        if self._opened:
            self._opened = False
            # The fit calls this while the exception that ended it, if any, is on its way out. One that the program was
            # handling when it called fit is none of it.
            self.close(id(sys.exc_info()[1]) != self._outer)


def run_dir_of(model: CARL) -> Path | None:
    return model.run_dir_


def remembered(model: CARL, name: str) -> str | None:
    """What an earlier part of the same run kept under this name in its folder, such as an id to go on with; None for a
    new run."""
    folder = run_dir_of(model)
    if folder is None or model.trainer_.step_count == 0:
        return None
    file = folder / f"{name}.id"
    return read_text(file).strip() or None if file.exists() else None


def remember(model: CARL, name: str, value: str) -> None:
    folder = run_dir_of(model)
    if folder is not None:
        replace_file(folder / f"{name}.id", value + "\n")
