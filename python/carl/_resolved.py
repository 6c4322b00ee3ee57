"""What the library makes of a configuration's keys, before there is a model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ._encoder_cost import PATCH
from .config import TrainerConfig
from .errors import InvalidArgumentError
from .trainer import Trainer


def is_transformer(encoder: str | None) -> bool:
    return encoder is not None and encoder.startswith("vit_")


def whole_patches(config: TrainerConfig, side: int) -> int:
    """The size of views of images that have `side` pixels: as it is for a ResNet, whole patches for a transformer.

    InvalidArgumentError where not even two patches fit side by side, which leaves nothing to attend to.
    """
    if not is_transformer(config.encoder):
        return side
    patch = config.patch_size or PATCH
    if side < 2 * patch:
        raise InvalidArgumentError(
            f"patch_size: images of {side} pixels have no room for two patches of {patch} side by side: give a smaller "
            f"patch_size, such as {max(1, side // 8)}, or a view_size to enlarge them to"
        )
    return side // patch * patch


def resolved(keys: Mapping[str, Any]) -> TrainerConfig:
    """The complete configuration for some keys, None for those that are not given, asked of the smallest trainer there
    is: sizes of the model, and what follows from them, are not the default ones."""
    width = {} if is_transformer(keys.get("encoder")) else {"width": 1 / 64}
    with Trainer(keys, prototypes=2, projector=[2], threads=1, **width) as trainer:
        return trainer.config


@functools.lru_cache
def default_encoder(objective: str | None) -> str:
    """The library's choice where none is given."""
    return str(resolved({"objective": objective}).encoder)
