"""scikit-learn's own checks of estimators.

The estimators take images, and say so by their tags, for which scikit-learn has few checks. So that all of its checks
run, those of tables run on the estimators with each row of a table read as an image of one row of pixels.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import carl

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402
from sklearn.utils.validation import validate_data  # noqa: E402

#: A network whose fit takes some hundredths of a second.
TINY = {
    "encoder": "resnet18",
    "stem": "small",
    "width": 0.0625,
    "projector": [8],
    "prototypes": 4,
    "view_size": 8,
    "seed": 3,
    "batch_size": 16,
    "epochs": 1,
    "value_range": (-10, 110),
    "progress": False,
    "threads": 1,
}


class Rows:
    """Reads tables as images, with scikit-learn's checks of tables, which are none of the package's."""

    def _image_rows(self, table, reset=False):
        table = validate_data(self, table, reset=reset, dtype=np.float32, ensure_min_samples=2 if reset else 1)
        return table[:, None, :]

    def fit(self, X, y=None):
        return super().fit(self._image_rows(X, reset=True), y)

    def transform(self, X):
        return self._used(super().transform, X)

    def predict(self, X):
        return self._used(super().predict, X)

    def predict_proba(self, X):
        return self._used(super().predict_proba, X)

    def _used(self, method, X, *rest):
        if not self.__sklearn_is_fitted__():
            return method(None)  # for its error
        return method(self._image_rows(X), *rest)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        if tags.classifier_tags is not None:
            tags.classifier_tags.poor_score = True  # an image of two pixels is no image
        return tags


class ModelOfRows(Rows, carl.CARL):
    def partial_fit(self, X, y=None):
        return super().partial_fit(self._image_rows(X, reset=not self.__sklearn_is_fitted__()), y)


class ClassifierOfRows(Rows, carl.Classifier):
    def fit(self, X, y):
        return super().fit(X, y)

    def score(self, X, y):
        return self._used(super().score, X, y)


#: Checks that are not passed, and why that is right.
EXPECTED = {
    ModelOfRows: {},
    ClassifierOfRows: {
        "check_do_not_raise_errors_in_init_or_set_params": "with `classes` the classifier is made at once, for step()",
        "check_classifiers_classes": "-1 marks an image without label here, unless `classes` names it",
        "check_supervised_y_2d": "labels (N, 1) are an error, not a warning",
        "check_requires_y_none": "labels may come from the images' folders, and the error is in these words",
    },
}


def checks():
    model = carl.CARL(**TINY).fit(np.random.default_rng(0).uniform(0, 100, (16, 4, 4)).astype(np.float32))
    rest = {"epochs": 1, "batch_size": 16, "threads": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they take images, and do not inherit from scikit-learn
        for estimator in (
            carl.CARL(**TINY),
            carl.Classifier(model, **rest),
            ModelOfRows(**TINY),
            ClassifierOfRows(model, freeze_encoder=True, **rest),
        ):
            for number, (each, check) in enumerate(estimator_checks_generator(estimator)):
                name = check.func.__name__
                yield pytest.param(each, check, id=f"{type(estimator).__name__}-{number}-{name}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_checks(estimator, check):
    if check.func.__name__ in EXPECTED.get(type(estimator), {}):
        with pytest.raises((AssertionError, ValueError)):
            check(estimator)
    else:
        check(estimator)


def test_the_expected_failures_are_few():
    assert sum(map(len, EXPECTED.values())) <= 4
