"""What the features hold for alike: the nearest neighbours of some images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _images
from .._shown import ShownFields
from ..errors import InvalidArgumentError
from ..evaluate import nearest_neighbours
from .figures import COLOURS, check_rows, chosen, headline, how_many, matrix, new_figure, pictures, show_image
from .names import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Signs of a name that fit above an image.
_SIGNS = 18


@dataclass(frozen=True, repr=False, eq=False)
class SheetRow(ShownFields):
    """A row of ``contact_sheet``: a query's image, and those found for it with their similarities. name, names: of the
    query and of what was found; "" for none. other: which of those found get an orange frame."""

    image: Any
    found: Sequence[Any]
    similarities: Sequence[float]
    name: str = ""
    names: Sequence[str] = ()
    other: Sequence[bool] = ()


def contact_sheet(rows: Sequence[SheetRow], title: str = "Nearest neighbours by cosine similarity") -> Figure:
    """A sheet with a query image at the left of each row, followed by what was found for it."""
    if not rows:
        raise InvalidArgumentError("rows: is empty")
    named = any(row.name or any(row.names) for row in rows)
    columns = 1 + max(len(row.found) for row in rows)
    width, height = (1.15, 1.3) if named else (0.72, 0.82)
    figure = new_figure(max(3.0, width * columns + 0.5), height * len(rows) + 0.5)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for place, row in enumerate(rows):
        show_image(grid[place, 0], _images.one_image(row.image, f"rows[{place}].image"))
        _frame(grid[place, 0], "#000000")
        _title(grid[place, 0], "query" if place == 0 or named else "", row.name)
        for column in range(1, columns):
            axes = grid[place, column]
            if column > len(row.found):
                axes.axis("off")
                continue
            show_image(axes, _images.one_image(row.found[column - 1], f"rows[{place}].found[{column - 1}]"))
            name = row.names[column - 1] if row.names else ""
            _title(axes, f"{row.similarities[column - 1]:.2f}", name)
            if row.other and row.other[column - 1]:
                _frame(axes, COLOURS[1])
    headline(figure, title)
    return figure


def neighbours(
    images: Any,
    features: Any,
    queries: int | Sequence[int] = 10,
    k: int | None = None,
    labels: Any = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Figure:
    """A sheet with a query image at the left of each row, followed by its `k` nearest neighbours by cosine similarity;
    None for 10, or all others.

    images: uint8 (N, H, W) or (N, H, W, C), a tensor (N, C, H, W), or a list. features: (N, D). queries: places of
    images, or how many to draw with `seed`, at least 0. labels: (N,), integers or text; neighbours with another label
    than the query's get an orange frame. names: of the images, such as their paths, to be written above them.
    """
    values = _arrays.feature_array(matrix("features", features), "features", ("N", "D"))
    count = len(values)
    if len(images) != count:
        raise InvalidArgumentError(f"images: got {len(images)}, features has {count} rows")
    if count < 2:
        raise InvalidArgumentError("features: want at least 2 rows")
    k = min(10, count - 1) if k is None else _arrays.integer(k, "k", 1, count - 1)
    seed = _arrays.integer(seed, "seed", 0, 2**63 - 1)
    classes = None if labels is None else check_rows("labels", labels, count, "images")
    if names is not None and len(names) != count:
        raise InvalidArgumentError(f"names: got {len(names)}, features has {count} rows")
    wanted = how_many("queries", queries)
    if wanted is not None:
        rows = np.sort(np.random.default_rng(seed).choice(count, min(wanted, count), replace=False))
    else:
        rows = chosen("queries", queries, count, "places")
    images = pictures(images)
    found, similarities = nearest_neighbours(values, values[rows], k + 1)
    sheet = []
    for row, query in enumerate(rows):
        shown = np.flatnonzero(found[row] != query)[:k]  # without the query itself, wherever a tie has put it
        others = [int(place) for place in found[row, shown]]
        sheet.append(
            SheetRow(
                images[int(query)],
                [images[place] for place in others],
                similarities[row, shown].tolist(),
                names[int(query)] if names is not None else "",
                [names[place] for place in others] if names is not None else (),
                [bool(classes[place] != classes[query]) for place in others] if classes is not None else (),
            )
        )
    note = "" if classes is None else "; framed: of another label"
    return contact_sheet(sheet, f"Nearest neighbours by cosine similarity{note}")


def _title(axes: Any, text: str, name: str) -> None:
    """A line of text, and below it the last part of a path, shortened in its middle."""
    (name,), fonts = drawn([os.path.basename(name.rstrip("/"))], _SIGNS)
    lines = "\n".join(filter(None, (text, name)))
    if lines:
        # A dollar sign in a name begins no formula.
        axes.set_title(lines, fontsize=6 if name else 7, fontfamily=fonts, pad=3, parse_math=False)


def _frame(axes: Any, colour: str) -> None:
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.8)
