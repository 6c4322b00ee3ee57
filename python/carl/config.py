"""The configuration of a trainer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ._parameters import TrainerKeys, ViewSpec
from ._reading import parse_json
from ._shown import line
from ._spelling import elsewhere, nearest
from .errors import ConfigurationError


class TrainerConfig(TrainerKeys):
    __doc__ = TrainerKeys.__doc__

    def __repr__(self) -> str:
        """The keys that are set."""
        return line(type(self).__name__, self.to_dict(), digits=None)

    def to_dict(self) -> dict[str, Any]:
        """The keys that are set."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def to_json(self) -> str:
        """The keys that are set, as a JSON object."""
        return dump_json(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainerConfig:
        """Raises ConfigurationError for a key that this package does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigurationError(f"unknown configuration key {unknown[0]!r}{nearest(unknown[0], known)}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> TrainerConfig:
        return cls.from_dict(parse_object(text, "config"))

    def replace(self, **changes: Any) -> TrainerConfig:
        """A copy with some keys changed."""
        return type(self).from_dict({**vars(self), **changes})


#: What a value may be, by the annotation of its key; what is not here is left to the library.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list[int]": (list,),
}


def check_types(values: Mapping[str, Any], name: str) -> None:
    """Raises ConfigurationError for a value of a known key whose type is a wrong one, for what is read and not given to
    the library."""
    for field in dataclasses.fields(TrainerConfig):
        value, kind = values.get(field.name), str(field.type).removesuffix(" | None")
        if value is None or kind not in _TYPES:
            continue
        good = isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "bool")
        for number in value if isinstance(value, list) else [value] if kind == "int" else []:
            good = good and isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63
        if not good:
            raise ConfigurationError(f"{name}: {field.name} is {str(value)[:40]!r}, want {kind}")


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"a value of type {type(value).__name__} cannot be part of a configuration")


def dump_json(value: Any, name: str = "") -> str:
    """`value` as JSON. name: what errors call it; those of a configuration name its key."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            _refused(value, name) or f"{name or 'config'}: not expressible in JSON: {error}"
        ) from None


#: What is wanted of a key whose value cannot be written, by the annotation of the key.
_WANTED = {"int": "a whole number", "float": "a finite number", "str": "text", "bool": "True or False"}
#: How deep values are looked into for what is wrong; one that contains itself has no end.
_DEEPEST = 16


def _refused(value: Any, place: str, deep: int = 0) -> str | None:
    """What of a value JSON cannot express, with its place, such as views[0].jitter[1]; None if nothing is found."""
    kinds = {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(TrainerConfig)}
    want = _WANTED.get(kinds.get(place, ""))
    if deep > _DEEPEST:
        return f"{place}: got a value that is nested more than {_DEEPEST} deep"
    if value is not None and not isinstance(value, (str, int, float, dict, list, tuple)):
        try:
            value = _plain(value)
        except TypeError:
            want = want or "a number, text, True or False, or a list or dict of such"
            return f"{place}: got a value of type {type(value).__name__}, want {want}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place}: got {value}, want {want or 'a finite number'}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"{place}: got a number of {value.bit_length()} bits, want one of at most 64"
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, (str, int, float, type(None)))]
        if wrong:
            return f"{place or 'config'}: got a key of type {type(wrong[0]).__name__}, want text"
        parts = ((f"{place}.{key}" if place else str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        parts = ((f"{place}[{number}]", item) for number, item in enumerate(value))
    return next((found for name, item in parts if (found := _refused(item, name, deep + 1)) is not None), None)


def parse_list(text: str, name: str) -> list[Any]:
    """A JSON array from text."""
    value = parse_json(text)
    if not isinstance(value, list):
        raise ConfigurationError(f"{name}: got a JSON {type(value).__name__}, want an array")
    return value


def parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object from text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: malformed JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name}: got a JSON {type(value).__name__}, want an object")
    return value


def merged_json(config: TrainerConfig | Mapping[str, Any] | str | None, overrides: Mapping[str, Any]) -> str:
    """The JSON for the library: `config` with `overrides` on top. Keys are left for the library to check."""
    if config is None:
        values: dict[str, Any] = {}
    elif isinstance(config, TrainerConfig):
        values = config.to_dict()
    elif isinstance(config, Mapping):
        values = {key: value for key, value in config.items() if value is not None}
    elif isinstance(config, str):
        if not overrides:
            return config
        values = parse_object(config, "config")
    else:
        raise ConfigurationError(f"config: got {type(config).__name__}, want a TrainerConfig, a dict or JSON text")
    for key in values:
        if not isinstance(key, str):
            raise ConfigurationError(f"config: got a key of type {type(key).__name__}, want text")
    values.update({key: value for key, value in overrides.items() if value is not None})
    known = [field.name for field in dataclasses.fields(TrainerConfig)]
    for key in values:  # the library, which refuses them too, knows no other package's names
        hint = elsewhere(key, known)
        if hint:
            raise ConfigurationError(f"unknown configuration key {key!r}{hint}")
    return dump_json(values)


__all__ = ["TrainerConfig", "ViewSpec", "check_types", "dump_json", "merged_json", "parse_list", "parse_object"]
