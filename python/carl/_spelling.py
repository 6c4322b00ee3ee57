"""Misspelt words: errors name the nearest known one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec

Arguments = ParamSpec("Arguments")


def nearest(word: str, known: Iterable[object]) -> str:
    """ "; did you mean 'x'?" for a misspelt word, or nothing."""
    import difflib

    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def naming_nearest(initialise: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A constructor whose error for a misspelt keyword names the nearest parameter."""
    known = list(inspect.signature(initialise).parameters)[1:]

    @functools.wraps(initialise)
    def checked(*arguments: Arguments.args, **params: Arguments.kwargs) -> None:
        for key in params:
            if key not in known:
                name = type(arguments[0]).__name__
                raise TypeError(f"{name}() got an unexpected parameter {key!r}{nearest(key, known)}")
        initialise(*arguments, **params)

    return checked
