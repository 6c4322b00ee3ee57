"""How training went, step by step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgumentError
from .figures import COLOURS, GRAY, dress, legend, line, new_figure, series, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(
    history: Sequence[Mapping[str, Any]] | str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    evaluations: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Loss and its terms, prototypes in use, confidence and agreement, spread of the embedding, learning rate and
    speed, by step; and the accuracies on labelled images, if there were evaluations.

    history: metrics of each step, as ``CARL.history_`` or ``carl.runs.read_metrics`` give them; or the path of a run's
        folder, of which config and evaluations are taken too where they are not given.
    config: the configuration, which adds the number of prototypes and the healthy spread, 1/sqrt(D), for comparison.
    evaluations: as ``CARL.evaluations_`` or ``carl.runs.read_evaluations`` give them.
    """
    if isinstance(history, (str, os.PathLike)):
        from ..runs import read_config, read_evaluations, read_metrics, run_folder

        folder = run_folder(history)
        config = read_config(folder) if config is None else config
        return _drawn(read_metrics(folder), config, evaluations or read_evaluations(folder))
    if not _are_rows(history):
        raise InvalidArgumentError(
            f"history: got {type(history).__name__}, want the metrics of each step, as CARL.history_ or "
            "carl.runs.read_metrics give them, or the path of a run's folder"
        )
    return _drawn(history, config, evaluations)


def _are_rows(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(row, Mapping) for row in value[:1])


def _drawn(
    history: Sequence[Mapping[str, Any]], config: Mapping[str, Any] | None, evaluations: Sequence[Mapping[str, Any]]
) -> Figure:
    if not len(history):
        raise InvalidArgumentError("history: is empty: no step has been taken")
    config = config or {}
    steps = series(history, "step")
    rows = 4 if len(evaluations) else 3
    figure = new_figure(13, 2.55 * rows)
    grid = figure.subplots(rows, 2, sharex=True)

    def panel(place: tuple[int, int], title: str, names: Mapping[str, str], unit: str | None = None) -> Any:
        axes = grid[place]
        for (name, label), colour in zip(names.items(), COLOURS):
            values = series(history, name)
            if np.isfinite(values).any():  # runs of earlier versions lack some
                line(axes, steps, values, colour, label)
        dress(axes, title, y=unit)
        return axes

    names = {"loss": "loss", "consistency": "consistency", "prior": "prior"}
    if np.nan_to_num(series(history, "contrast")).any():
        names["contrast"] = "contrast between images"
    terms = panel((0, 0), "Loss and its terms", names, "nats")
    collapse = series(history, "log_prototypes")[-1]
    if np.isfinite(collapse):
        terms.axhline(collapse, color=GRAY, linestyle=":", linewidth=1.2, label="log K: collapsed")
    legend(terms)

    used = panel(
        (0, 1),
        "Prototypes in use",
        {
            "effective_prototypes": "effective, this batch",
            "used_prototypes": "used lately",
            "assigned_prototypes": "most probable ones, spread",
        },
    )
    if config.get("prototypes"):
        used.axhline(
            config["prototypes"], color=GRAY, linestyle=":", linewidth=1.2, label=f"K = {config['prototypes']}"
        )
    used.set_ylim(bottom=0)
    legend(used)

    sure = panel(
        (1, 0),
        "Confidence and agreement of views",
        {"max_probability": "largest probability", "agreement": "agreement"},
    )
    sure.set_ylim(0, 1)
    legend(sure)

    spread = panel((1, 1), "Spread of the embedding", {"embedding_std": "standard deviation"})
    if config.get("projector"):
        healthy = config["projector"][-1] ** -0.5
        spread.axhline(healthy, color=GRAY, linestyle=":", linewidth=1.2, label="1/√D: evenly spread")
    spread.set_ylim(bottom=0)
    legend(spread)

    panel((2, 0), "Learning rate", {"learning_rate": "learning rate"}).set_ylim(bottom=0)
    panel((2, 1), "Speed", {"views_per_second": "views per second"}, "views/s").set_ylim(bottom=0)
    if len(evaluations):
        _judged(figure, grid, evaluations)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=8)
    whole_numbers(grid[0, 0].xaxis)  # which the others share
    return figure


def _judged(figure: Figure, grid: Any, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Accuracies over the whole width of the last row."""
    for axes in grid[-1]:
        axes.remove()
    axes = figure.add_subplot(grid[0, 0].get_gridspec()[-1, :], sharex=grid[0, 0])
    grid[-1, 0] = grid[-1, 1] = axes
    for axes_above in grid[-2]:
        axes_above.tick_params(labelbottom=True)
    places = series(evaluations, "step")
    for (name, label), colour in zip({"knn": "k-NN", "linear": "linear probe"}.items(), COLOURS):
        values = series(evaluations, name)
        axes.plot(places, values, "o-", color=colour, markersize=3, linewidth=1.5, label=f"{label}: {values[-1]:.3f}")
    pixels = series(evaluations, "raw_pixels")[-1]
    if np.isfinite(pixels):
        axes.axhline(pixels, color=GRAY, linestyle=":", linewidth=1.2, label=f"k-NN of raw pixels: {pixels:.3f}")
    dress(axes, "Accuracy on labelled images", y="accuracy")
    legend(axes)
