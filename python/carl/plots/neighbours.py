"""What the features hold for alike: the nearest neighbours of some images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgumentError
from ..evaluate import nearest_neighbours
from .figures import COLOURS, at_least_one, check_rows, chosen, matrix, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def neighbours(
    images: Any, features: Any, queries: int | Sequence[int] = 10, k: int = 10, labels: Any = None, seed: int = 0
) -> Figure:
    """A sheet with a query image at the left of each row, followed by its `k` nearest neighbours by cosine similarity.

    images: uint8 (N, H, W), (N, H, W, C) or a list. features: (N, D). queries: places of images, or how many to draw
    with `seed`. labels: integers (N,); neighbours with another label than the query's get an orange frame.
    """
    values = matrix("features", features).astype(np.float32)
    count = len(values)
    if len(images) != count:
        raise InvalidArgumentError(f"images: got {len(images)}, features has {count} rows")
    if count < 2:
        raise InvalidArgumentError("features: want at least 2 rows")
    if not 1 <= k < count:
        raise InvalidArgumentError(f"k: got {k}, want from 1 to {count - 1}, one less than there are images")
    names = None if labels is None else check_rows("labels", labels, count, "images")
    if isinstance(queries, (int, np.integer)):
        wanted = at_least_one("queries", queries)
        rows = np.sort(np.random.default_rng(seed).choice(count, min(wanted, count), replace=False))
    else:
        rows = chosen("queries", queries, count, "places")
    found, similarities = nearest_neighbours(values, values[rows], k + 1)

    figure = new_figure(0.72 * (k + 1) + 0.5, 0.82 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), k + 1, squeeze=False)
    for row, query in enumerate(rows):
        show_image(grid[row, 0], images[int(query)])
        _frame(grid[row, 0], "#000000")
        others = found[row] != query  # the query itself, wherever a tie has put it
        shown = np.flatnonzero(others)[:k]
        for column, place in enumerate(shown, start=1):
            other = int(found[row, place])
            show_image(grid[row, column], images[other])
            grid[row, column].set_title(f"{similarities[row, place]:.2f}", fontsize=7, pad=3)
            if names is not None and names[other] != names[query]:
                _frame(grid[row, column], COLOURS[1])
    grid[0, 0].set_title("query", fontsize=7, pad=3)
    note = "" if names is None else "; framed: of another label"
    figure.suptitle(f"Nearest neighbours by cosine similarity{note}", fontsize=10)
    return figure


def _frame(axes: object, colour: str) -> None:
    for spine in axes.spines.values():  # type: ignore[attr-defined]
        spine.set_visible(True)
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.8)
