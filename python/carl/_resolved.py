"""What the library makes of a configuration's keys, before there is a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import TrainerConfig
from .trainer import Trainer


def is_transformer(encoder: str | None) -> bool:
    return encoder is not None and encoder.startswith("vit_")


def resolved(keys: Mapping[str, Any]) -> TrainerConfig:
    """The complete configuration for some keys, None for those that are not given, asked of the smallest trainer there
    is: sizes of the model, and what follows from them, are not the default ones."""
    width = {} if is_transformer(keys.get("encoder")) else {"width": 1 / 64}
    with Trainer(keys, prototypes=2, projector=[2], threads=1, **width) as trainer:
        return trainer.config
