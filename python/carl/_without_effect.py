"""Parameters that are given and change nothing, because of what others are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._resolved import is_transformer

if TYPE_CHECKING:
    from .config import TrainerConfig
    from .estimator import CARL

#: Keys, and why they have no effect in a run of a resolved configuration; None where they have one.
_Rule = tuple[tuple[str, ...], Callable[["CARL", "TrainerConfig"], str | None]]

_RULES: tuple[_Rule, ...] = (
    (
        ("stem", "zero_init_residual"),
        lambda _, config: f"encoder {config.encoder!r} has none" if is_transformer(config.encoder) else None,
    ),
    (("zero_init_residual",), lambda model, _: None if model.weights is None else "the encoder begins with weights"),
    (
        ("projector_activation",),
        lambda _, config: "a projector of one layer has none" if len(config.projector or ()) == 1 else None,
    ),
    (
        ("layer_decay", "drop_path"),
        lambda _, config: "train_encoder is 'none'" if config.train_encoder == "none" else None,
    ),
    (("feature_views",), lambda _, config: None if config.train_encoder == "none" else "train_encoder is not 'none'"),
    (("contrast_temperature",), lambda _, config: None if config.contrast_weight else "contrast_weight is 0"),
    (
        ("trust_coefficient",),
        lambda _, config: None if config.optimizer == "lars" else f"optimizer {config.optimizer!r} has none",
    ),
    (
        ("min_learning_rate",),
        lambda _, config: "the learning rate stays constant" if config.schedule in (None, "constant") else None,
    ),
    (("early_view_size",), lambda model, _: "early_steps is 0" if model.early_steps == 0 else None),
    (
        ("batch_size",),
        lambda model, config: (
            f"the batches that are given have {config.batch_size} images"
            if model._position.samples is None and model.batch_size != config.batch_size
            else None
        ),
    ),
    (
        ("checkpoint_every",),
        lambda model, _: "there is no run_dir to write checkpoints to" if model.run_dir is None else None,
    ),
    (("cache_size",), lambda model, _: "there is no cache" if model.cache is None else None),
    (("max_broken",), lambda model, _: f"on_error is {model.on_error!r}" if model.on_error != "skip" else None),
)


def warn_without_effect(model: CARL) -> None:
    """A UserWarning for each parameter that is not at its default and has no effect in the run that begins."""
    defaults = model._parameter_defaults()
    # What says the same as the library's default is no wish that goes unheard.
    standard: dict[str, Any] = {"layer_decay": 1, "drop_path": 0, "min_learning_rate": 0}
    for keys, rule in _RULES:
        for key in keys:
            # A subclass may leave parameters out.
            value = getattr(model, key, None)
            if value is None or value == defaults.get(key) or value == standard.get(key, ...):
                continue
            reason = rule(model, model.config_)
            if reason is not None:
                warnings.warn(f"{key}: {value!r} has no effect: {reason}", UserWarning, stacklevel=4)
