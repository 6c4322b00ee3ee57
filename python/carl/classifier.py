"""An encoder with a linear layer on top, trained with labels: linear probe and fine-tuning, one step at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from ctypes import byref, sizeof
from typing import Any, Literal, overload

import numpy as np

from . import _arrays, _images
from ._array_like import label_values
from ._c_api import LIB, ClassifierHandle, call, carl_classifier_metrics, string_from
from ._cards import classifier_card
from ._checkpoint import checkpoint_file
from ._classes import are_several, fit_targets, kept_classes, noted_classes, places_among, read_classes
from ._classifier_parameters import CONFIG_KEYS, ClassifierParameters
from ._encoder_of import encoder_of, range_of_model
from ._features import COLUMNS
from ._handle import made
from ._labelled_training import batches_per_epoch, standardize, train_classifier
from ._native_path import writable
from ._pickles import begin_state, checked_params, file_of, telling_versions, written_bytes
from ._pretrained import channels_to_read
from ._sklearn import EstimatorRules, is_trained
from ._state import StateHandle
from ._values import checked_range
from .config import dump_json, parse_object
from .encoder import Encoder, embedded_rows
from .errors import CARLError, FileError, InvalidArgumentError, not_fitted
from .metrics import ClassifierMetrics
from .progress import Bar
from .sources.labelled import labels_of, open_source, opened, random_access
from .sources.subset import readable as readable_images


class Classifier(ClassifierParameters, EstimatorRules, StateHandle):
    """An encoder with a linear layer from its features to classes, trained by softmax cross-entropy and SGD.

    ::

        classifier = carl.Classifier(model, freeze_encoder=True, epochs=10).fit(images, labels)   # scikit-learn's way
        classifier.predict(test_images)

        classifier = carl.Classifier(model, 10, freeze_encoder=True, total_steps=1000)   # or one step at a time
        for images, labels in batches:               # uint8 (B, H, W, C), integers (B,)
            metrics = classifier.step(images, labels)

    ``carl.evaluate.linear_probe``, ``finetune`` and ``transfer`` run whole protocols with it.

    Attributes once it is made: classes_ (the labels, in the order of the outputs), in_channels_, n_features_out_, and
    model_ (the carl.CARL that ``fit`` has fitted, where it had to).

    A classifier follows scikit-learn's rules. ``clone`` keeps a model that was fitted, and clones one that was not. A
    pickle holds the bytes that ``save`` writes, and the model; but a carl.Encoder, which cannot be pickled, is left out
    of a fitted classifier's: it predicts and steps, and wants a model for another ``fit``.
    """

    _prefix = "carl_classifier"

    classes_: np.ndarray
    n_features_out_: int

    def _make(self, model: Any, classes: Any, **config: Any) -> None:
        """A new classifier in the place of this object's. config: keys besides those that are given."""
        names: np.ndarray | None = None
        if are_several(classes):
            names = label_values(classes, "classes")
            if names.ndim != 1 or len(names) == 0 or len(np.unique(names)) != len(names):
                raise InvalidArgumentError("classes: want a number, or a list of labels that are all different")
            count = len(names)
        else:
            count = _arrays.c_integer(classes, "classes", 1)
        text = _arrays.c_text(dump_json({"classes": count, **self._config_values(), **config}), "config")
        checked_range(self.value_range)
        with encoder_of(model) as encoder, encoder._in_turn():
            pointer = made(
                ClassifierHandle(), LIB.carl_classifier_free, LIB.carl_classifier_create, encoder._handle, text
            )
            self._model_range = encoder.value_range
        self._adopt(pointer, np.arange(count) if names is None else names)

    def _adopt(self, pointer: Any, classes: np.ndarray) -> None:
        self.close()
        self._pointer, self._infos = pointer, None
        self.classes_ = classes
        self.n_features_out_ = self.output_width("features")
        self._tensors()  # looked up here, so that nothing changes in predictions

    @property
    def _handle(self) -> Any:
        if "_pointer" not in vars(self):
            raise not_fitted(type(self).__name__, "it is used")
        return super()._handle

    def _is_trained(self) -> bool:
        return not self.closed

    @property
    def _range(self) -> Any:
        """Given, or of the model that the classifier was made of, or would be."""
        if self.value_range is not None:
            return self.value_range
        return self._model_range if "_model_range" in vars(self) else range_of_model(self.model)

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

    def fit(self, images: Any, y: Any = None) -> Classifier:
        """Trains on labelled images for `epochs`, by SGD with a cosine schedule, from the model's encoder and a new
        linear layer; with freeze_encoder on standardised features (of at most 4096 of the images).

        images: whatever ``carl.as_source`` takes, but no stream.
        y: the labels: integers of at least 0 (floats too, if they are whole numbers), bools or text, one for each
            image; the path of a file of them; None for those of class folders or a labelled archive. They are the
            classes, unless `classes` names those.

        Each epoch goes through the images in an order of (seed, epoch) alone, in equal batches of at most batch_size.
        """
        epochs = _arrays.integer(self.epochs, "epochs", 1, 1_000_000)
        batch_size = _arrays.integer(self.batch_size, "batch_size", 1, 1_000_000)
        seed = 0 if self.seed is None else _arrays.integer(self.seed, "seed", 0, 2**53)
        least = 1 if self.freeze_encoder else 2
        with ExitStack() as stack:
            model, channels = self.model, getattr(self.model, "in_channels", None)
            untrained = hasattr(model, "_untrained") and not is_trained(model)
            if not untrained:
                model = stack.enter_context(encoder_of(model))
                channels = model.in_channels_
            elif model.weights is not None:
                channels = channels_to_read(model)
            value_range = range_of_model(model) if self.value_range is None else self.value_range
            found = stack.enter_context(opened(images, channels, value_range))
            source = random_access(found, "images")
            targets, classes = fit_targets(labels_of(source, y), self.classes, len(source))
            if untrained and model.weights is None:
                model = self.model_ = model._unfitted().fit(source)
            elif untrained:
                model = stack.enter_context(encoder_of(model, source.channels))
            source, places = readable_images(source, "images", self.on_error)
            if self.classes is None and isinstance(classes, np.ndarray):
                classes, targets = kept_classes(classes, targets, places, "labels")
            elif places is not None:
                targets = targets[places]
            batches = batches_per_epoch(len(source), batch_size, least)
            total = {} if self.total_steps is not None else {"total_steps": epochs * batches}
            self._make(model, classes, **total)
            if self.freeze_encoder:
                standardize(self, source)
            with Bar(bool(self.progress), epochs * batches, "classifier") as bar:
                train_classifier(self, source, targets, np.arange(len(source)), epochs, batches, seed, bar)
        return self

    # ---- Prediction

    def predict(self, images: Any, size: int = 0) -> np.ndarray:
        """The most probable label of each image, (N,), from ``classes_``.

        images: whatever ``carl.as_source`` takes: arrays, lists, paths of images and folders. `size` as in
            ``embed_images``.
        """
        places = self._rows(images, "logits", size=size)[0].argmax(axis=1)
        found: np.ndarray = self.classes_[places]
        return found

    def score(self, images: Any, labels: Any = None, size: int = 0) -> float:
        """Accuracy: the share of images whose label is the most probable one.

        images: as of ``predict``, but no stream. labels: one of ``classes_`` for each image, or the path of a file of
            them; None for those of class folders or a labelled archive. Labels that are no class are a warning that
            names them, and count as wrong.
        """
        source = open_source(images, self.in_channels_, value_range=self._range)
        try:
            order = np.argsort(self.classes_)
            given = labels_of(source, labels)
            truth, _ = places_among(given, self.classes_[order], "labels", len(source))
            guessed = np.argsort(order)[self._rows(source, "logits", size=size)[0].argmax(axis=1)]
            return float(np.mean(guessed == truth))
        finally:
            if source is not images:
                source.close()

    def predict_proba(self, images: Any, size: int = 0) -> np.ndarray:
        """float32 (N, classes): the probability of each class. images, size: as of ``predict``."""
        return self._rows(images, "probabilities", size=size)[0]

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
        """float32 (N, width): the encoder's "features", or the "logits" or "probabilities" of the classes; a
        DataFrame after ``set_output``. All else as in ``CARL.transform``; `size` as in ``embed_images``."""
        rows, names = self._rows(images, output, on_error, return_paths, progress, size)
        found: np.ndarray = self._as_output(rows, COLUMNS.get(output, output), images)
        return (found, names) if return_paths else found

    def _rows(
        self,
        images: Any,
        output: str,
        on_error: str = "raise",
        names: bool = False,
        progress: bool = False,
        size: int = 0,
    ) -> tuple[np.ndarray, list[str]]:
        rest = (self.in_channels_, on_error, names, progress, self._range)
        return embedded_rows(self, images, output, *rest, size=size, task="classify")

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
        handle = self._handle
        given = {key: value for key, value in self._config_values().items() if key != "threads"}
        notes = {**noted_classes(self.classes_), "value_range": checked_range(self._range), "params": given}
        text = _arrays.c_text(dump_json({"carl": notes}), "classes")
        with writable(path) as file, self._in_turn():
            call(LIB.carl_classifier_save, handle, file, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **overrides: Any) -> Classifier:
        """Reads what ``save`` wrote, with the settings that were given, for another ``fit``. overrides: keys of the
        configuration to change, such as ``threads=1``."""
        text = _arrays.c_text(dump_json(overrides), "overrides") if overrides else None
        classifier = cls(None)
        given = classifier._take_file(path, text).get("params")
        for key, value in {**(given if isinstance(given, dict) else {}), **overrides}.items():
            if key in CONFIG_KEYS:
                setattr(classifier, key, value)
        return classifier

    def _take_file(self, path: str | os.PathLike[str], overrides: bytes | None = None) -> Mapping[str, Any]:
        """Takes what ``save`` wrote. Returns its notes."""
        with checkpoint_file(path) as file:
            pointer = made(ClassifierHandle(), LIB.carl_classifier_free, LIB.carl_classifier_load, file, overrides)
        self._adopt(pointer, np.empty(0))
        notes = parse_object(string_from(LIB.carl_classifier_notes, pointer), "notes").get("carl")
        notes = notes if isinstance(notes, Mapping) else {}
        self.classes_ = read_classes(notes, self.output_width("logits"))
        try:
            self.value_range = self._model_range = checked_range(notes.get("value_range"))
        except InvalidArgumentError as error:
            raise FileError(f"{os.fspath(path)}: its notes are damaged: {error}") from None
        return notes

    def __repr__(self) -> str:
        if "_pointer" not in vars(self):
            return super().__repr__()
        if self.closed:
            return "Classifier(closed)"
        try:
            config = self.config
        except CARLError:  # another thread trains it
            return f"Classifier(classes={len(self.classes_)})"
        return f"Classifier(classes={config['classes']}, freeze_encoder={config['freeze_encoder']})"

    def _repr_html_(self) -> str:
        return classifier_card(self) if "_pointer" in vars(self) else super()._repr_html_()

    # ---- Copies and scikit-learn

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: a fitted classifier's holds the bytes that ``save`` writes."""
        params = self.get_params(deep=False)
        if not self.closed and isinstance(self.model, Encoder):
            params["model"] = None  # which cannot be pickled, and is needed for fit alone
        state = begin_state(params)
        state["output"] = self._sklearn_output_config
        if not self.closed:
            state["checkpoint"], state["classes"] = written_bytes(self.save, self._file_bytes()), self.classes_
            state["fitted_model"] = vars(self).get("model_")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        name = type(self).__name__
        vars(self).update({**self._parameter_defaults(), **checked_params(state, name, self._parameter_names())})
        self._sklearn_output_config = dict(state.get("output", {}))
        if "checkpoint" in state:
            given = self.value_range
            with telling_versions(state, name), file_of(state["checkpoint"]) as path:
                self._take_file(path)
            self.classes_, self.value_range = state["classes"], given
            if state["fitted_model"] is not None:
                self.model_ = state["fitted_model"]

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        tags.target_tags.required = True
        return tags


def _class_numbers(labels: Any, count: int) -> np.ndarray:
    """Checked class numbers as int32; the library checks that they are below the number of classes."""
    array = _arrays.label_array(labels, "labels", count)
    wrong = np.flatnonzero((array < 0) | (array >= 2**31))
    if len(wrong):
        raise InvalidArgumentError(f"labels[{wrong[0]}]: got {array[wrong[0]]}, want class numbers from 0")
    return array.astype(np.int32)


__all__ = ["Classifier", "ClassifierMetrics"]
