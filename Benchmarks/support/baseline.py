"""Ratios of an earlier run on the same kind of processor, to see what a change has made slower."""

import json
import os
import re

from .processor import describe

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "baselines")


def standard_path():
    return os.path.join(FOLDER, re.sub(r"[^a-z0-9]+", "-", describe().lower()).strip("-") + ".json")


def key(row):
    return f"{row['program']}: {row['work']}" + (f", {row['peer']}" if "peer" in row else "")


def write(path, rows, quick):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    kept = {
        key(row): {name: row[name] for name in ("carl", "unit", "theirs", "ratio") if row.get(name) is not None}
        for row in rows
    }
    with open(path, "w") as file:
        json.dump({"processor": describe(), "quick": quick, "rows": kept}, file, indent=1)
        file.write("\n")


def read(path):
    with open(path) as file:
        found = json.load(file)
    if not isinstance(found, dict) or not {"quick", "rows"} <= found.keys():
        raise ValueError("it has no rows")
    return found


def compare(baseline, rows, tolerance):
    """Lines of a table, and the rows whose ratio to the peer fell by more than the tolerance, a share. Without a peer
    CARL's own figure counts, which says less: another day's machine is another machine."""
    lines, fell = [], []
    known = baseline["rows"]
    width = max((len(key(row)) for row in rows), default=4) + 2
    lines.append(f"{'row':<{width}}{'before':>10}{'now':>10}{'change':>9}")
    for row in rows:
        before = known.get(key(row))
        if before is None:
            lines.append(f"{key(row):<{width}}{'new':>10}")
            continue
        if row.get("ratio") is not None and before.get("ratio"):
            old, new, unit = before["ratio"], row["ratio"], "x"
            change = new / old - 1
        else:
            old, new, unit = before["carl"], row["carl"], f" {row['unit']}"
            change = old / new - 1 if new > 0 else 0.0
        mark = ""
        if change < -tolerance and row.get("ratio") is not None:
            mark = "  slower"
            fell.append(key(row))
        lines.append(f"{key(row):<{width}}{old:>9.3g}{unit}{new:>9.3g}{unit}{change:>+8.0%}{mark}")
    gone = [name for name in known if name not in {key(row) for row in rows}]
    lines += [f"{name:<{width}}{'not run':>10}" for name in gone]
    return lines, fell
