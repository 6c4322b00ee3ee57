"""scikit-learn's rules for estimators, without scikit-learn."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any, TypeVar

import numpy as np

from ._handle import EmbeddingHandle
from ._shown import line
from ._spelling import nearest
from .errors import InvalidArgumentError, missing_package, not_fitted

Self = TypeVar("Self", bound="EstimatorRules")
#: What ``set_output`` takes.
_OUTPUTS = ("default", "pandas", "polars")


class EstimatorRules:
    """Parameters are those of the constructor, which only stores them under their names: ``clone`` and pipelines rely
    on that."""

    #: Made by scikit-learn's clone(), so that one run_dir stands for a folder a fit.
    _is_clone = False
    _cloned_run_dir: Any = None
    #: The folder that a fit of this very object wrote.
    _own_run: Any = None

    #: What ``set_output`` was told, under scikit-learn's name.
    _sklearn_output_config: dict[str, str] = {}

    def set_output(self: Self, *, transform: str | None = None) -> Self:
        """What ``transform`` gives: "default" is an array, "pandas" and "polars" a DataFrame with the names of
        ``get_feature_names_out``; None changes nothing. Without it, scikit-learn's ``set_config(transform_output=...)``
        decides. A pandas DataFrame has the index of the pandas column of paths that it was made of."""
        if transform not in (None, *_OUTPUTS):
            raise InvalidArgumentError(f"transform: got {transform!r}, want {', '.join(map(repr, _OUTPUTS))} or None")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _as_output(self, values: np.ndarray, name: str, images: Any) -> Any:
        """Rows of features as ``set_output`` wants them; `name`: of the columns, before their numbers. images: that the
        rows are of."""
        kind = self._sklearn_output_config.get("transform") or _configured_output()
        if kind == "default":
            return values
        try:
            package = importlib.import_module(kind)
        except ImportError:
            raise missing_package(f'set_output(transform="{kind}")', kind) from None
        columns = [f"{name}{place}" for place in range(values.shape[1])]
        if kind == "polars":
            return package.DataFrame(values, schema=columns, orient="row")
        known = isinstance(images, (package.Series, package.DataFrame)) and len(images) == len(values)
        return package.DataFrame(values, columns=columns, index=images.index if known else None)

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return list(cls._parameter_defaults())

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters given at construction. deep: those of parameters that are estimators too, model__epochs."""
        params = {name: getattr(self, name) for name in self._parameter_names()}
        if deep:
            for name, value in list(params.items()):
                if _is_estimator(value):
                    params.update({f"{name}__{key}": each for key, each in value.get_params().items()})
        return params

    def set_params(self: Self, **params: Any) -> Self:
        """Changes parameters; they take effect with the next ``fit``. model__epochs=3 changes that of the parameter
        `model`."""
        names = self._parameter_names()
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, _, rest = key.partition("__")
            if name not in names or (rest and not _is_estimator(params.get(name, getattr(self, name)))):
                raise InvalidArgumentError(f"unknown parameter {key!r} of {type(self).__name__}{nearest(name, names)}")
            if rest:
                nested.setdefault(name, {})[rest] = value
        for key, value in params.items():
            if key in names:
                setattr(self, key, value)
        for name, changes in nested.items():
            getattr(self, name).set_params(**changes)
        return self

    def __sklearn_clone__(self: Self) -> Self:
        from sklearn.base import clone

        # A parameter that is a trained model, of which a classifier takes the encoder, is kept: without its training it
        # would be another parameter.
        params = {
            name: value if is_trained(value) or isinstance(value, EmbeddingHandle) else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        copy = self._unfitted(params)
        copy._is_clone, copy._cloned_run_dir = True, params.get("run_dir")
        return copy

    def _shares_run_dir(self) -> bool:
        """Whether this is a clone whose run_dir is that of the model it was made of."""
        return self._is_clone and getattr(self, "run_dir", None) == self._cloned_run_dir

    def _unfitted(self: Self, params: dict[str, Any] | None = None) -> Self:
        """Another estimator of these parameters, by default the same ones."""
        copy = type(self)(**(self.get_params(deep=False) if params is None else params))
        copy._is_clone, copy._cloned_run_dir = self._is_clone, self._cloned_run_dir
        copy._sklearn_output_config = dict(self._sklearn_output_config)
        return copy

    def fit_transform(self, images: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """``fit`` and ``transform``. Not for iterators that can be gone through only once."""
        found: np.ndarray = self.fit(images, y, **fit_params).transform(images)  # type: ignore[attr-defined]
        return found

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of ``transform``: carl0, carl1, ... input_features is ignored."""
        if not self.__sklearn_is_fitted__():
            raise not_fitted(type(self).__name__, "get_feature_names_out")
        return np.array([f"carl{place}" for place in range(self._feature_count())], dtype=object)

    def _feature_count(self) -> int:
        if self._is_trained():
            return int(self.n_features_out_)  # type: ignore[attr-defined]
        from ._encoder_of import encoder_of

        with encoder_of(self) as encoder:
            return encoder.output_width()

    def _is_trained(self) -> bool:
        """Whether it was fitted."""
        return hasattr(self, "trainer_")

    def _has_weights(self) -> bool:
        """Whether it gives features without a fit."""
        return getattr(self, "weights", None) is not None

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_trained() or self._has_weights()

    def __sklearn_tags__(self) -> Any:
        """Images, not tables: scikit-learn has no tag for four dimensions, so that three stand for both. n_features_in_
        is therefore not set, as by its vectorisers of text."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
            non_deterministic=False,
            requires_fit=not self._has_weights(),
        )

    def _given_parameters(self) -> dict[str, Any]:
        """The parameters that are not the defaults. By their text: arrays are not equal or different as a whole."""
        defaults = self._parameter_defaults()
        return {
            name: value for name, value in self.get_params(deep=False).items() if repr(value) != repr(defaults[name])
        }

    def __repr__(self) -> str:
        return line(type(self).__name__, self._given_parameters(), digits=None)

    def _repr_html_(self) -> str:
        from ._cards import estimator_card

        return estimator_card(self)


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def is_trained(value: Any) -> bool:
    """Whether a value is an estimator of this package that was fitted."""
    return isinstance(value, EstimatorRules) and value._is_trained()


def _configured_output() -> str:
    """What scikit-learn, if it is loaded, is configured to have ``transform`` give."""
    sklearn = sys.modules.get("sklearn")
    return "default" if sklearn is None else str(sklearn.get_config().get("transform_output", "default"))
