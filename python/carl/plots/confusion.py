"""Which labels each prototype holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluate import confusion as confusion_table
from .figures import dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(assignments: Any, labels: Any, names: Sequence[str] | None = None) -> Figure:
    """A column a label, a row a prototype that has images: its images' shares of the labels. Rows are ordered by their
    most frequent label, so that a good clustering shows a staircase of dark blocks.

    assignments: integers (N,). labels: integers or text (N,). names: of the labels, by number.
    """
    table, prototypes, classes = confusion_table(assignments, labels)
    shares = table / table.sum(axis=1, keepdims=True)
    order = np.lexsort((-shares.max(axis=1), shares.argmax(axis=1)))
    purity = table.max(axis=1).sum() / table.sum()
    numbers = names is not None and classes.dtype.kind in "iu"
    titles = [names[int(c)] if numbers and names and 0 <= int(c) < len(names) else str(c) for c in classes]

    figure = new_figure(max(6.0, 1.8 + 0.42 * len(classes)), min(8.0, max(4.0, 1.6 + 0.14 * len(prototypes))))
    picture = figure.subplots()
    image = picture.imshow(shares[order], aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    dress(
        picture,
        f"{len(prototypes)} prototypes with images, {len(classes)} labels, purity {purity:.3f}",
        y="prototypes, by their most frequent label",
    )
    picture.grid(False)
    if len(classes) <= 60:
        picture.set_xticks(
            range(len(classes)),
            titles,
            rotation=45 if max(map(len, titles)) > 3 else 0,
            ha="right" if max(map(len, titles)) > 3 else "center",
            fontsize=8,
        )
    else:
        picture.set_xlabel(f"{len(classes)} labels", fontsize=8)
    if len(prototypes) <= 45:
        picture.set_yticks(
            range(len(prototypes)), [f"{prototypes[row]} ({table[row].sum()})" for row in order], fontsize=7
        )
    bar = figure.colorbar(image, ax=picture, pad=0.02, aspect=40)
    bar.set_label("share of the prototype's images", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
