"""The configuration of a trainer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from ._reading import parse_json
from .errors import ConfigurationError

#: One view's specification: size, scale, ratio, interpolation, flip, jitter, jitter_p, gray, blur, blur_p, blur_kernel, solarize, mean, std, count.
ViewSpec = dict[str, Any]


@dataclass
class TrainerConfig:
    """Every key of the configuration. None means the library's default; ``Trainer.config`` shows what that came to.

    Values are checked by the library when a trainer is made, with an error that names the key.

    Encoder
        encoder: "resnet18", "resnet34" or "resnet50".
        stem: "small" (3x3, stride 1, no pooling; for images below 64 pixels) or "imagenet" (7x7, stride 2, max-pooling).
        width: factor on the number of channels, such as 0.25, 0.5, 1 or 2.
        in_channels: channels of the images.
        zero_init_residual: the last BatchNorm scale of each residual block starts at 0.
    Head
        projector: widths of the head's linear layers; the last one is the dimension D of the embedding.
        projector_activation: "relu" or "gelu".
    Assignment
        prototypes: their number, K.
        temperature: divides the logits; a number or {"start": a, "end": b, "steps": n}. Evaluation uses the last value.
        normalize_embedding, normalize_prototypes: divide by the l2 norm.
        objective: a name for defaults: "carl-contrast" (the default), "carl" for the published form without contrast, or "carp" for the published setting of CARP (partitions, teacher, head, optimizer,
            views, ResNet-50). Keys that are given stand.
        stop_gradient: the target of a pair of views gets no gradient from it.
        symmetric: every ordered pair of views counts, else only those whose target comes later.
        prior_over_targets: the mean assignment of the prior includes the targets' probabilities.
        partition_size: prototypes in a block of the random partition of each step; 0 for one softmax over all.
        teacher_momentum: of the teacher's moving average, going to 1 along a cosine over total_steps (of a trapezoid: linearly with the
            learning rate's decay); 0 for no teacher.
        prior_weight: lambda, a number or {"start": a, "end": b, "steps": n}.
        contrast_weight: of the contrast between the images of a step beside the prototypes, a number or {"start", "end", "steps"}; 0 for none.
        contrast_temperature: divides the similarities of that contrast.
        freeze_prototypes: steps at the beginning in which the prototypes do not change.
        used_window: steps of the sliding window in which used prototypes are counted.
    Optimization
        optimizer: "sgd", "lars" or "adamw".
        learning_rate: the value used; the default follows the batch size, 0.2 * batch_size / 128 for SGD.
        momentum, weight_decay, clip_norm.
        trust_coefficient: of LARS, whose step has this share of a tensor's own length.
        schedule: "cosine", "trapezoid" or "constant", after warmup_steps, until total_steps, down to min_learning_rate.
        decay_steps: of a trapezoid, the last steps, in which the learning rate falls linearly; a fifth of total_steps by default. A list of
            numbers: stages one behind the other, each of which takes an equal share of the learning rate away.
        accumulate: steps whose gradients are summed before the parameters change.
    Data
        view_size: pixels of the preset's views; not with a list of specifications.
        views: a preset's name or a list of view specifications.
        recompute: compute activations again for the gradient instead of keeping those of all views: less memory, more time.
        batch_size, epochs: used by loops over data, such as ``CARL.fit``.
        seed: of everything random.
        threads: None for all processors.
    """

    encoder: str | None = None
    stem: str | None = None
    width: float | None = None
    in_channels: int | None = None
    zero_init_residual: bool | None = None
    projector: list[int] | None = None
    projector_activation: str | None = None
    prototypes: int | None = None
    temperature: Union[float, dict[str, float], None] = None
    normalize_embedding: bool | None = None
    normalize_prototypes: bool | None = None
    objective: str | None = None
    stop_gradient: bool | None = None
    symmetric: bool | None = None
    prior_over_targets: bool | None = None
    partition_size: int | None = None
    teacher_momentum: float | None = None
    prior_weight: Union[float, dict[str, float], None] = None
    contrast_weight: Union[float, dict[str, float], None] = None
    contrast_temperature: float | None = None
    freeze_prototypes: int | None = None
    used_window: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    trust_coefficient: float | None = None
    schedule: str | None = None
    warmup_steps: int | None = None
    total_steps: int | None = None
    decay_steps: Union[int, list[int], None] = None
    min_learning_rate: float | None = None
    clip_norm: float | None = None
    accumulate: int | None = None
    view_size: int | None = None
    views: Union[str, list[ViewSpec], None] = None
    recompute: bool | None = None
    batch_size: int | None = None
    epochs: int | None = None
    seed: int | None = None
    threads: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The keys that are set."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def to_json(self) -> str:
        """The keys that are set, as a JSON object."""
        return dump_json(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainerConfig:
        """Raises ConfigurationError for a key that this package does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigurationError(f"unknown configuration key {unknown[0]!r}{nearest(unknown[0], known)}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> TrainerConfig:
        return cls.from_dict(parse_object(text, "config"))

    def replace(self, **changes: Any) -> TrainerConfig:
        """A copy with some keys changed."""
        return type(self).from_dict({**vars(self), **changes})


#: What a value may be, by the annotation of its key; what is not here is left to the library.
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "list[int]": (list,)}


def check_types(values: Mapping[str, Any], name: str) -> None:
    """Raises ConfigurationError for a value of a known key whose type is a wrong one, for what is read and not given to the library."""
    for field in dataclasses.fields(TrainerConfig):
        value, kind = values.get(field.name), str(field.type).removesuffix(" | None")
        if value is None or kind not in _TYPES:
            continue
        good = isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "bool")
        for number in value if isinstance(value, list) else [value] if kind == "int" else []:
            good = good and isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63
        if not good:
            raise ConfigurationError(f"{name}: {field.name} is {str(value)[:40]!r}, want {kind}")


def nearest(word: str, known: Any) -> str:
    """"; did you mean 'x'?" for a misspelt word, or nothing."""
    import difflib

    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"a value of type {type(value).__name__} cannot be part of a configuration")


def dump_json(value: Any) -> str:
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"not expressible in JSON: {error}") from None


def parse_list(text: str, name: str) -> list[Any]:
    """A JSON array from text."""
    value = parse_json(text)
    if not isinstance(value, list):
        raise ConfigurationError(f"{name}: got a JSON {type(value).__name__}, want an array")
    return value


def parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object from text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: malformed JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name}: got a JSON {type(value).__name__}, want an object")
    return value


def merged_json(config: TrainerConfig | Mapping[str, Any] | str | None, overrides: Mapping[str, Any]) -> str:
    """The JSON for the library: `config` with `overrides` on top. Keys are left for the library to check."""
    if config is None:
        values: dict[str, Any] = {}
    elif isinstance(config, TrainerConfig):
        values = config.to_dict()
    elif isinstance(config, Mapping):
        values = {key: value for key, value in config.items() if value is not None}
    elif isinstance(config, str):
        if not overrides:
            return config
        values = parse_object(config, "config")
    else:
        raise ConfigurationError(f"config: got {type(config).__name__}, want a TrainerConfig, a dict or JSON text")
    for key in values:
        if not isinstance(key, str):
            raise ConfigurationError(f"config: got a key of type {type(key).__name__}, want text")
    values.update({key: value for key, value in overrides.items() if value is not None})
    return dump_json(values)
