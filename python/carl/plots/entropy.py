"""How sharp and how balanced the assignments are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgumentError
from .figures import COLOURS, GRAY, dress, legend_below, line, new_figure, series, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def entropy(
    history: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]] = (), probabilities: Any = None
) -> Figure:
    """Entropy of the mean assignment (high: all prototypes take part) and mean entropy of single assignments (low: each
    image has its prototype), in nats, by step. A healthy run has a wide gap between the two.

    history: metrics of each step. records: of a fixed sample, from ``carl.runs.read_usage``; without them only the
    first of the two curves can be drawn. probabilities: (N, K), whose entropies are shown as a histogram on the right.
    """
    if not len(history):
        raise InvalidArgumentError("history: is empty: no step has been taken")
    figure = new_figure(9, 3.8)
    if probabilities is None:
        over_time, spread = figure.subplots(), None
    else:
        over_time, spread = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_assignment = np.log(series(history, "effective_prototypes"))
    line(over_time, series(history, "step"), list(mean_assignment), COLOURS[0], "of the mean assignment, each batch")
    if len(records):
        steps = series(records, "step")
        over_time.plot(
            steps,
            series(records, "mean_assignment_entropy"),
            "o--",
            color=COLOURS[0],
            markersize=3,
            linewidth=1,
            label="of the mean assignment, the sample",
        )
        over_time.plot(
            steps,
            series(records, "assignment_entropy"),
            "o-",
            color=COLOURS[1],
            markersize=3,
            label="of single assignments, the sample",
        )
    most = series(history, "log_prototypes")[-1]
    if np.isfinite(most):
        over_time.axhline(most, color=GRAY, linestyle=":", linewidth=1.2, label="log K")
    dress(over_time, "Entropy of assignments", "step", "nats")
    whole_numbers(over_time.xaxis)
    over_time.set_ylim(bottom=0)
    legend_below(over_time)
    if spread is not None:
        values = np.asarray(probabilities, float)
        if values.ndim != 2 or len(values) == 0:
            raise InvalidArgumentError(f"probabilities: got shape {values.shape}, want (N, K) with N of at least 1")
        each = -(values * np.log(np.where(values > 0, values, 1.0))).sum(axis=1)
        spread.hist(each, bins=40, orientation="horizontal", color=COLOURS[1])
        dress(spread, f"Now, {len(values):,} images", "images")
        whole_numbers(spread.xaxis)
    return figure
