"""The constructor of ``carl.Classifier``, which stores its parameters under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._spelling import naming_nearest

#: Parameters that are keys of the classifier's configuration, but for `classes`.
CONFIG_KEYS = (
    "freeze_encoder",
    "from_scratch",
    "label_smoothing",
    "learning_rate",
    "head_learning_rate",
    "momentum",
    "weight_decay",
    "schedule",
    "warmup_steps",
    "total_steps",
    "view",
    "seed",
    "threads",
    "precision",
)


class ClassifierParameters:
    """The classifier's constructor."""

    @naming_nearest
    def __init__(
        self,
        model: Any,
        classes: int | Sequence[Any] | np.ndarray | None = None,
        *,
        freeze_encoder: bool | None = None,
        from_scratch: bool | None = None,
        label_smoothing: float | None = None,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        schedule: str | None = None,
        warmup_steps: int | None = None,
        total_steps: int | None = None,
        view: Mapping[str, Any] | None = None,
        seed: int | None = None,
        threads: int | None = None,
        precision: str | None = None,
        epochs: int = 30,
        batch_size: int = 64,
        value_range: tuple[float, float] | Sequence[float] | None = None,
        on_error: str = "skip",
        progress: bool = True,
    ) -> None:
        """Nothing but stores them, unless `classes` are given.

        model: carl.CARL, carl.Trainer, carl.Encoder, or the path of a checkpoint or run folder; its encoder is copied.
            A carl.CARL that is not fitted and has no weights is fitted by ``fit``, to the same images.
        classes: their number, or the labels that stand for them in ``predict``; the classifier is then made at once,
            for ``step``, and errors of the configuration are raised here. None leaves them to ``fit``, which takes
            them from its labels.
        freeze_encoder to precision: keys of the classifier's configuration (docs/finetuning.md), where None means the
            library's default. Values out of range are a ConfigurationError.
        epochs, batch_size: of ``fit``. total_steps: by default all of its steps.
        value_range: as of ``carl.as_source``; by default the model's.
        on_error: images that ``fit`` cannot read are left out with a warning ("skip"), or an error names the first
            ("raise").
        progress: ``fit`` shows a progress bar.
        """
        self.model = model
        self.classes = classes
        self.freeze_encoder = freeze_encoder
        self.from_scratch = from_scratch
        self.label_smoothing = label_smoothing
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.view = view
        self.seed = seed
        self.threads = threads
        self.precision = precision
        self.epochs = epochs
        self.batch_size = batch_size
        self.value_range = value_range
        self.on_error = on_error
        self.progress = progress
        if classes is not None:
            self._make(model, classes)

    def _make(self, model: Any, classes: Any) -> None:
        raise NotImplementedError

    def _config_values(self) -> dict[str, Any]:
        """The keys of the configuration that are given."""
        return {key: value for key in CONFIG_KEYS if (value := getattr(self, key)) is not None}
