"""A trained model with some of its images: what plots and reports are made from."""

from __future__ import annotations

import glob
import os
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ._early_views import early_specs, early_steps_left
from ._given import Given
from ._models import load_model
from ._shown import line
from .classifier import Classifier
from .config import ViewSpec
from .errors import FileError, InvalidArgumentError
from .estimator import CARL
from .sources import ImageSource
from .sources.labelled import Labelled, open_labelled, open_source
from .sources.loader import MOST_BYTES, typical_bytes
from .sources.order import evenly_spaced
from .sources.subset import SubsetSource
from .view_specs import expand_views, least_side

#: Pixels of the shorter side that an image is shown with at least.
_LEAST_SHOWN = 64
#: Broken images that are named.
_TOLD = 5


class Sample(NamedTuple):
    """Some images of a set, their places in it, and the views that training makes of them."""

    images: Any
    places: np.ndarray
    views: Any
    view_size: int | None
    seed: int
    #: Of a run that begins with small views: their specifications, in the first so many steps and epochs, and the side
    #: of the largest views after them.
    early: list[ViewSpec] | None = None
    early_steps: int = 0
    early_epochs: int = 0
    full_size: int = 0

    def __repr__(self) -> str:
        return line(type(self).__name__, self._asdict())


def sample_of(model: str | os.PathLike[str] | None, data: str | None, count: int) -> Sample:
    """At most `count` images of `data`, or of what `model` was trained on, with the model's views; without a model,
    those that training would begin with."""
    if model is not None:
        seen = Inspection(model, data, count=count)
        if not isinstance(seen.model, CARL):
            raise InvalidArgumentError(f"{os.fspath(model)} is a classifier: its views are those of the model it is of")
        config, source = seen.model.config_, seen.source
        views, size, seed = (
            config.views,
            config.view_size if isinstance(config.views, str) else None,
            int(config.seed or 0),
        )
    else:
        source = open_source(str(data))
        views, size, seed = "auto", min(source.side, 224), 0
    # Large images are halved as in training, so that these are exactly its views.
    places, images = _readable(source, count, least_side(expand_views(views, source.channels, size)))
    sample = Sample(images, places, views, size, seed)
    if model is None or not (steps := early_steps_left(config, 0)):
        return sample
    per_epoch = max(1, len(source) // int(config.batch_size or 1))
    full = int(expand_views(config.views, config.in_channels or 3, config.view_size)[0]["size"])
    return sample._replace(
        early=early_specs(config), early_steps=steps, early_epochs=-(-steps // per_epoch), full_size=full
    )


def _readable(source: ImageSource, count: int, least: int | None = None) -> tuple[np.ndarray, Any]:
    """Places of at most `count` images, evenly spaced, and the images, without those that cannot be read."""
    places = evenly_spaced(len(source), count)
    images: Any = source.read_each(places, least)
    good = [slot for slot, image in enumerate(images) if not isinstance(image, BaseException)]
    if len(good) == len(images):
        return places, images
    if not good:
        raise images[0]
    _tell_broken([image for image in images if isinstance(image, BaseException)])
    return places[good], [images[slot] for slot in good]


def _tell_broken(errors: list[BaseException]) -> None:
    """Warns of images that are not shown, on standard error unless the program has other plans for the package's
    log."""
    from logging import getLogger

    for error in errors[:_TOLD]:
        getLogger("carl").warning("left out an image: %s", error)
    if len(errors) > _TOLD:
        getLogger("carl").warning("left out %d further images that cannot be read", len(errors) - _TOLD)


class Inspection:
    """The model of a checkpoint or run folder, at most `count` of the images, evenly spaced, and what the model makes
    of them, computed when first asked for.

    data: path of the images; None for those the run was trained on. labels: path of their labels, where the source does
    not know them. value_range, image_key, label_key: as of ``carl.as_source``; the first is by default the model's.
    threads, precision: in the place of those it was trained with.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        data: str | None = None,
        labels: str | None = None,
        count: int = 2000,
        threads: int | None = None,
        value_range: tuple[float, float] | None = None,
        image_key: str | None = None,
        label_key: str | None = None,
        precision: str | None = None,
    ) -> None:
        self.path, self._data, self._labels, self._count = os.fspath(model), data, labels, count
        given = {"threads": threads, "precision": precision}
        self._compute = {key: value for key, value in given.items() if value is not None}
        self._value_range, self._image_key, self._label_key = value_range, image_key, label_key

    @cached_property
    def model(self) -> CARL | Classifier:
        model = load_model(self.path, **self._compute)
        if self._value_range is not None:
            model.value_range = self._value_range
        return model

    @cached_property
    def data(self) -> str:
        """The path of the images, or how many files they are."""
        return self._images.describe()

    @cached_property
    def _images(self) -> Given:
        """What the images are opened by."""
        if self._data is not None:
            return Given(self._data, self._image_key)
        given: Given = getattr(self.model, "_given", Given())
        known = given.images
        if known is None:
            raise InvalidArgumentError(
                f"{self.path} was not trained on a folder or file of images: name some with --data"
            )
        if isinstance(known, list):
            given.check(self.path)
        elif not os.path.exists(known) and not glob.has_magic(known):
            raise FileError(
                f"the images {self.path} was trained on, {known}, are not there any more: name some with --data"
            )
        return given if self._image_key is None else given._replace(image_key=self._image_key)

    @cached_property
    def _opened(self) -> Labelled:
        return open_labelled(
            self._images.images,
            self._labels,
            self.model.in_channels_,
            value_range=self.model.value_range,
            image_key=self._images.image_key,
            label_key=self._label_key,
        )

    @property
    def source(self) -> ImageSource:
        return self._opened[0]

    @cached_property
    def _looked_at(self) -> tuple[np.ndarray, Any]:
        return _readable(self._opened[0], self._count, self._shown_side)

    @cached_property
    def _shown_side(self) -> int | None:
        """To which shorter side large images are halved at most, so that all that are shown fit into the memory for
        images; None where they fit as they are."""
        count = min(self._count, len(self.source))
        if count * typical_bytes(self.source) <= MOST_BYTES:
            return None
        # An image of sides 3 : 2 may keep almost twice the side.
        return max(_LEAST_SHOWN, int((MOST_BYTES / (count * self.source.channels * 6)) ** 0.5))

    @cached_property
    def _for_model(self) -> Any:
        """The same images at full size; where they are too large together, read some at a time."""
        return self.images if self._shown_side is None else SubsetSource(self.source, self._looked_at[0])

    @property
    def images(self) -> Any:
        """uint8 (N, H, W, C), or a list of images of several sizes. Images that cannot be read are left out, and large
        ones are halved where all together would take too much memory."""
        return self._looked_at[1]

    @property
    def names(self) -> list[str]:
        """Of the images: their paths, or numbers."""
        return [self._opened[0].identity(int(place)) for place in self._looked_at[0]]

    @cached_property
    def labels(self) -> np.ndarray | None:
        labels = self._opened[1]
        return None if labels is None else labels[self._looked_at[0]]

    @property
    def class_names(self) -> list[str] | None:
        """Of the labels, by number."""
        return self._opened.class_names

    @cached_property
    def features(self) -> np.ndarray:
        return self._outputs("features")

    @cached_property
    def logits(self) -> np.ndarray:
        return self._outputs("logits")

    @cached_property
    def probabilities(self) -> np.ndarray:
        return self._outputs("probabilities")

    def _outputs(self, output: str) -> np.ndarray:
        """A plain array, also where scikit-learn is configured for tables."""
        return self.model._rows(self._for_model, output)[0]

    @cached_property
    def assignments(self) -> np.ndarray:
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def prototypes(self) -> int:
        return int(self.logits.shape[1])

    @cached_property
    def predictions(self) -> np.ndarray | None:
        """The classes of the images, if the model is a classifier."""
        model = self.model
        return model.classes_[self.assignments] if isinstance(model, Classifier) else None

    @property
    def classes(self) -> list[str] | None:
        """What the outputs of a classifier stand for, by number; None of any other model."""
        model = self.model
        return [str(name) for name in model.classes_] if isinstance(model, Classifier) else None
