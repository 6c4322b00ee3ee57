"""Pictures of a run, by matplotlib. Each function writes one PNG file and returns its path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CARLError, InvalidArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curve(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Loss, consistency and prior by step, with log K, which a collapsed run's terms come to; below, how many prototypes are in use."""
    if not history:
        raise InvalidArgumentError("history: is empty")
    steps = [row["step"] for row in history]
    figure = _figure(8, 7)
    terms, usage = figure.subplots(2, 1, sharex=True)
    for name in ("loss", "consistency", "prior"):
        terms.plot(steps, _smooth([row[name] for row in history]), label=name, linewidth=1.3)
    terms.axhline(history[-1]["log_prototypes"], color="gray", linestyle=":", label="log K (collapse)")
    terms.set_ylabel("nats")
    terms.legend()
    for name in ("effective_prototypes", "used_prototypes"):
        usage.plot(steps, _smooth([row[name] for row in history]), label=name.replace("_", " "), linewidth=1.3)
    usage.set_ylim(bottom=0)
    usage.set_ylabel("prototypes")
    usage.set_xlabel("step")
    usage.legend()
    for axes in (terms, usage):
        axes.grid(alpha=0.3)
    return _write(figure, path)


def prototype_usage(assignments: Any, prototypes: int, path: str | os.PathLike[str]) -> Path:
    """How many images each prototype has, the busiest first."""
    counts = np.sort(np.bincount(np.asarray(assignments), minlength=prototypes))[::-1]
    figure = _figure(8, 4)
    axes = figure.subplots()
    axes.bar(np.arange(len(counts)), counts, width=1.0)
    axes.axhline(counts.mean(), color="gray", linestyle=":", label=f"uniform: {counts.mean():.0f}")
    axes.set_xlabel("prototypes, by number of images")
    axes.set_ylabel("images")
    axes.set_title(f"{np.count_nonzero(counts)} of {prototypes} prototypes have images")
    axes.legend()
    return _write(figure, path)


def prototype_gallery(
    images: Any, logits: np.ndarray, path: str | os.PathLike[str], prototypes: int = 16, nearest: int = 12
) -> Path:
    """The nearest images of some prototypes, one row each: those with most images, evenly spaced down the ranking.

    images: uint8 (N, H, W), (N, H, W, C) or a list. logits: (N, K) similarities of the images to the prototypes.
    """
    counts = np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])
    ranking = np.argsort(-counts, kind="stable")[: max(1, np.count_nonzero(counts))]
    rows = ranking[np.unique(np.linspace(0, len(ranking) - 1, min(prototypes, len(ranking))).astype(int))]
    nearest = min(nearest, len(logits))
    figure = _figure(0.62 * nearest + 1.0, 0.64 * len(rows) + 0.5)
    grid = figure.subplots(len(rows), nearest, squeeze=False)
    for row, prototype in enumerate(rows):
        order = np.argsort(-logits[:, prototype], kind="stable")[:nearest]
        for column, place in enumerate(order):
            axes = grid[row, column]
            _show(axes, np.asarray(images[int(place)]))
            if column == 0:
                axes.set_ylabel(f"{prototype}\n({counts[prototype]})", rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle("nearest images of prototypes (in brackets: images assigned)", fontsize=9)
    return _write(figure, path)


def _show(axes: Any, image: np.ndarray) -> None:
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image[..., 0]
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _smooth(values: Sequence[float]) -> np.ndarray:
    """A running mean over 1% of the steps: single batches are noisy."""
    array = np.asarray(values, float)
    window = max(1, len(array) // 100)
    sums = np.cumsum(np.insert(array, 0, 0.0))
    ends = np.arange(1, len(array) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _figure(width: float, height: float) -> Figure:
    # Figure without pyplot: no global state, no display needed.
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CARLError("plots need matplotlib: pip install 'carl[demo]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _write(figure: Figure, path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    return file
