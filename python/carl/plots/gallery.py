"""What prototypes stand for: their nearest images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays
from ..errors import InvalidArgumentError
from ..sources.order import evenly_spaced
from .figures import chosen, headline, how_many, matrix, new_figure, pictures, show_image
from .names import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a sign of the names.
_SIGN = 0.075


def gallery(
    images: Any,
    logits: Any,
    prototypes: int | Sequence[int] = 16,
    nearest: int = 12,
    names: Sequence[str] | None = None,
) -> Figure:
    """The nearest images of some prototypes, one row each.

    images: uint8 (N, H, W) or (N, H, W, C), a tensor (N, C, H, W), or a list. logits: (N, K), their similarities to the
        prototypes.
    prototypes: which ones; or how many: those with most images, evenly spaced down the ranking.
    nearest: images in a row. names: of the K, where they are a classifier's classes.
    """
    values = matrix("logits", logits)
    nearest = _arrays.c_integer(nearest, "nearest", 1)
    if names is not None and len(names) != values.shape[1]:
        raise InvalidArgumentError(f"names: got {len(names)}, logits has {values.shape[1]} columns")
    if len(images) != len(values):
        raise InvalidArgumentError(f"images: got {len(images)}, logits has {len(values)} rows")
    amounts = np.bincount(values.argmax(axis=1), minlength=values.shape[1])
    rows = _chosen(amounts, prototypes)
    images = pictures(images)
    nearest = min(nearest, len(values))
    titles, fonts = drawn(str(prototype if names is None else names[int(prototype)]) for prototype in rows)
    beside = max(1.0, 0.3 + _SIGN * max(map(len, titles)))
    figure = new_figure(max(2.4, 0.66 * nearest + beside), 0.66 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), nearest, squeeze=False)
    for row, (prototype, name) in enumerate(zip(rows, titles)):
        order = np.argsort(-values[:, prototype], kind="stable")[:nearest]
        for column, place in enumerate(order):
            show_image(grid[row, column], images[int(place)])
            grid[row, column].set_anchor("W")  # beside the name, whatever room the title wants
        grid[row, 0].set_ylabel(
            f"{name}\n({amounts[prototype]})",
            rotation=0,
            ha="right",
            va="center",
            fontsize=8,
            family=fonts,
            parse_math=False,
        )
    what = "prototypes" if names is None else "classes"
    headline(figure, f"Nearest images of {what} (in brackets: images assigned)")
    return figure


def _chosen(amounts: np.ndarray, prototypes: int | Sequence[int]) -> np.ndarray:
    wanted = how_many("prototypes", prototypes)
    if wanted is not None:
        ranking = np.argsort(-amounts, kind="stable")[: max(1, np.count_nonzero(amounts))]
        return np.asarray(ranking[evenly_spaced(len(ranking), wanted)])
    return chosen("prototypes", prototypes, len(amounts), "numbers")
