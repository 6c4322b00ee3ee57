"""Which images of a labelled set a protocol uses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _arrays
from .._classes import encode_labels
from ..errors import InvalidArgumentError
from ..sources import epoch_order


def labelled_split(
    labels: Any, *, fraction: float | None = None, per_class: int | None = None, seed: int = 0, balanced: bool = True
) -> np.ndarray:
    """Places of a random part of a labelled set, int64, in order.

    labels: (N,), integers or text. Exactly one of
    fraction: share of the N images, above 0 and at most 1; 1 is all of them.
    per_class: images of each class.
    balanced: every class gets the same number, round(fraction N / classes); a class that has fewer is an error. False
        keeps the classes' proportions instead: round(fraction n) of the n images of a class.
    seed: decides which images. Of one seed, a smaller part is contained in each larger one.
    """
    classes, targets = encode_labels(labels, "labels")
    return split_targets(classes, targets, fraction=fraction, per_class=per_class, seed=seed, balanced=balanced)


def split_targets(
    classes: np.ndarray,
    targets: np.ndarray,
    *,
    fraction: float | None,
    per_class: int | None,
    seed: int,
    balanced: bool,
) -> np.ndarray:
    """``labelled_split`` of labels that are encoded already."""
    if (fraction is None) == (per_class is None):
        raise InvalidArgumentError("want either a fraction of the labels or a number of labels per class, not both")
    seed = _arrays.integer(seed, "seed", 0, 2**53)
    counts = np.bincount(targets, minlength=len(classes))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise InvalidArgumentError(f"labels: class {classes[empty[0]].item()!r} has no image")
    if fraction is not None:
        fraction = _arrays.real(fraction, "label_fraction", 0.0, above=True)
        if fraction > 1:
            raise InvalidArgumentError(f"label_fraction: got {fraction}, want a share above 0 and at most 1")
        if fraction == 1:
            return np.arange(len(targets))
        shares = np.full(len(classes), len(targets) / len(classes)) if balanced else counts.astype(np.float64)
        wanted = np.round(fraction * shares).astype(np.int64)
        none = np.flatnonzero(wanted == 0)
        if len(none):
            raise InvalidArgumentError(
                f"label_fraction: {fraction} of {len(targets)} images leaves class {classes[none[0]].item()!r} "
                f"({counts[none[0]]} images) no sample: take a larger share, such as "
                f"{min(1.0, math.ceil(100 / shares.min()) / 100)}, or labels_per_class"
            )
    else:
        wanted = np.full(len(classes), _arrays.integer(per_class, "labels_per_class", 1, 2**31 - 1))
    few = np.flatnonzero(counts < wanted)
    if len(few):
        hint = ", or balanced=False" if fraction is not None else ""
        raise InvalidArgumentError(
            f"class {classes[few[0]].item()!r} has {counts[few[0]]} images, the split takes {wanted[few[0]]} of each "
            f"class: take fewer{hint}"
        )
    # The first of a random order of all images: a larger part of the same seed goes on where a smaller one stops.
    order = epoch_order(len(targets), seed, 0)
    chosen = [order[targets[order] == place][:number] for place, number in enumerate(wanted)]
    return np.sort(np.concatenate(chosen))
