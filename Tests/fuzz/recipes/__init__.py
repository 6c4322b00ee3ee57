"""How to call each function of carl.h: arguments that are right, and ways to get them wrong.

A recipe draws and makes one call. Wrong sizes come with buffers of the claimed size, because memory that a caller does
not have is nothing a library can find out; NULL, handles and everything inside buffers are fair game.
"""

from __future__ import annotations

from collections.abc import Callable

from ..header import Header
from ..models import KINDS_MADE_BY
from ..scenario import Scenario, TooMuch

Recipe = Callable[[Scenario], None]

#: Function name -> how often it is drawn, and how.
RECIPES: dict[str, tuple[float, Recipe]] = {}


def recipe(name: str, weight: float = 1) -> Callable[[Recipe], Recipe]:
    def register(function: Recipe) -> Recipe:
        assert name not in RECIPES, name
        RECIPES[name] = (weight, function)
        return function

    return register


from . import (  # noqa: E402
    classifier,  # noqa: F401
    encoder,  # noqa: F401
    neighbours,  # noqa: F401
    objective,  # noqa: F401
    process,  # noqa: F401
    shared,  # noqa: F401
    trainer,  # noqa: F401
    views,  # noqa: F401
    weights_files,  # noqa: F401
)


def missing(header: Header) -> set[str]:
    """Functions of the header without a recipe."""
    return set(header.functions) - set(RECIPES)


def draw(scenario: Scenario) -> None:
    """Draws a function and calls it."""
    names = [name for name in RECIPES if name in scenario.header.functions]
    weights = [RECIPES[name][0] for name in names]
    if scenario.diverging:
        weights = [weight * (6 if "step" in name else 1) for name, weight in zip(names, weights)]
    perform(scenario, scenario.random.choices(names, weights)[0])


def perform(scenario: Scenario, name: str) -> None:
    """Makes one call of a function, unless its arguments turn out to be more than can be shown."""
    try:
        RECIPES[name][1](scenario)
    except TooMuch:
        scenario.drop()


def make(scenario: Scenario, kind: str) -> None:
    """Makes an object of a kind by the plainest call that does."""
    perform(scenario, KINDS_MADE_BY[kind])
