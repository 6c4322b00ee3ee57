"""Judging a model while it trains, on labelled images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shown import line
from ..errors import InvalidArgumentError
from ..sources import ImageSource
from ..sources.labelled import aligned, open_labelled
from ..sources.loader import images_at_once
from ..sources.subset import readable
from ._checks import check_labels
from ._probe import fit_probe
from .knn import knn
from .pixels import pixel_features, pixel_side

if TYPE_CHECKING:
    from ..estimator import CARL
    from ..trainer import Trainer

#: Neighbours that vote, fewer where there are fewer references; temperature of the vote.
NEIGHBOURS, TEMPERATURE = 20, 0.07
#: Where one set serves as references and queries, every so many-th image of each class is a query.
_HELD_OUT = 5


class OnlineEvaluation:
    """k-NN and a linear probe on the features of a labelled set.

    The features are those of evaluation mode, so that nothing of the trainer changes: training goes as it would
    without. The probe is fitted anew each time, so its figure depends on the weights of that step alone, and a resumed
    run reports what an uninterrupted one does.

    eval_set: references with labels and images to classify, in one of these forms:
        (images, labels): one image in five of each class is classified, by the others;
        (images, labels, images, labels): references, then those to classify.
        Images are whatever ``carl.as_source`` takes but streams of batches; labels are integers, bools or text, one an
        image, or the path of their file, or None where the source knows them (class folders, labelled archives, IDX
        files). A path alone is (path, None).
    value_range: as of ``carl.as_source``. on_error: images that cannot be read are left out with a warning ("skip"), or
        an error names the first ("raise").
    """

    def __init__(self, eval_set: Any, channels: int, value_range: Any = None, on_error: str = "skip") -> None:
        parts = _parts(eval_set)
        self._range, self._on_error = value_range, on_error
        self._opened: list[ImageSource] = []
        try:
            references, labels, names = self._open(parts[0], parts[1], channels, "eval_set[0]")
            if len(parts) == 4:
                queries, truth, others = self._open(parts[2], parts[3], channels, "eval_set[2]")
                truth, _ = aligned(names, others, truth, "eval_set: its two sets")
                # Classes with names were told of already, by them.
                check_labels(labels, "eval_set[1]", truth, "eval_set[3]", *([""] if names and others else []))
                places, asked = np.arange(len(labels)), np.arange(len(truth))
            else:
                check_labels(labels, "eval_set[1]")
                queries, truth = references, labels
                places, asked = hold_out(labels)
        except BaseException:
            self.close()
            raise
        self._references, self._reference_places = references, places
        self._queries, self._query_places = queries, asked
        self._classes, self._labels = np.unique(labels[places], return_inverse=True)
        self._truth = truth[asked]
        #: Accuracy without any learning, which is the same at every step.
        self._raw_pixels: float | None = None

    def __repr__(self) -> str:
        counts = {"references": self._reference_places, "queries": self._query_places, "classes": self._classes}
        return line(type(self).__name__, {name: len(values) for name, values in counts.items()})

    def _open(
        self, images: Any, labels: Any, channels: int, name: str
    ) -> tuple[ImageSource, np.ndarray, list[str] | None]:
        labels_name = name.replace("0", "1").replace("2", "3")
        source, values, names = open_labelled(
            images, labels, channels, name=name, labels_name=labels_name, value_range=self._range
        )
        if source is not images:
            self._opened.append(source)
        if values is None:
            what = (
                f"{os.fspath(images)} has no labels"
                if isinstance(images, (str, os.PathLike))
                else "its images come without labels"
            )
            raise InvalidArgumentError(f"{name}: {what}: give them, or the path of their file")
        if len(source) == 0:
            raise InvalidArgumentError(f"{name}: has no images")
        if source.channels != channels:
            raise InvalidArgumentError(
                f"{name}: got {source.channels} channel(s), the model takes {channels} (in_channels)"
            )
        whole, places = readable(source, name, self._on_error)
        return whole, values if places is None else values[places], names

    @property
    def references(self) -> int:
        return len(self._reference_places)

    @property
    def queries(self) -> int:
        return len(self._query_places)

    def judge(self, trainer: Trainer | CARL) -> dict[str, float]:
        """Of a trainer's present model, or a fitted ``carl.CARL``'s: knn, linear: accuracies from 0 to 1; raw_pixels:
        of the same k-NN on the images' pixels, as of ``pixel_features``, which any learning should beat; seconds: what
        it took."""
        start = time.perf_counter()
        if not hasattr(trainer, "embed_images"):
            if not hasattr(trainer, "trainer_"):
                raise InvalidArgumentError(
                    f"trainer: got {type(trainer).__name__}, want a carl.Trainer or a carl.CARL that is fitted"
                )
            trainer = trainer.trainer_
        features = _embed(trainer.embed_images, self._references, self._reference_places)
        asked = _embed(trainer.embed_images, self._queries, self._query_places)
        threads = getattr(getattr(trainer, "config", None), "threads", None) or None  # a carl.Encoder has none
        if self._raw_pixels is None:
            self._raw_pixels = self._knn(*self._pixels(), threads)
        weights, biases = fit_probe(features, self._labels, len(self._classes))
        guessed = (asked @ weights + biases).argmax(axis=1)
        return {
            "knn": self._knn(features, asked, threads),
            "linear": float(np.mean(self._classes[guessed] == self._truth)),
            "raw_pixels": self._raw_pixels,
            "seconds": time.perf_counter() - start,
        }

    def _knn(self, features: np.ndarray, asked: np.ndarray, threads: int | None) -> float:
        near = knn(features, self._labels, asked, None, min(NEIGHBOURS, len(features)), TEMPERATURE, threads=threads)
        return float(np.mean(self._classes[near.predictions] == self._truth))

    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The raw pixels of references and queries, as features."""
        count = len(self._reference_places) + len(self._query_places)
        side = min(pixel_side(self._references, count), pixel_side(self._queries, count))

        def pixels(images: Any) -> np.ndarray:
            return pixel_features(images, side)

        return (
            _embed(pixels, self._references, self._reference_places),
            _embed(pixels, self._queries, self._query_places),
        )

    def close(self) -> None:
        """Closes what was opened here."""
        for source in self._opened:
            source.close()
        self._opened = []


def paths_of(eval_set: Any) -> list[str | None] | None:
    """The paths an evaluation set is made of, for a run that goes on; None if it is not of paths alone."""
    parts = _parts(eval_set)
    if not all(part is None or isinstance(part, (str, os.PathLike)) for part in parts):
        return None
    return [None if part is None else os.path.abspath(os.path.expanduser(os.fspath(part))) for part in parts]


def hold_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of references and of images to classify, in order: of each class the fifth, tenth, ... image is
    classified, the last one of a class with two to four. A class with a single image is left to the references."""
    asked = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        if len(places) >= 2:
            asked[places[_HELD_OUT - 1 :: _HELD_OUT] if len(places) >= _HELD_OUT else places[-1:]] = True
    if not asked.any():
        raise InvalidArgumentError("eval_set[1]: every class has a single image, so none can be classified by others")
    return np.flatnonzero(~asked), np.flatnonzero(asked)


def _parts(eval_set: Any) -> tuple[Any, ...]:
    if isinstance(eval_set, (str, os.PathLike)):
        return (eval_set, None)
    if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 4):
        got = f"{len(eval_set)} items" if isinstance(eval_set, (tuple, list)) else type(eval_set).__name__
        raise InvalidArgumentError(
            f"eval_set: got {got}, want (images, labels), (images, labels, images, labels), or the path of labelled "
            "images"
        )
    return tuple(eval_set)


def _embed(embed: Callable[[Any], np.ndarray], source: ImageSource, places: np.ndarray) -> np.ndarray:
    size = images_at_once(source)
    parts = [embed(source.read(places[start : start + size])) for start in range(0, len(places), size)]
    return np.concatenate(parts)
