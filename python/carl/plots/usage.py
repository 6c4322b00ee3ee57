"""Which prototypes are used, over time and in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgumentError
from .figures import COLOURS, GRAY, dress, legend_below, new_figure, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Rows of the picture: more prototypes share rows.
_MOST_ROWS = 240


def usage(records: Sequence[Mapping[str, Any]], prototypes: int | None = None) -> Figure:
    """How the images of a fixed sample spread over the prototypes while training goes on.

    Above, a row a prototype, the busiest at the top, dark where it has many of the sample's images. Below, the share of
    the sample that changed its prototype since the record before, and the share of the prototypes in use.

    records: what ``carl.runs.read_usage`` gives: step, and the prototype of each image of the sample.
    prototypes: K; without it, the largest number seen.
    """
    if not len(records):
        raise InvalidArgumentError("records: is empty: no usage was recorded")
    try:
        table = np.asarray([record["assignments"] for record in records])
        steps = np.asarray([record["step"] for record in records], float)
        whole = table.ndim == 2 and table.size > 0 and table.dtype.kind in "iu"
    except (KeyError, TypeError, ValueError):
        whole = False
    total = int(prototypes or (table.max() + 1 if whole else 1))
    if not whole or table.min() < 0 or table.max() >= total:
        raise InvalidArgumentError(f"records: want, in each, as many assignments, all from 0 to {total - 1}")
    # Prototypes that never had an image take no part, and no memory.
    met, places = np.unique(table, return_inverse=True)
    amounts = np.stack([np.bincount(row, minlength=len(met)) for row in places.reshape(table.shape)], axis=1)
    # By their images in the last third of the records, then by all: rows that went empty sink.
    late = amounts[:, -max(1, len(steps) // 3) :].sum(axis=1)
    order = np.lexsort((-amounts.sum(axis=1), -late))
    per_row = -(-len(met) // _MOST_ROWS)
    rows = np.add.reduceat(amounts[order], np.arange(0, len(met), per_row), axis=0)

    figure = new_figure(9, 6.4)
    from matplotlib.colors import PowerNorm

    picture, shares = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    most = max(float(np.quantile(rows[rows > 0], 0.99)) / table.shape[1], 1 / table.shape[1])
    mesh = picture.pcolormesh(
        _edges(steps),
        np.arange(len(rows) + 1) * per_row,
        np.ma.masked_equal(rows, 0) / table.shape[1],
        cmap="magma_r",
        norm=PowerNorm(0.5, 0, most),
        rasterized=True,  # square-root scale: a count of one must be visible next to a hundred
    )
    bar = figure.colorbar(mesh, ax=picture, pad=0.01, extend="max")
    bar.set_label("share of the sample's images", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    dress(
        picture,
        f"{len(met)} of {total} prototypes ever had one of the {table.shape[1]} images of the sample",
        y="prototypes, busiest at the top",
    )
    picture.grid(False)
    whole_numbers(picture.yaxis)
    whole_numbers(picture.xaxis)
    picture.invert_yaxis()

    shares.plot(
        steps,
        np.count_nonzero(amounts, axis=0) / total,
        "o-",
        color=COLOURS[0],
        markersize=3,
        clip_on=False,
        label="prototypes in use",
    )
    if len(steps) > 1:
        changed = (table[1:] != table[:-1]).mean(axis=1)
        shares.plot(
            steps[1:],
            changed,
            "o-",
            color=COLOURS[1],
            markersize=3,
            clip_on=False,
            label="images that changed prototype",
        )
    dress(shares, x="step", y="share")
    shares.set_ylim(0, 1.02)
    legend_below(shares)
    return figure


def counts(assignments: Any, prototypes: int, what: str = "prototypes") -> Figure:
    """How many images each prototype has, the busiest first.

    assignments: integers (N,), as of ``CARL.predict``. what: they are, in words, such as "classes".
    """
    found = np.asarray(assignments)
    if (
        found.ndim != 1
        or len(found) == 0
        or found.dtype.kind not in "iu"
        or found.min() < 0
        or found.max() >= prototypes
    ):
        raise InvalidArgumentError(f"assignments: want integers (N,) from 0 to {prototypes - 1}, at least one")
    amounts = np.sort(np.bincount(found, minlength=prototypes))[::-1]
    figure = new_figure(8, 3.6)
    axes = figure.subplots()
    axes.fill_between(np.arange(prototypes + 1), np.append(amounts, 0), step="post", color=COLOURS[0], linewidth=0)
    axes.axhline(amounts.mean(), color=GRAY, linestyle=":", label=f"evenly spread: {amounts.mean():.1f}")
    dress(
        axes,
        f"{np.count_nonzero(amounts)} of {prototypes} {what} have images ({len(found):,} images)",
        f"{what}, the busiest first",
        "images",
    )
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    axes.set_xlim(0, prototypes)
    axes.set_ylim(bottom=0)
    legend_below(axes)
    return figure


def _edges(steps: np.ndarray) -> np.ndarray:
    """Edges of columns around the steps."""
    if len(steps) == 1:
        return np.asarray([steps[0] - 0.5, steps[0] + 0.5])
    middles = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[steps[0]], middles, [steps[-1]]])
