"""Where a run's figures can go besides metrics.jsonl. Each logger is a callback and needs its own package.

::

    model = carl.CARL(run_dir="runs/mine", callbacks=[carl.loggers.TensorBoard(),
    carl.loggers.MLflow(experiment="birds")])

A logger of your own is a ``carl.Callback``; ``carl.loggers.Logger`` saves the work of picking the figures.
"""

from __future__ import annotations

from typing import Any

from .._spelling import nearest
from ..errors import InvalidArgumentError
from .base import Logger
from .mlflow import MLflow
from .tensorboard import TensorBoard
from .wandb import WandB

#: Loggers by their names on the command line.
LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def make(name: str, **options: Any) -> Logger:
    """A logger by its name: "tensorboard", "wandb" or "mlflow"."""
    if name not in LOGGERS:
        raise InvalidArgumentError(f"logger: got {name!r}, want one of {', '.join(LOGGERS)}{nearest(name, LOGGERS)}")
    return LOGGERS[name](**options)


__all__ = ["LOGGERS", "Logger", "MLflow", "TensorBoard", "WandB", "make"]
