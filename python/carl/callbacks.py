"""User code that runs during ``CARL.fit``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ._shown import line
from .errors import InvalidArgumentError
from .metrics import Metrics

if TYPE_CHECKING:
    from .estimator import CARL


class Callback:
    """Base class; override what is needed. Raising ``carl.StopTraining`` ends the fit without an error."""

    def __repr__(self) -> str:
        """Its plain attributes: others may refer to the model, which shows its callbacks."""
        plain = (str, int, float, os.PathLike, type(None))
        values = {name: value for name, value in vars(self).items() if isinstance(value, plain)}
        return line(type(self).__name__, {name: value for name, value in values.items() if not name.startswith("_")})

    def on_start(self, model: CARL) -> None:
        """Before the first step; ``model.trainer_`` is there."""

    def on_step(self, model: CARL, metrics: Metrics) -> None:
        """After every step."""

    def on_epoch(self, model: CARL, epoch: int) -> None:
        """After every epoch; they count from 0."""

    def on_evaluation(self, model: CARL, figures: Mapping[str, Any]) -> None:
        """After every evaluation on the labelled set of a fit, the first of them before the first step. figures: step,
        epoch (epochs done), knn and linear (accuracies), seconds."""

    def on_end(self, model: CARL) -> None:
        """When the fit ends, by whatever cause."""


#: A callback, or a function of (model, metrics) that runs after every step.
CallbackLike = Callback | Callable[["CARL", Metrics], Any]


class _StepFunction(Callback):
    def __init__(self, function: Callable[[CARL, Metrics], Any]) -> None:
        self._function = function

    def on_step(self, model: CARL, metrics: Metrics) -> None:
        self._function(model, metrics)


def _name(item: Any) -> str:
    return f"the class {item.__name__}" if isinstance(item, type) else type(item).__name__


def as_callbacks(callbacks: CallbackLike | Iterable[CallbackLike] | None) -> list[Callback]:
    """A list of callbacks from one, several, or none."""
    if callbacks is None:
        return []
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, Callback) and not callable(callbacks)
    items: list[Any] = list(callbacks) if several else [callbacks]  # type: ignore[arg-type]
    result: list[Callback] = []
    for item in items:
        if isinstance(item, Callback):
            result.append(item)
        elif callable(item) and not isinstance(item, type):
            result.append(_StepFunction(item))
        else:
            raise InvalidArgumentError(
                f"callbacks: got {_name(item)}, want carl.Callback objects or functions of (model, metrics)"
            )
    return result


def end_all(callbacks: Iterable[Callback], model: CARL, failed: bool, log: Callable[[str], None]) -> None:
    """``on_end`` of each, whatever another one raises. After the last the first error is raised, unless the fit has
    failed: its own error is then on its way. All are told to `log`."""
    errors: list[BaseException] = []
    for callback in callbacks:
        try:
            callback.on_end(model)
        except BaseException as error:
            errors.append(error)
            log(f"warning: {type(callback).__name__}.on_end: {type(error).__name__}: {error}")
    if errors and not failed:
        raise errors[0]
