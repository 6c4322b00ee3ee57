"""Linear evaluation: how well classes can be told apart by a linear layer on frozen features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from .._classes import check_classes, encode_labels, places_among
from .._encoder_of import encoder_of
from .._labelled_training import batches_per_epoch, train_classifier
from .._labelled_training import standardize as standardized
from ..classifier import Classifier
from ..errors import CARLError, InvalidArgumentError
from ..progress import Bar
from ._checks import labels_in_file
from .supervised import ClassificationResult, figures, labelled_images, outputs, parts_of, seed_list

METHODS = ("sgd", "logistic")


@dataclass(frozen=True, repr=False, eq=False)
class LinearProbeResult(ClassificationResult):
    """Figures of a linear layer on frozen features."""

    protocol: ClassVar[str] = "linear"


def linear_probe(
    model: Any,
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    *,
    method: str = "sgd",
    seeds: int | Sequence[int] = 0,
    epochs: int = 10,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    standardize: bool = True,
    view: Mapping[str, Any] | None = None,
    inverse_regularization: float = 1.0,
    max_iterations: int = 1000,
    save: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = True,
    on_error: str = "skip",
    value_range: tuple[float, float] | None = None,
) -> LinearProbeResult:
    """Trains a linear layer on the frozen encoder's features and tests it: the linear evaluation protocol.

    model: carl.CARL, carl.Trainer, carl.Encoder, or the path of a checkpoint or run folder. It is not changed. None,
        with method "logistic", when the images are features already, numbers (N, F).
    train_images, test_images: whatever ``carl.as_source`` takes, except streams of batches.
    train_labels, test_labels: integers of at least 0, bools or text, (N,); the path of a file of them; None for those
        of class folders or a labelled archive. Test labels that no training image has are a warning that names them,
        and count as wrong.
    method: "sgd", in every epoch a new random crop and flip of each image, cosine schedule; or "logistic", quick:
        features are computed once, without augmentation, standardised by the training set's mean and deviation, and
        given to scikit-learn's LogisticRegression (L-BFGS).
    seeds: one or several; figures are means over them. "logistic" draws nothing at random: one seed is enough.
    epochs, batch_size, learning_rate, momentum, weight_decay, label_smoothing, standardize, view: of "sgd".
        standardize: features go to the linear layer with mean 0 and deviation 1 (of at most 4096 of the training
        images), so that the learning rate means the same for every encoder. `view` changes keys of a view's
        specification from a crop of 20 to 100% and a flip.
    on_error: images that cannot be read are left out with a warning ("skip"), or an error names the first ("raise").
    value_range: as of ``carl.as_source``; by default the model's.
    inverse_regularization, max_iterations: C and max_iter of "logistic". An option of the other method is an error.
    save: a file for the first seed's classifier, for ``carl.Classifier.load`` and ``carl predict``.
    """
    if method not in METHODS:
        raise InvalidArgumentError(f"method: got {method!r}, want one of {', '.join(map(repr, METHODS))}")
    found = seed_list(seeds)
    _check_options(
        method,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        standardize=standardize,
        view=view,
        inverse_regularization=inverse_regularization,
        max_iterations=max_iterations,
    )
    options = (found, inverse_regularization, max_iterations)
    if model is None:
        if method != "logistic":
            raise InvalidArgumentError('model: got None, want a trained model; features are for method="logistic"')
        if save is not None:
            raise InvalidArgumentError("save: wants a model; of features alone there is no classifier of images")
        return _probe_features(train_images, train_labels, test_images, test_labels, *options)
    epochs = _arrays.integer(epochs, "epochs", 1, 1_000_000)
    batch_size = _arrays.integer(batch_size, "batch_size", 1, 1_000_000)
    with (
        labelled_images(train_images, train_labels, test_images, test_labels, model, on_error, value_range) as data,
        encoder_of(model, data.train.channels) as encoder,
    ):
        if method == "logistic":
            with Bar(progress, parts_of(data.train) + parts_of(data.test), "features") as bar:
                train, test = (
                    outputs(encoder, data.train, "features", bar),
                    outputs(encoder, data.test, "features", bar),
                )
            result, state = _logistic(
                train, data.train_targets, test, data.test_targets, data.classes, data.names, *options
            )
            if save is not None:
                with Classifier(encoder, data.classes, freeze_encoder=True, threads=threads) as classifier:
                    classifier.value_range = data.value_range
                    classifier.load_state_dict(state, strict=False)
                    classifier.save(save)
            return result
        places = np.arange(len(data.train))
        batches = batches_per_epoch(len(places), batch_size, 1)
        settings: dict[str, Any] = {
            "freeze_encoder": True,
            "head_learning_rate": learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "label_smoothing": label_smoothing,
            "total_steps": epochs * batches,
            "view": None if view is None else dict(view),
            "threads": threads,
        }
        scores: list[np.ndarray] = []
        used: dict[str, Any] = {}
        with Bar(progress, len(found) * (epochs * batches + parts_of(data.test)), "linear probe") as bar:
            for seed in found:
                with Classifier(encoder, data.classes, seed=seed, **settings) as classifier:
                    classifier.value_range = data.value_range
                    used = used or {
                        key: value for key, value in classifier.config.items() if key not in ("seed", "threads")
                    }
                    if standardize:
                        standardized(classifier, data.train)
                    train_classifier(classifier, data.train, data.train_targets, places, epochs, batches, seed, bar)
                    scores.append(outputs(classifier, data.test, "logits", bar))
                    if save is not None and len(scores) == 1:
                        classifier.save(save)
        return LinearProbeResult(
            **figures(scores, data.test_targets, data.classes, data.names),
            seeds=found,
            method=method,
            labelled=len(places),
            settings={**used, "epochs": epochs, "batch_size": len(places) // batches, "standardize": bool(standardize)},
        )


def _check_options(method: str, **options: Any) -> None:
    """InvalidArgumentError for an option of the other method that is not at its default: it would have no effect."""
    standard = signature(linear_probe).parameters
    for name, value in options.items():
        of = "logistic" if name in ("inverse_regularization", "max_iterations") else "sgd"
        if of != method and value != standard[name].default:
            raise InvalidArgumentError(f"{name}: is of method={of!r}, got method={method!r}: leave it out")


def _probe_features(
    train: Any, train_labels: Any, test: Any, test_labels: Any, seeds: list[int], inverse: float, iterations: int
) -> LinearProbeResult:
    rows = _arrays.feature_array(train, "train_images", ("N", "F"))
    queries = _arrays.feature_array(test, "test_images", ("M", rows.shape[1]))
    train_labels, test_labels = labels_in_file(train_labels, len(rows)), labels_in_file(test_labels, len(queries))
    classes, targets = encode_labels(train_labels, "train_labels", len(rows))
    check_classes(classes, "train_labels")
    truth, names = places_among(test_labels, classes, "test_labels", len(queries))
    return _logistic(rows, targets, queries, truth, classes, names, seeds, inverse, iterations)[0]


def _logistic(
    train: np.ndarray,
    targets: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    classes: np.ndarray,
    names: list[Any],
    seeds: list[int],
    inverse: float,
    iterations: int,
) -> tuple[LinearProbeResult, dict[str, np.ndarray]]:
    """scikit-learn's multinomial logistic regression on standardised features; the classifier's tensors too."""
    inverse = _arrays.real(inverse, "inverse_regularization", 0.0, above=True)
    iterations = _arrays.integer(iterations, "max_iterations", 1, 1_000_000)
    try:
        import sklearn
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise CARLError("linear_probe(method=\"logistic\") needs scikit-learn: pip install 'libcarl[demo]'") from None
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=inverse, max_iter=iterations))
    regression.fit(train, targets)
    scores = regression.decision_function(test)
    if len(classes) == 2:
        scores = np.stack([-scores, scores], axis=1)
    result = LinearProbeResult(
        **figures([scores] * len(seeds), truth, classes, names),
        seeds=seeds,
        method="logistic",
        labelled=len(train),
        settings={
            "inverse_regularization": inverse,
            "max_iterations": iterations,
            "iterations": int(np.max(regression[-1].n_iter_)),
            "standardised": True,
            "scikit_learn": sklearn.__version__,
        },
    )
    scaler, layer = regression[0], regression[-1]
    weights, biases = layer.coef_, layer.intercept_
    if len(classes) == 2:  # one row: the softmax of -s / 2 and s / 2 is the sigmoid of s
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return result, {
        "classifier.weight": weights,
        "classifier.bias": biases,
        "classifier.feature_mean": scaler.mean_,
        "classifier.feature_deviation": scaler.scale_,
    }
