"""scikit-learn's rules for estimators, without scikit-learn."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import numpy as np

from ._shown import line
from ._spelling import nearest
from .errors import InvalidArgumentError, missing_package

Self = TypeVar("Self", bound="EstimatorRules")


class EstimatorRules:
    """Parameters are those of the constructor, which only stores them under their names: ``clone`` and pipelines rely
    on that."""

    #: Made by scikit-learn's clone(), so that one run_dir stands for a folder a fit.
    _is_clone = False

    #: What ``set_output`` was told, under scikit-learn's name.
    _sklearn_output_config: dict[str, str] = {}

    def set_output(self: Self, *, transform: str | None = None) -> Self:
        """What ``transform`` gives: "default" is an array, "pandas" a DataFrame with the names of
        ``get_feature_names_out``; None changes nothing."""
        if transform not in (None, "default", "pandas"):
            raise InvalidArgumentError(f'transform: got {transform!r}, want "default" or "pandas"')
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _as_output(self, values: np.ndarray, name: str) -> Any:
        """Rows of features as ``set_output`` wants them; `name`: of the columns, before their numbers."""
        if self._sklearn_output_config.get("transform", "default") == "default":
            return values
        try:
            import pandas
        except ImportError:
            raise missing_package('set_output(transform="pandas")', "pandas") from None
        return pandas.DataFrame(values, columns=[f"{name}{place}" for place in range(values.shape[1])])

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters given at construction."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **params: Any) -> Self:
        """Changes parameters; they take effect with the next ``fit``."""
        names = self._parameter_names()
        for key in params:
            if key not in names:
                raise InvalidArgumentError(f"unknown parameter {key!r} of {type(self).__name__}{nearest(key, names)}")
        for key, value in params.items():
            setattr(self, key, value)
        return self

    def __sklearn_clone__(self: Self) -> Self:
        from sklearn.base import clone

        copy = type(self)(**{name: clone(value, safe=False) for name, value in self.get_params(deep=False).items()})
        copy._is_clone = True
        copy._sklearn_output_config = dict(self._sklearn_output_config)
        return copy

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trainer_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
            non_deterministic=False,
            requires_fit=True,
        )

    def _given_parameters(self) -> dict[str, Any]:
        """The parameters that are not the defaults. By their text: arrays are not equal or different as a whole."""
        defaults = self._parameter_defaults()
        return {name: value for name, value in self.get_params().items() if repr(value) != repr(defaults[name])}

    def __repr__(self) -> str:
        return line(type(self).__name__, self._given_parameters(), digits=None)

    def _repr_html_(self) -> str:
        from ._cards import estimator_card

        return estimator_card(self)
