"""Which labels each prototype holds, and which classes a classifier gives images of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._array_like import label_values
from ..errors import InvalidArgumentError
from ..evaluate import confusion as confusion_table
from .figures import dress, new_figure
from .names import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a picture at most: 60 labels still have room for their names.
_WIDEST = 14.0


def confusion(assignments: Any, labels: Any, names: Sequence[str] | None = None) -> Figure:
    """A column a label, a row a prototype that has images: its images' shares of the labels. Rows are ordered by their
    most frequent label, so that a good clustering shows a staircase of dark blocks.

    assignments: integers (N,). labels: integers or text (N,). names: of the labels, by number.
    """
    table, prototypes, classes = confusion_table(assignments, labels)
    shares = table / table.sum(axis=1, keepdims=True)
    order = np.lexsort((-shares.max(axis=1), shares.argmax(axis=1)))
    purity = table.max(axis=1).sum() / table.sum()
    known = names if names is not None and classes.dtype.kind in "iu" else ()
    titles, fonts = drawn(str(known[int(c)]) if len(known) and 0 <= int(c) < len(known) else str(c) for c in classes)

    width = min(_WIDEST, max(6.0, 1.8 + 0.42 * len(classes)))
    figure = new_figure(width, min(8.0, max(4.0, 1.6 + 0.14 * len(prototypes))))
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
            fontfamily=fonts,
            parse_math=False,
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


def class_confusion(predicted: Any, labels: Any) -> Figure:
    """What a classifier makes of each class: a row a label, a column a predicted class, the shares of the row's images.
    A good classifier has a dark diagonal.

    predicted, labels: whole numbers, bools or text (N,), text against text.
    """
    guessed, truth = label_values(predicted, "predicted"), label_values(labels, "labels")
    if guessed.ndim != 1 or truth.shape != guessed.shape or len(truth) == 0:
        raise InvalidArgumentError(f"predicted: got shape {guessed.shape}, labels {truth.shape}, want (N,) of both")
    kinds = guessed.dtype.kind, truth.dtype.kind
    if not set(kinds) <= set("iubU"):
        raise InvalidArgumentError(f"predicted: got {guessed.dtype}, labels {truth.dtype}, want whole numbers or text")
    if kinds[0] != kinds[1]:
        if "U" in kinds:
            raise InvalidArgumentError(
                f"predicted: got classes such as {guessed[0].item()!r}, labels has such as {truth[0].item()!r}"
            )
        guessed, truth = guessed.astype(np.int64), truth.astype(np.int64)
    guessed, truth = guessed.astype(str), truth.astype(str)
    classes = np.unique(np.concatenate([guessed, truth]))
    if all(name.isdecimal() for name in classes):
        classes = classes[np.argsort(classes.astype(int))]
    place = {name: number for number, name in enumerate(classes.tolist())}
    table = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(table, ([place[name] for name in truth.tolist()], [place[name] for name in guessed.tolist()]), 1)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)

    side = min(9.0, max(4.5, 2.4 + 0.42 * len(classes)))
    figure = new_figure(side + 0.9, side)
    picture = figure.subplots()
    image = picture.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    right = float(np.mean(guessed == truth))
    dress(picture, f"{len(truth)} images, accuracy {right:.3f}", x="predicted", y="label")
    picture.grid(False)
    if len(classes) <= 40:
        titles, fonts = drawn(classes.tolist())
        turned = max(map(len, titles)) > 3
        look: dict[str, Any] = {"fontsize": 8, "fontfamily": fonts, "parse_math": False}
        picture.set_xticks(
            range(len(classes)), titles, rotation=45 if turned else 0, ha="right" if turned else "center", **look
        )
        picture.set_yticks(range(len(classes)), titles, **look)
    else:
        picture.set_xticks([])
        picture.set_yticks([])
    if len(classes) <= 20:
        for row, column in np.argwhere(table):
            colour = "white" if shares[row, column] > 0.6 else "black"
            picture.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=picture, pad=0.02, aspect=40)
    bar.set_label("share of the label's images", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
