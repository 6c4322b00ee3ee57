"""Fine-tuning with few labels: encoder and linear layer trained together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from .._encoder_of import encoder_of
from .._labelled_training import batches_per_epoch, train_classifier
from ..classifier import Classifier
from ..errors import InvalidArgumentError
from ..progress import Bar
from ..sources import ImageSource
from ..trainer import Trainer
from .splits import split_targets
from .supervised import ClassificationResult, LabelledImages, figures, labelled_images, outputs, parts_of, seed_list


@dataclass(frozen=True, repr=False, eq=False)
class FinetuneResult(ClassificationResult):
    """label_fraction, labels_per_class, balanced: how the labelled images were chosen, by each seed anew.

    from_scratch: whether the encoder's weights were drawn anew.
    """

    protocol: ClassVar[str] = "finetune"

    from_scratch: bool
    label_fraction: float | None
    labels_per_class: int | None
    balanced: bool


def finetune(
    model: Any,
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    *,
    label_fraction: float | None = None,
    labels_per_class: int | None = None,
    balanced: bool = True,
    seeds: int | Sequence[int] = (0, 1, 2),
    from_scratch: bool = False,
    architecture: Mapping[str, Any] | None = None,
    epochs: int = 60,
    batch_size: int = 64,
    learning_rate: float = 0.05,
    head_learning_rate: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.1,
    warmup_epochs: int = 0,
    view: Mapping[str, Any] | None = None,
    save: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = True,
    on_error: str = "skip",
    value_range: tuple[float, float] | None = None,
) -> FinetuneResult:
    """Semi-supervised evaluation: trains encoder and a linear layer on a part of the labels, tests on all of the test
    set.

    For each seed a part of the training set is drawn (``labelled_split``), a copy of the encoder gets a new linear
    layer, and both are trained by SGD on cross-entropy with a cosine schedule. In evaluation, images are resized,
    cropped in the centre and classified once.

    model: carl.CARL, carl.Trainer, carl.Encoder, or the path of a checkpoint or run folder; None, with from_scratch,
        for a network by `architecture` (keys of carl.TrainerConfig such as encoder, stem, width).
    train_images, test_images: whatever ``carl.as_source`` takes, except streams of batches.
    train_labels, test_labels: integers of at least 0, bools or text, (N,); the path of a file of them; None for those
        of class folders or a labelled archive. Test labels that no training image has are a warning that names them,
        and count as wrong.
    label_fraction, labels_per_class, balanced: the part; by default 1%. The same seed draws the same images for every
        model.
    from_scratch: the same network with new weights, for comparison.
    learning_rate, head_learning_rate: of the encoder and of the linear layer (None: the same).
    view: keys of a view's specification to change from a crop of 20 to 100% and a flip, such as {"scale": [0.5, 1]}.
    on_error: images that cannot be read are left out with a warning ("skip"), or an error names the first ("raise").
    value_range: as of ``carl.as_source``; by default the model's.
    save: a file for the first seed's classifier, for ``carl.Classifier.load``.
    """
    if model is None and not from_scratch:
        raise InvalidArgumentError("model: got None, want a trained model, or from_scratch=True")
    if model is not None and architecture is not None:
        raise InvalidArgumentError("architecture: is that of the model; leave it out, or pass None for the model")
    if label_fraction is None and labels_per_class is None:
        label_fraction = 0.01
    seeds = seed_list(seeds)
    epochs = _arrays.integer(epochs, "epochs", 1, 1_000_000)
    batch_size = _arrays.integer(batch_size, "batch_size", 2, 1_000_000)
    warmup_epochs = _arrays.integer(warmup_epochs, "warmup_epochs", 0, epochs)
    with labelled_images(train_images, train_labels, test_images, test_labels, model, on_error, value_range) as data:
        splits = [
            split_targets(
                data.classes,
                data.train_targets,
                fraction=label_fraction,
                per_class=labels_per_class,
                seed=seed,
                balanced=balanced,
            )
            for seed in seeds
        ]
        batches = batches_per_epoch(len(splits[0]), batch_size, 2)
        settings = {
            "learning_rate": learning_rate,
            "head_learning_rate": learning_rate if head_learning_rate is None else head_learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "label_smoothing": label_smoothing,
            "total_steps": epochs * batches,
            "warmup_steps": warmup_epochs * batches,
            "view": None if view is None else dict(view),
            "from_scratch": bool(from_scratch),
            "threads": threads,
        }
        with (
            _encoder(model, architecture, data.train) as encoder,
            Bar(
                progress,
                len(seeds) * (epochs * batches + parts_of(data.test)),
                "from scratch" if from_scratch else "fine-tuning",
            ) as bar,
        ):
            scores, used = _run(encoder, data, splits, seeds, epochs, batches, settings, save, bar)
        return FinetuneResult(
            **figures(scores, data.test_targets, data.classes, data.names),
            seeds=seeds,
            method="sgd",
            labelled=len(splits[0]),
            settings={**used, "epochs": epochs, "batch_size": len(splits[0]) // batches},
            from_scratch=bool(from_scratch),
            label_fraction=label_fraction,
            labels_per_class=labels_per_class,
            balanced=bool(balanced),
        )


def _run(
    encoder: Any,
    data: LabelledImages,
    splits: list[np.ndarray],
    seeds: list[int],
    epochs: int,
    batches: int,
    settings: dict[str, Any],
    save: Any,
    bar: Bar,
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Logits of the test images for each seed, and the classifiers' complete configuration."""
    scores: list[np.ndarray] = []
    used: dict[str, Any] = {}
    for split, seed in zip(splits, seeds):
        with Classifier(encoder, data.classes, seed=seed, **settings) as classifier:
            classifier.value_range = data.value_range
            used = used or {key: value for key, value in classifier.config.items() if key not in ("seed", "threads")}
            train_classifier(classifier, data.train, data.train_targets, split, epochs, batches, seed, bar)
            scores.append(outputs(classifier, data.test, "logits", bar))
            if save is not None and len(scores) == 1:
                classifier.save(save)
    return scores, used


@contextmanager
def _encoder(model: Any, architecture: Mapping[str, Any] | None, images: ImageSource) -> Iterator[Any]:
    """The encoder that classifiers copy: the model's, or a new one by `architecture`."""
    if model is not None:
        with encoder_of(model, images.channels) as encoder:
            yield encoder
        return
    config = {"in_channels": images.channels, **(architecture or {})}
    if "view_size" not in config and "views" not in config:
        config["view_size"] = min(images.side, 224)
    # Prototypes and projection head of the default size would cost memory for nothing.
    with Trainer({"prototypes": 2, "projector": [2], **config}) as trainer, encoder_of(trainer) as encoder:
        yield encoder
