"""Small views first (``early_view_size``): what that makes of a run's steps, before it begins."""

from __future__ import annotations

import math

import numpy as np

from ._encoder_cost import PATCH
from ._resolved import is_transformer, resolved
from .config import TrainerConfig, ViewSpec
from .view_specs import expand_views

#: early_steps of a run that has yet to decide after how many steps its views become larger.
UNDECIDED = 2**31 - 1
#: The keys that decide whether there are small views, and their size.
_KEYS = (
    "objective", "encoder", "stem", "patch_size", "in_channels", "views", "view_size", "train_encoder",
    "early_view_size", "early_steps",
)  # fmt: skip


def without_early_views(config: TrainerConfig) -> TrainerConfig:
    """The configuration with views of their full size in all steps, to measure those."""
    return config.replace(early_view_size=None, early_steps=0)


def early_size(config: TrainerConfig) -> int | None:
    """The size of the first steps' views for a run whose number of steps is known once it ends: as given, or the
    library's choice. None where all steps have one size."""
    keys = {key: value for key, value in config.to_dict().items() if key in _KEYS and value is not None}
    chosen = resolved({**keys, "total_steps": 100})
    return chosen.early_view_size if early_steps_left(chosen, 0) else None


def early_steps_left(config: TrainerConfig, taken: int) -> int:
    """Of the steps after the first so many, those with small views. config: resolved, as a trainer has it."""
    return 0 if config.early_view_size is None else max(0, (config.early_steps or 0) - taken)


def early_specs(config: TrainerConfig) -> list[ViewSpec]:
    """The specifications of the first steps' views, as the library makes them of the others: the blur, which is in
    pixels, becomes smaller in proportion."""
    specs = expand_views(config.views, config.in_channels or 3, config.view_size)
    factor: float = (config.early_view_size or specs[0]["size"]) / specs[0]["size"]
    multiple = (config.patch_size or PATCH) if is_transformer(config.encoder) else 1
    single = np.float32(factor)

    def small(spec: ViewSpec) -> ViewSpec:
        size = max(1, math.floor(spec["size"] * factor / multiple + 0.5)) * multiple  # as the library rounds
        radius = spec["blur_kernel"] // 2
        standard = radius == _standard_radius(spec["size"])
        return {
            **spec,
            "size": size,
            "blur": [max(1e-3, float(np.float32(sigma) * single)) for sigma in spec["blur"]],
            "blur_kernel": 2 * (_standard_radius(size) if standard else math.floor(radius * factor + 0.5)) + 1,
        }

    return [small(spec) for spec in specs]


def _standard_radius(size: int) -> int:
    """Pixels to either side that the blur of views of a size takes where no kernel is given."""
    return int(expand_views({"size": size}, 3, None)[0]["blur_kernel"]) // 2
