"""When a run is judged while it trains."""

from __future__ import annotations

import re

from . import _arrays
from .errors import InvalidArgumentError


class Schedule:
    """When to evaluate. every: a number of steps, or text such as "500 steps" or "2 epochs"; None is after every
    epoch."""

    def __init__(self, every: int | str | None) -> None:
        self.steps: int | None = None
        self.epochs: int | None = None
        if every is None:
            self.epochs = 1
        elif isinstance(every, str):
            found = re.fullmatch(r"\s*(\d{1,9})\s*(step|epoch)s?\s*", every)
            if not found or int(found[1]) < 1:
                raise InvalidArgumentError(
                    f"eval_every: got {every!r}, want a number of steps, or text such as '500 steps' or '2 epochs'"
                )
            setattr(self, found[2] + "s", int(found[1]))
        else:
            self.steps = _arrays.integer(every, "eval_every", 1, 2**31 - 1)

    def after_step(self, step: int) -> bool:
        return self.steps is not None and step % self.steps == 0

    def after_epoch(self, done: int) -> bool:
        """done: epochs that are done."""
        return self.epochs is not None and done % self.epochs == 0
