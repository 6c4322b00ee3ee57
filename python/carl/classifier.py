"""An encoder with a linear layer on top, trained with labels: linear probe and fine-tuning, one step at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import byref, sizeof
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

import numpy as np

from . import _arrays, _images
from ._c_api import LIB, ClassifierHandle, call, carl_classifier_metrics, string_from
from ._cards import classifier_card
from ._checkpoint import checkpoint_file
from ._classes import places_among
from ._handle import made
from ._native_path import writable
from ._notes import as_utf8
from ._shown import line
from ._state import StateHandle
from ._values import checked_range
from .config import dump_json, parse_object
from .encoder import Encoder, embedded_rows
from .errors import CARLError, FileError, InvalidArgumentError, not_fitted
from .runs import checkpoint_path
from .sources.labelled import labels_of, open_source
from .trainer import Trainer


@dataclass(frozen=True)
class ClassifierMetrics:
    """What a step reports.

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
        return asdict(self)

    def __repr__(self) -> str:
        return line(type(self).__name__, self.to_dict(), 4)


class Classifier(StateHandle):
    """An encoder with a linear layer from its features to classes, trained by softmax cross-entropy and SGD.

    ::

        classifier = carl.Classifier(model, 10, freeze_encoder=True, total_steps=1000)   # a linear probe
        for images, labels in batches:               # uint8 (B, H, W, C), integers (B,)
            metrics = classifier.step(images, labels)
        classifier.predict(test_images)

    ``carl.evaluate.linear_probe``, ``finetune`` and ``transfer`` run whole protocols with it.

    model: carl.CARL, carl.Trainer, carl.Encoder, or the path of a checkpoint or run folder; its encoder is copied.
    classes: their number, or the labels that stand for them in `predict`.
    config: keys of the classifier's configuration (docs/finetuning.md): freeze_encoder, from_scratch, label_smoothing,
        learning_rate, head_learning_rate, momentum, weight_decay, schedule, warmup_steps, total_steps, view, seed,
        threads. None is the default; unknown keys and values out of range are a ConfigurationError.
    """

    _prefix = "carl_classifier"

    def __init__(self, model: Any, classes: int | Sequence[Any] | np.ndarray, **config: Any) -> None:
        super().__init__()
        names: np.ndarray | None = None
        if isinstance(classes, (Sequence, np.ndarray)) and not isinstance(classes, (str, bytes)):
            names = np.asarray(classes)
            if names.ndim != 1 or len(names) == 0 or len(np.unique(names)) != len(names):
                raise InvalidArgumentError("classes: want a number, or a list of labels that are all different")
            count = len(names)
        else:
            count = _arrays.c_integer(classes, "classes", 1)
        values = {"classes": count, **{key: value for key, value in config.items() if value is not None}}
        text = _arrays.c_text(dump_json(values), "config")
        with encoder_of(model) as encoder:
            pointer = made(
                ClassifierHandle(), LIB.carl_classifier_free, LIB.carl_classifier_create, encoder._handle, text
            )
        self._adopt(pointer, np.arange(count) if names is None else names)
        self.value_range = checked_range(getattr(model, "value_range", None))

    def _adopt(self, pointer: Any, classes: np.ndarray) -> None:
        self._pointer = pointer
        self.classes_ = classes

    # ---- Training

    def step(self, images: Any, labels: Any, indices: Any = None, epoch: int = 0) -> ClassifierMetrics:
        """One training step: makes the configured view of each image, runs forward and backward, updates.

        images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes; B at least 2, or 1 with a frozen
            encoder.
        labels: integers (B,), places in ``classes_``: 0 to classes - 1.
        indices, epoch: a view depends on (seed, epoch, index) alone; by default images are counted as they come.

        Raises NotFiniteError when the loss or a gradient is NaN or infinite; the parameters are then unchanged.
        """
        handle = self._handle
        packed = _images.pack_images(images, "images")
        targets = _class_numbers(labels, len(packed))
        places = None if indices is None else _arrays.index_array(indices, len(packed))
        epoch = _arrays.integer(epoch, "epoch", 0, 2**24 - 1)
        report = carl_classifier_metrics(struct_size=sizeof(carl_classifier_metrics))
        call(LIB.carl_classifier_step, handle, packed, targets, len(packed), places, epoch, byref(report))
        return ClassifierMetrics.from_struct(report)

    def step_batch(self, images: Any, labels: Any) -> ClassifierMetrics:
        """One training step on images made by the caller: float32 (B, H, W, C), already normalised. labels as in
        ``step``."""
        handle = self._handle
        array = _arrays.float_batch(images, "images")
        targets = _class_numbers(labels, len(array))
        report = carl_classifier_metrics(struct_size=sizeof(carl_classifier_metrics))
        batch = _arrays.describe_batch(array)
        call(LIB.carl_classifier_step_batch, handle, byref(batch), targets, len(targets), byref(report))
        return ClassifierMetrics.from_struct(report)

    def standardize(self, images: Any) -> None:
        """Features are standardised before the linear layer by a mean and a deviation for each, 0 and 1 at first: this
        sets them to those of the features of `images`, as in ``step``, at least 2. It makes head_learning_rate mean the
        same for every encoder."""
        handle = self._handle
        packed = _images.pack_images(images, "images")
        call(LIB.carl_classifier_standardize, handle, packed, len(packed))

    # ---- Prediction

    def predict(self, images: Any, size: int = 0) -> np.ndarray:
        """The most probable label of each image, (N,), from ``classes_``.

        images: whatever ``carl.as_source`` takes: arrays, lists, paths of images and folders. `size` as in
            ``embed_images``.
        """
        found: np.ndarray = self.classes_[self.transform(images, "logits", size=size).argmax(axis=1)]
        return found

    def score(self, images: Any, labels: Any = None, size: int = 0) -> float:
        """Accuracy: the share of images whose label is the most probable one.

        images: as of ``predict``, but no stream. labels: one of ``classes_`` for each image, or the path of a file of
            them; None for those of class folders or a labelled archive. Labels that are no class are a warning that
            names them, and count as wrong.
        """
        source = open_source(images, self.in_channels_, value_range=self.value_range)
        try:
            order = np.argsort(self.classes_)
            given = labels_of(source, labels)
            truth, _ = places_among(given, self.classes_[order], "labels", len(source))
            guessed = np.argsort(order)[self.transform(source, "logits", size=size).argmax(axis=1)]
            return float(np.mean(guessed == truth))
        finally:
            if source is not images:
                source.close()

    def predict_proba(self, images: Any, size: int = 0) -> np.ndarray:
        """float32 (N, classes): the probability of each class. images, size: as of ``predict``."""
        return self.transform(images, "probabilities", size=size)

    @overload
    def transform(
        self,
        images: Any,
        output: str = ...,
        *,
        size: int = ...,
        on_error: str = ...,
        return_paths: Literal[False] = ...,
        progress: bool = ...,
    ) -> np.ndarray: ...

    @overload
    def transform(
        self,
        images: Any,
        output: str = ...,
        *,
        size: int = ...,
        on_error: str = ...,
        return_paths: Literal[True],
        progress: bool = ...,
    ) -> tuple[np.ndarray, list[str]]: ...

    def transform(
        self,
        images: Any,
        output: str = "features",
        *,
        size: int = 0,
        on_error: str = "raise",
        return_paths: bool = False,
        progress: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, list[str]]:
        """float32 (N, width): the encoder's "features", or the "logits" or "probabilities" of the classes. All else as
        in ``CARL.transform``; `size` as in ``embed_images``."""
        rows, names = embedded_rows(
            self,
            images,
            output,
            self.in_channels_,
            on_error,
            return_paths,
            progress,
            self.value_range,
            size=size,
            task="classify",
        )
        return (rows, names) if return_paths else rows

    #: Of the values of images that are not bytes, as of ``carl.CARL``; saved along. Protocols set that of their images.
    value_range: tuple[float, float] | None = None

    @property
    def in_channels_(self) -> int:
        """Channels of the images."""
        # A convolution's weight has four dimensions, and the encoder's first one meets the images.
        return next(tensor.shape[1] for tensor in self._tensors().values() if len(tensor.shape) == 4)

    # ---- Configuration and files

    @property
    def config(self) -> dict[str, Any]:
        """The complete configuration, every default filled in."""
        return parse_object(string_from(LIB.carl_classifier_config, self._handle), "config")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that is needed to predict and to train on exactly, as a safetensors file, which appears only when
        complete. Names of classes that are not UTF-8 are kept with escapes, such as cl\\xe9."""
        classes = [as_utf8(name) if isinstance(name, str) else name for name in self.classes_.tolist()]
        text = _arrays.c_text(dump_json({"carl": {"classes": classes, "value_range": self.value_range}}), "classes")
        with writable(path) as file:
            call(LIB.carl_classifier_save, self._handle, file, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **overrides: Any) -> Classifier:
        """Reads what ``save`` wrote. overrides: configuration keys to change, such as ``threads=1``."""
        text = _arrays.c_text(dump_json(overrides), "overrides") if overrides else None
        with checkpoint_file(path) as file:
            pointer = made(ClassifierHandle(), LIB.carl_classifier_free, LIB.carl_classifier_load, file, text)
        classifier = cls.__new__(cls)
        classifier._adopt(pointer, np.empty(0))
        notes = parse_object(string_from(LIB.carl_classifier_notes, pointer), "notes").get("carl", {})
        count = classifier.output_width("logits")
        try:
            names = np.asarray(notes.get("classes", [])) if isinstance(notes, Mapping) else np.empty(0)
        except (ValueError, OverflowError):  # lists of several lengths: not what save writes
            names = np.empty(0)
        classifier.classes_ = names if names.shape == (count,) else np.arange(count)
        try:
            classifier.value_range = checked_range(notes.get("value_range")) if isinstance(notes, Mapping) else None
        except InvalidArgumentError as error:
            raise FileError(f"{os.fspath(path)}: its notes are damaged: {error}") from None
        return classifier

    def __repr__(self) -> str:
        if self.closed:
            return "Classifier(closed)"
        try:
            config = self.config
        except CARLError:  # another thread trains it
            return f"Classifier(classes={len(self.classes_)})"
        return f"Classifier(classes={config['classes']}, freeze_encoder={config['freeze_encoder']})"

    def _repr_html_(self) -> str:
        return classifier_card(self)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a carl.Classifier cannot be pickled: save() it and pass the path")


def _class_numbers(labels: Any, count: int) -> np.ndarray:
    """Checked class numbers as int32; the library checks that they are below the number of classes."""
    array = _arrays.label_array(labels, "labels", count)
    wrong = np.flatnonzero((array < 0) | (array >= 2**31))
    if len(wrong):
        raise InvalidArgumentError(f"labels[{wrong[0]}]: got {array[wrong[0]]}, want class numbers from 0")
    return array.astype(np.int32)


@contextmanager
def encoder_of(model: Any) -> Iterator[Encoder]:
    """The encoder of whatever stands for a model: carl.CARL, carl.Trainer, carl.Encoder, the path of a checkpoint or
    run folder."""
    if isinstance(model, Encoder):
        yield model
        return
    if isinstance(model, (str, os.PathLike)):
        encoder = Encoder(checkpoint_path(model))
    else:
        trainer = model if isinstance(model, Trainer) else getattr(model, "trainer_", None)
        if trainer is None and getattr(model, "weights", None) is not None and hasattr(model, "_untrained"):
            yield model._untrained(model.in_channels or 3)  # which stays the model's
            return
        if trainer is None and hasattr(model, "__sklearn_is_fitted__"):
            raise not_fitted(type(model).__name__, "it is evaluated")
        if not isinstance(trainer, Trainer):
            raise InvalidArgumentError(
                f"model: got {type(model).__name__}, want a carl.CARL, carl.Trainer, carl.Encoder, or the path of a "
                "checkpoint or run folder"
            )
        encoder = Encoder.from_trainer(trainer)
    with encoder:
        yield encoder


__all__ = ["Classifier", "ClassifierMetrics", "encoder_of"]
