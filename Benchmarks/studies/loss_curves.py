"""How far the losses of two runs part, and the tables that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Steps over which the final loss is averaged.
LAST = 50


def last_mean(curve: Sequence[float]) -> float:
    return float(np.mean(curve[-LAST:]))


def difference(one: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """The largest distance of the losses in the first 1, 10, 50 and all steps, and that of their last means."""
    distance = np.abs(np.subtract(one, other))
    return {
        "largest": {str(count): float(distance[:count].max()) for count in (1, 10, 50, len(one))},
        "last_mean": abs(last_mean(one) - last_mean(other)),
    }


def print_tables(title: str, curves: Mapping[str, Sequence[float]], differences: Mapping[str, dict[str, Any]]) -> None:
    """Mean losses of each run, then a row for each difference. title: of the differences."""
    print(f"{'mean loss of the steps':<32}{'first 10':>12}{f'last {LAST}':>12}")
    for name, curve in curves.items():
        print(f"{name:<32}{np.mean(curve[:10]):>12.5f}{last_mean(curve):>12.5f}")
    counts = list(next(iter(differences.values()))["largest"])
    print(f"\n{title:<32}" + "".join(f"{f'first {count}':>12}" for count in counts) + f"{f'mean, last {LAST}':>16}")
    for name, row in differences.items():
        largest = "".join(f"{row['largest'][count]:>12.2e}" for count in counts)
        print(f"{name:<32}{largest}{row['last_mean']:>16.2e}")
