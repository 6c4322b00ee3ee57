"""What ``CARL.fit`` does with a weights file: the configuration that follows from it, and the defaults of training from
it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._notes import path_of
from ._resolved import is_transformer, resolved
from .config import TrainerConfig
from .encoder import Encoder
from .errors import InvalidArgumentError
from .trainer import Trainer
from .view_specs import expand_views
from .weights import ADAPTED, WeightsInfo, warn_of_notes, weights_config, weights_info, weights_path

if TYPE_CHECKING:
    from .estimator import CARL

#: Where neither learning_rate nor layer_decay is given and the pretrained encoder trains, but for ResNets with LARS:
#: the share of the learning rate that is the default without weights, and layer_decay of transformers and ResNets.
RATE_SHARE, DECAY_TRANSFORMER, DECAY_RESNET = 0.25, 0.75, 0.9


def weights_of(model: CARL) -> WeightsInfo | None:
    """What the model's weights file is; None where it has none."""
    return None if model.weights is None else weights_info(model.weights)


def channels_to_read(model: CARL) -> int:
    """The channels that image files are read with before ``fit``, of a model with weights."""
    return model.in_channels or pretrained_encoder(model).channels(model)


def with_weights(config: TrainerConfig, info: WeightsInfo, channels: int) -> TrainerConfig:
    """The keys that are given, with those of the file's encoder and images."""
    config = TrainerConfig.from_dict(weights_config(info, config.to_dict(), channels))
    if config.early_view_size is None and config.early_steps is None:
        config.early_steps = 0  # features that are good already at the full size
    return config


def with_rates(config: TrainerConfig) -> TrainerConfig:
    """Defaults of training from weights, for a configuration with its batch size: AdamW for transformers; of ResNets
    with LARS the usual rates, since slower adaptation was measured to gain nothing (docs/results.md). Others change
    slowly, the first blocks most slowly."""
    if config.train_encoder == "none":
        return config
    transformer = is_transformer(config.encoder)
    if transformer and config.optimizer is None:
        config = config.replace(optimizer="adamw")
    if config.learning_rate is not None or config.layer_decay is not None:
        return config
    keys = {"objective": config.objective, "optimizer": config.optimizer, "batch_size": config.batch_size}
    standard = resolved({**keys, "contrast_weight": config.contrast_weight, "encoder": "resnet18"})
    if standard.optimizer == "lars" and not transformer:
        return config
    decay = DECAY_TRANSFORMER if transformer else DECAY_RESNET
    rate = RATE_SHARE * float(standard.learning_rate or 0)
    return config.replace(learning_rate=rate, layer_decay=decay)


def pretrained(config: TrainerConfig, info: WeightsInfo | None) -> Trainer:
    """A new trainer, with the weights of a file where there is one."""
    trainer = Trainer(config)
    if info is not None:
        warn_of_notes(info)
        try:
            trainer.load_weights(info.path)
        except BaseException:
            trainer.close()
            raise
    return trainer


def reading(model: CARL) -> dict[str, Any]:
    """Parameters that decide what training gets of the images, where they are not the defaults."""
    known = {key: getattr(model, key) for key in ("value_range", "cache_size")}
    known["cache"] = path_of(model.cache)
    if model.config_.train_encoder == "none":
        # With a budget features are not kept.
        known["feature_views"] = model.feature_views if model.budget is None else 0
    return {key: value for key, value in known.items() if value is not None}


def run_config(model: CARL) -> dict[str, Any]:
    """What config.json holds: the complete configuration, where the weights came from that it began with, and what else
    decides what is read of the images and made of them."""
    config = {**vars(model.config_), **reading(model)}
    if model.weights_ is not None:
        config["weights"] = path_of(model.weights) or model.weights_["file"]
    return config


#: Parameters of an estimator that an encoder from weights takes over.
_KEYS = ("encoder", "stem", "width", "patch_size", "position_grid", "registers", "layer_scale", "pool")
_OTHER_KEYS = ("precision", "view_size", "mean", "std", "evaluation_crop", "evaluation_interpolation")


class PretrainedEncoder:
    """The encoder of an estimator that has weights and was not fitted yet: made when it is first asked for, and again
    when parameters or the file have changed."""

    def __init__(self) -> None:
        self._key: Any = None
        self._encoder: Encoder | None = None
        self._file: Any = None
        self._channels = 0

    def channels(self, model: CARL) -> int:
        """The channels of the file's own images, which is read for it when it is new or has changed."""
        file = _identified(weights_path(model.weights))
        if file != self._file or not self._channels:
            self._channels, self._file = int(weights_info(file[0]).config["in_channels"]), file
        return self._channels

    def get(self, model: CARL, channels: int) -> Encoder:
        """channels: of the images. InvalidArgumentError where the weights take others."""
        given = {name: getattr(model, name) for name in (*_KEYS, *_OTHER_KEYS) if getattr(model, name) is not None}
        given["in_channels"] = channels
        if model.views is not None and not isinstance(model.views, str):
            given["view_size"] = int(expand_views(model.views, channels)[0]["size"])  # that of the fitted model
        file = _identified(weights_path(model.weights))
        key = (file, model.threads, repr(given))
        if self._encoder is None or self._encoder.closed or key != self._key:
            self.close()
            own = self.channels(model)
            if channels != own and own != ADAPTED:
                raise InvalidArgumentError(f"images: got {channels} channel(s), the weights {file[0]} take {own}")
            self._encoder, self._key = Encoder.from_weights(file[0], model.threads, **given), key
        return self._encoder

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = None


def pretrained_encoder(model: CARL) -> PretrainedEncoder:
    """That of a model, made when it is first asked for."""
    if model._pretrained is None:
        model._pretrained = PretrainedEncoder()
    return model._pretrained


def _identified(path: str) -> tuple[str, Any]:
    """A path, and what tells the file there from another one."""
    facts = os.stat(path) if os.path.exists(path) else None
    return path, facts and (facts.st_ino, facts.st_mtime_ns, facts.st_size)
