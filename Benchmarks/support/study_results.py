"""Results of studies: a JSON line a run, their table and curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: Figures of every run, and those that some have.
JUDGED = ("knn20", "knn200", "linear", "nmi_k_means", "nmi_prototypes")
SOME = (
    "knn20_whitened",
    "knn200_whitened",
    "linear_1_percent",
    "linear_10_percent",
    "transfer_knn20",
    "transfer_knn200",
    "transfer_linear",
)


def read_lines(path: str, new: bool = False) -> list[dict[str, Any]]:
    """new: the file may be one to begin."""
    if not Path(path).exists():
        if new:
            return []
        raise SystemExit(f"{path}: there is no such file")
    return [
        json.loads(line) for line in Path(path).read_text().splitlines() if line.strip() and not line.startswith("#")
    ]


def add_line(path: str, row: dict[str, Any]) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def finished(path: str) -> set[str]:
    """What a file of results has already, ``identity`` of each run; of one that failed nothing."""
    return {identity(row) for row in read_lines(path, new=True) if "error" not in row}


def is_done(run: dict[str, Any], done: set[str]) -> bool:
    """Whether a run is among the finished ones; lines of before that have no digest are of any data of the name."""
    return identity(run) in done or identity({**run, "digest": None}) in done


def identity(run: dict[str, Any]) -> str:
    return json.dumps([run[key] for key in ("config", "data", "split", "images")] + [run.get("digest")], sort_keys=True)


def short(row: dict[str, Any]) -> str:
    if "error" in row:
        return "error: " + row["error"]
    figures = " ".join(f"{key} {row[key]:.4f}" for key in (*JUDGED, *SOME) if key in row)
    return f"{figures}, {row['seconds']:.0f} s" + "".join(f"\n    {text}" for text in row["warnings"])


def table(rows: list[dict[str, Any]]) -> str:
    """A line a configuration, mean over its seeds and sample standard deviation, the best first; columns that no run
    has are left out."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "error" not in row:
            config = {key: value for key, value in row["config"].items() if key != "seed"}
            groups.setdefault(identity({**row, "config": config}), []).append(row)
    columns = [*JUDGED, *(key for key in SOME if any(key in row for row in rows))]
    heads = ["configuration", "data", "views shown", "seeds", *columns, "seconds"]
    memory = any(row.get("peak_memory") for row in rows)
    if memory:
        heads.append("peak MB")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for group in sorted(
        groups.values(), key=lambda group: (group[0]["data"], -np.mean([row["knn20"] for row in group]))
    ):
        first = group[0]
        views = np.mean([row["presentations"] for row in group])
        cells = [first["name"], f"{first['data']}, {first['split']}", f"{views:,.0f}", str(len(group))]
        cells += [mean_and_spread([row[key] for row in group if row.get(key) is not None]) for key in columns]
        cells.append(f"{np.mean([row['seconds'] for row in group]):.0f}")
        if memory:
            peaks = [row["peak_memory"] for row in group if row.get("peak_memory")]
            cells.append(f"{max(peaks) / 1e6:.0f}" if peaks else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_and_spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{np.mean(values):.4f}" + (f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def draw(rows: list[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for row in rows:
        if "curve" in row:
            axes.plot(
                [p["seconds"] for p in row["curve"]],
                [p["knn20"] for p in row["curve"]],
                "o-",
                label=f"{row['name']}, seed {row['config']['seed']}",
            )
    axes.set(xlabel="training seconds", ylabel="k-NN accuracy, k = 20")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
