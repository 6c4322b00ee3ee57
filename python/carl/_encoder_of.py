"""The encoder of whatever stands for a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .encoder import Encoder
from .errors import InvalidArgumentError, not_fitted
from .runs import checkpoint_path
from .trainer import Trainer


@contextmanager
def encoder_of(model: Any) -> Iterator[Encoder]:
    """The encoder of whatever stands for a model: carl.CARL, carl.Trainer, carl.Encoder, the path of a checkpoint or
    run folder."""
    if isinstance(model, Encoder):
        yield model
        return
    if isinstance(model, (str, os.PathLike)):
        encoder = Encoder(checkpoint_path(model))
    else:
        trainer = model if isinstance(model, Trainer) else getattr(model, "trainer_", None)
        if trainer is None and getattr(model, "weights", None) is not None and hasattr(model, "_untrained"):
            yield model._untrained(model.in_channels or 3)  # which stays the model's
            return
        if trainer is None and hasattr(model, "_untrained"):
            raise not_fitted(type(model).__name__, "its encoder is used")
        if not isinstance(trainer, Trainer):
            raise InvalidArgumentError(
                f"model: got {type(model).__name__}, want a carl.CARL, carl.Trainer, carl.Encoder, or the path of a "
                "checkpoint or run folder"
            )
        encoder = Encoder.from_trainer(trainer)
    with encoder:
        yield encoder
