"""Warnings for what a run's figures or sizes say is wrong, each with what to try. Those of a collapse are the
library's."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .config import TrainerConfig
from .errors import InvalidArgumentError, OutOfMemoryError
from .metrics import Metrics

if TYPE_CHECKING:
    from .estimator import CARL

#: Steps of a running mean.
_WINDOW = 50
#: An agreement that was at least so high, and falls to less than this share of it, is told; unless more prototypes than
#: this factor are in use, of which each then has fewer images to agree on.
_HIGH, _SHARE, _MORE = 0.5, 0.6, 1.25


def warn_of_sizes(count: int | None, batch_size: int, prototypes: int) -> None:
    """count: images of the set, None if not known. batch_size: as asked for."""
    if count is None:
        return
    if batch_size > count:
        smaller = max(2, 2 ** int(math.log2(max(2, count / 4))))
        warnings.warn(
            f"batch_size: {batch_size} is more than the {count} images, so every step takes all of them and an epoch "
            f"is one step: try batch_size={smaller}, or more epochs",
            UserWarning,
            stacklevel=4,
        )
    if prototypes > count:
        fewer = max(2, min(prototypes // 2, count // 10))
        warnings.warn(
            f"prototypes: {prototypes} are more than the {count} images, so most will stand for none or for a single "
            f"one: try prototypes={fewer}",
            UserWarning,
            stacklevel=4,
        )


class AgreementWatch:
    """Warns once when the views of an image come to agree much less on its prototype than they did."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._best, self._best_assigned, self._best_step = 0.0, 0.0, 0
        self._told = False

    def step(self, metrics: Metrics) -> str | None:
        """What to warn of after a step, if anything."""
        self._last.append((metrics.agreement, metrics.assigned_prototypes))
        if self._told or len(self._last) < _WINDOW:
            return None
        agreement = sum(pair[0] for pair in self._last) / _WINDOW
        assigned = sum(pair[1] for pair in self._last) / _WINDOW
        if agreement >= self._best or assigned > _MORE * self._best_assigned:
            # Also where the images have spread over more prototypes: a new beginning, to be compared with later.
            self._best, self._best_assigned, self._best_step = agreement, assigned, metrics.step
        if self._best < _HIGH or agreement >= _SHARE * self._best:
            return None
        self._told = True
        return (
            f"agreement fell from {self._best:.0%} around step {self._best_step} to {agreement:.0%} at step "
            f"{metrics.step}: two views of an image are assigned to the same prototype less and less. Try a lower "
            "learning_rate, more warmup_steps, or a larger batch_size"
        )


@contextmanager
def naming_sizes(model: CARL) -> Iterator[None]:
    """Where there is too little memory for a step, the error says which parameters decide how much it takes."""
    try:
        yield
    except OutOfMemoryError as error:
        config = model.config_
        raise OutOfMemoryError(
            f"{error}: {config.batch_size} images a step with views of {config.view_size} pixels at width "
            f"{config.width} want more. Try a smaller batch_size, view_size or width, recompute=True, or memory=, "
            "which chooses them"
        ) from error


def check_length(config: TrainerConfig, steps: int | None) -> None:
    """InvalidArgumentError for a run that never updates a weight, and a warning of one whose learning rate does not get
    where it should. steps: that its epochs have, None if that is not known."""
    total = config.total_steps
    taken = min((each for each in (steps, total) if each is not None), default=None)
    if taken is None:
        return
    if (config.accumulate or 1) > taken:
        raise InvalidArgumentError(
            f"accumulate: got {config.accumulate}, but the run has {taken} step{'s' * (taken != 1)}, so no weight "
            "would ever change: want fewer, or more epochs"
        )
    if total is not None and steps is not None and 2 * steps < total:
        says = f"total_steps: the epochs end after {steps} of {total}"
    elif config.warmup_steps and config.warmup_steps >= taken:
        says = f"warmup_steps: {config.warmup_steps} are as many as the {taken} steps of the run, or more"
    else:
        return
    warnings.warn(f"{says}, so the learning rate does not get where it should", UserWarning, stacklevel=4)


def warn_constant_rate() -> None:
    warnings.warn(
        "the iterable of batches does not tell its length, so the learning rate stays constant; give total_steps for a "
        "schedule that ends",
        UserWarning,
        stacklevel=4,
    )
