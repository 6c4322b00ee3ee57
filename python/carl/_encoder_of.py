"""The encoder of whatever stands for a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._checkpoint import checkpoint_channels, checkpoint_images
from ._pretrained import channels_to_read
from ._values import checked_range
from .encoder import Encoder
from .errors import InvalidArgumentError, not_fitted
from .runs import checkpoint_path
from .trainer import Trainer


def channels_of_model(model: Any) -> int | None:
    """The channels that image files are read with for whatever stands for a model; None where nothing says so."""
    if isinstance(model, (str, os.PathLike)):
        return checkpoint_channels(checkpoint_path(model))
    trainer = getattr(model, "trainer_", model)
    if isinstance(trainer, Trainer):
        return trainer.config.in_channels
    if getattr(model, "weights", None) is not None and hasattr(model, "_untrained"):
        return channels_to_read(model)
    channels: int | None = getattr(model, "in_channels_", None)
    return channels


def range_of_model(model: Any) -> tuple[float, float] | None:
    """The value_range of whatever stands for a model; None where nothing says so."""
    if isinstance(model, (str, os.PathLike)):
        return checkpoint_images(checkpoint_path(model))[1]
    return checked_range(getattr(model, "value_range", None))


@contextmanager
def encoder_of(model: Any, channels: int | None = None) -> Iterator[Encoder]:
    """The encoder of whatever stands for a model: carl.CARL, carl.Trainer, carl.Encoder, the path of a checkpoint or
    run folder. channels: of the images, for a carl.CARL with nothing but weights, which takes any; None for the
    weights' own."""
    if isinstance(model, Encoder):
        yield model
        return
    if isinstance(model, (str, os.PathLike)):
        encoder = Encoder(checkpoint_path(model))
    else:
        trainer = model if isinstance(model, Trainer) else getattr(model, "trainer_", None)
        if trainer is None and getattr(model, "weights", None) is not None and hasattr(model, "_untrained"):
            own = model._untrained(channels or channels_to_read(model))  # which stays the model's
            own.value_range = range_of_model(model)
            yield own
            return
        if trainer is None and hasattr(model, "_untrained"):
            raise not_fitted(type(model).__name__, "its encoder is used")
        if model is None:
            raise InvalidArgumentError(
                "model: got None; a classifier needs one to begin from: carl.Classifier(model), or, of one that was "
                "loaded from a file, set_params(model=FILE)"
            )
        if not isinstance(trainer, Trainer):
            raise InvalidArgumentError(
                f"model: got {type(model).__name__}, want a carl.CARL, carl.Trainer, carl.Encoder, or the path of a "
                "checkpoint or run folder"
            )
        encoder = Encoder.from_trainer(trainer)
        encoder.value_range = range_of_model(model)
    with encoder:
        yield encoder
