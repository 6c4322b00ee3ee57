"""What a training step reports."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._c_api import carl_classifier_metrics, carl_metrics
from ._shown import line

#: Names of the values of ``Metrics.collapsed``.
COLLAPSE_NAMES = {
    0: "none",
    1: "all views on few prototypes",
    2: "uniform assignments",
    3: "constant embedding",
    4: "one assignment for all images",
    5: "crowded embedding",
}


@dataclass(frozen=True, slots=True, eq=False)
class Metrics(Mapping[str, Any]):
    """One step's figures, as attributes and as a mapping: ``metrics.loss`` and ``metrics["loss"]``.

    step: steps taken, this one included.
    loss: consistency + prior_weight * prior + contrast_weight * contrast.
    consistency: mean of -log sum_k p1 p2 over images and ordered pairs of views, in nats.
    prior: KL(mean assignment || uniform), in nats.
    prior_weight, temperature, learning_rate, teacher_momentum: the values this step used.
    log_prototypes: log K (of a block, with partitions), the value of a collapsed run's terms.
    effective_prototypes: exp of the entropy of the mean assignment, 1 .. K (1 .. block, with partitions).
    used_prototypes: prototypes that were somebody's argmax (in any block) within the last ``used_window`` steps.
    dead_prototypes: K less those; 0 until used_window steps have been taken.
    max_probability: mean largest assignment probability.
    embedding_std: std of the unit-length embedding, mean over dimensions; about 1/sqrt(D) is healthy.
    agreement: share of images and pairs of views whose argmax prototypes agree.
    gradient_norm: l2 norm over all parameters, before clipping and weight decay.
    views_per_second: views trained on in a second of this step.
    seconds: duration of the step; view_seconds: of these, spent making views.
    data_wait: share, 0 .. 1, of the time from one step to the next that ``CARL.fit`` stood still because no batch was
        ready: wait / (wait + seconds). Not a number of seconds. 0 for a direct call of ``Trainer.step``.
    memory_bytes: activations, gradients and scratch held by the trainer.
    collapsed: 0, or 1 all views on few prototypes, 2 uniform assignments, 3 constant embedding, 4 one assignment for
        all images (a spike over an even rest, which effective_prototypes does not show), 5 the embedding crowded into a
        part of the sphere; seen for 30 steps.
    contrast: the contrast between images, in nats; 0 where contrast_weight, the value this step used, is 0.
    assigned_prototypes: exp of the entropy of the argmax prototypes' shares in this step: prototypes that its images
        are spread over.
    updated: whether the parameters changed; False while gradients accumulate.
    """

    step: int
    loss: float
    consistency: float
    prior: float
    prior_weight: float
    temperature: float
    learning_rate: float
    teacher_momentum: float
    log_prototypes: float
    effective_prototypes: float
    used_prototypes: float
    dead_prototypes: float
    max_probability: float
    embedding_std: float
    agreement: float
    gradient_norm: float
    views_per_second: float
    seconds: float
    view_seconds: float
    memory_bytes: int
    collapsed: int
    updated: bool
    contrast: float = 0.0
    contrast_weight: float = 0.0
    assigned_prototypes: float = 0.0
    data_wait: float = 0.0

    @classmethod
    def from_struct(cls, struct: carl_metrics, data_wait: float = 0.0) -> Metrics:
        values = {field[0]: getattr(struct, field[0]) for field in carl_metrics._fields_[1:]}
        values["updated"] = bool(values["updated"])
        return cls(**values, data_wait=data_wait)

    def with_data_wait(self, share: float) -> Metrics:
        return dataclasses.replace(self, data_wait=share)

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    def __repr__(self) -> str:
        return line(type(self).__name__, self.to_dict(), 4)

    def __getitem__(self, key: str) -> Any:
        if key in FIELDS:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self.to_dict() == dict(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.to_dict().items()))


FIELDS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Metrics))


@dataclass(frozen=True)
class ClassifierMetrics:
    """What a step of a classifier reports.

    step: steps taken, this one included. loss: mean cross-entropy with label smoothing, in nats. accuracy: share of the
    batch that was classified rightly before the update. learning_rate (0 for a frozen encoder), head_learning_rate: the
    values this step used.
    gradient_norm: l2 norm over all trained parameters, before weight decay. seconds; memory_bytes: activations,
        gradients and scratch.
    """

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    head_learning_rate: float
    gradient_norm: float
    seconds: float
    memory_bytes: int

    @classmethod
    def from_struct(cls, struct: carl_classifier_metrics) -> ClassifierMetrics:
        return cls(**{name: getattr(struct, name) for name in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return line(type(self).__name__, self.to_dict(), 4)
