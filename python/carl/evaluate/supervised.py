"""What the protocols that train a classifier have in common: labelled images, the loop, and the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays
from .._classes import check_classes, encode_labels, kept_classes, places_among
from .._encoder_of import channels_of_model, range_of_model
from .._shown import ShownFields
from .._values import checked_range
from ..errors import InvalidArgumentError
from ..sources import ImageSource
from ..sources.labelled import labels_of, opened, random_access
from ..sources.loader import images_at_once, read_chosen
from ..sources.subset import readable
from .result import Result

if TYPE_CHECKING:
    from ..progress import Bar


@dataclass(frozen=True, repr=False, eq=False)
class ClassificationResult(Result):
    """Figures of a classifier on test images, over one or several seeds.

    accuracy: share of test images whose label is the most probable one, mean over seeds. std: its sample standard
        deviation over seeds, 0 for a single one. accuracies: of each seed, in the order of `seeds`.
    top5: share whose label is among the five most probable, mean over seeds; None for 5 classes or fewer.
    per_class: accuracy among the test images of each label, mean over seeds.
    labelled: images trained on. test_samples: images tested on. classes: how many.
    settings: what the classifier was trained with.
    predictions: (M,) labels predicted by the first seed's classifier; not part of the JSON.
    """

    accuracy: float
    std: float
    accuracies: list[float]
    top5: float | None
    per_class: dict[Any, float]
    seeds: list[int]
    method: str
    classes: int
    labelled: int
    test_samples: int
    settings: dict[str, Any]
    predictions: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class LabelledImages(ShownFields):
    """Images to train and to test on; targets are places in `classes`, of the test images in `names`: the classes, and
    what else the test images have. value_range: that they are read with."""

    classes: np.ndarray
    names: list[Any]
    train: ImageSource
    train_targets: np.ndarray
    test: ImageSource
    test_targets: np.ndarray
    value_range: tuple[float, float] | None


@contextmanager
def labelled_images(
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    model: Any = None,
    on_error: str = "skip",
    value_range: Any = None,
) -> Iterator[LabelledImages]:
    """Checks both sets. Labels are arrays, paths of files, or None for those of the images' source (class folders,
    labelled archives).
    on_error: images that cannot be read are left out with a warning ("skip"), or an error ("raise").
    model: whose channels image files are read with, if it is one. value_range: by default the model's."""
    value_range = range_of_model(model) if value_range is None else checked_range(value_range)
    reading = (channels_of_model(model), value_range)
    with (
        _source(train_images, "train_images", *reading) as train,
        _source(test_images, "test_images", *reading) as test,
    ):
        train_labels, test_labels = labels_of(train, train_labels), labels_of(test, test_labels)
        classes, targets = encode_labels(train_labels, "train_labels", len(train))
        check_classes(classes, "train_labels")
        train, places = readable(train, "train_images", on_error)
        classes, targets = kept_classes(classes, targets, places, "train_labels")
        truth, names = places_among(test_labels, classes, "test_labels", len(test))
        test, others = readable(test, "test_images", on_error)
        truth = truth if others is None else truth[others]
        yield LabelledImages(classes, names, train, targets, test, truth, value_range)


@contextmanager
def _source(images: Any, name: str, channels: int | None, value_range: Any) -> Iterator[ImageSource]:
    with opened(images, channels, value_range) as found:
        source = random_access(found, name)
        if len(source) == 0:
            raise InvalidArgumentError(f"{name}: is empty")
        yield source


def outputs(model: Any, source: ImageSource, output: str, bar: Bar) -> np.ndarray:
    """float32 (N, width): `output` of all images of a source, by anything that has ``embed_images``."""
    size = images_at_once(source)
    parts = ((start, np.arange(start, min(start + size, len(source)))) for start in range(0, len(source), size))
    rows = []
    for _, _, images in read_chosen(source, parts, ahead=1):
        rows.append(model.embed_images(images, output=output))
        bar.advance("testing")
    return np.concatenate(rows)


def parts_of(source: ImageSource) -> int:
    """How often ``outputs`` advances a bar."""
    return -(-len(source) // images_at_once(source))


def figures(
    scores: Sequence[np.ndarray], truth: np.ndarray, classes: np.ndarray, names: Sequence[Any]
) -> dict[str, Any]:
    """The figures of a ClassificationResult that follow from each seed's scores (M, classes). truth: places in `names`,
    which begin with the classes."""
    accuracies, top5, per_class = [], [], []
    counts = np.bincount(truth, minlength=len(names))
    for each in scores:
        right = each.argmax(axis=1) == truth
        accuracies.append(float(right.mean()))
        per_class.append(np.bincount(truth, right, len(names)) / np.maximum(counts, 1))
        if len(classes) > 5:
            best = np.argpartition(-each, 5, axis=1)[:, :5]
            top5.append(float((best == truth[:, None]).any(axis=1).mean()))
    means = np.mean(per_class, axis=0)
    return {
        "accuracy": float(np.mean(accuracies)),
        "std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        "accuracies": accuracies,
        "top5": float(np.mean(top5)) if top5 else None,
        "per_class": {names[place]: float(means[place]) for place in np.flatnonzero(counts).tolist()},
        "classes": len(classes),
        "test_samples": len(truth),
        "predictions": classes[scores[0].argmax(axis=1)],
    }


def seed_list(seeds: Any) -> list[int]:
    """One seed or several, all different."""
    found = [_arrays.integer(seed, "seeds", 0, 2**53) for seed in _arrays.one_or_several(seeds)]
    if not found or len(set(found)) != len(found):
        raise InvalidArgumentError(f"seeds: got {found}, want one or several different numbers")
    return found
