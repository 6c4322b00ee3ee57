"""Small views first (``early_view_size``): what that makes of a run's steps, before it begins."""

from __future__ import annotations

import math

from ._pretrained import is_transformer
from .config import TrainerConfig, ViewSpec
from .view_specs import expand_views


def without_early_views(config: TrainerConfig) -> TrainerConfig:
    """The configuration with views of their full size in all steps, to measure those."""
    return config.replace(early_view_size=None, early_steps=None)


def early_steps_left(config: TrainerConfig, taken: int) -> int:
    """Of the steps after the first so many, those with small views. config: resolved, as a trainer has it."""
    return 0 if config.early_view_size is None else max(0, (config.early_steps or 0) - taken)


def early_specs(config: TrainerConfig) -> list[ViewSpec]:
    """The specifications of the first steps, as far as their sizes go."""
    specs = expand_views(config.views, config.in_channels or 3, config.view_size)
    factor: float = (config.early_view_size or specs[0]["size"]) / specs[0]["size"]
    multiple = (config.patch_size or 16) if is_transformer(config.encoder) else 1

    def small(size: int) -> int:
        return max(1, math.floor(size * factor / multiple + 0.5)) * multiple  # as the library rounds

    return [{**spec, "size": small(spec["size"])} for spec in specs]
