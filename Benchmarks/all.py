"""Runs every comparison in turn and prints one table of ratios.

    python Benchmarks/all.py [--quick] [--json] [--save [FILE]] [--compare [FILE]]

Each program runs by itself with this interpreter. One whose peer is not installed is left out and named at the end; one
that fails is named too, the others still run, and the exit status is 1. A "ratio" is how many times the peer takes of
CARL's time or memory: above 1, CARL needs less. --json prints the ratios and everything that the programs found.
--save keeps the ratios as this kind of processor's baseline, --compare shows what has changed since, and ends with
status 1 where a ratio fell by more than --tolerance. Without a FILE it is Benchmarks/baselines/PROCESSOR.json.
"""

import argparse
import json
import os
import subprocess
import sys

from support import baseline
from support.interleaved import is_own, like

FOLDER = os.path.dirname(os.path.abspath(__file__))


# ---- What each program found, as rows for the table


def line(work, peer, ours, theirs, unit, **more):
    """A row in which less is better; `ours` and `theirs` in `unit`."""
    return {
        "work": work,
        "peer": peer,
        "carl": ours,
        "theirs": theirs,
        "unit": unit,
        "ratio": theirs / ours if ours > 0 else None,
        **more,
    }


def seconds_and_memory(work, seconds, memory, **more):
    """Rows of each peer in `seconds` and in `memory`, dicts by program, beside CARL's of the same precision; CARL's own
    time where there is no peer."""
    rows = beside(work, seconds, "s", **more) or [{"work": work, "carl": seconds["carl"], "unit": "s", **more}]
    held = {program: size / 1e6 for program, size in memory.items() if size is not None}
    return rows + (beside(f"{work}: memory", held, "MB") if "carl" in held else [])


def beside(work, found, unit, **more):
    return [
        line(work, peer, found[like(peer, found)], theirs, unit, **more)
        for peer, theirs in found.items()
        if not is_own(peer)
    ]


def train_step(found):
    rows = []
    for work, row in found["rows"].items():
        speed = {
            "operations_per_second": row["operations_per_second"]["carl"],
            "share_of_peak": row["share_of_peak"]["carl"],
        }
        rows += seconds_and_memory(work, row["seconds"], found["memory_bytes"].get(work, {}), **speed)
    return rows


def assignment(found):
    rows = []
    for work, row in found["rows"].items():
        rows += seconds_and_memory(f"objective, {work}", row["seconds"], row.get("bytes", {}))
    return rows


def embedding(found):
    rows = []
    for work, row in found["rows"].items():
        rows += seconds_and_memory(work, row["seconds"], {})
    return rows


def views(found):
    return [
        line(f"view {work}, one core", "torchvision", 1 / row["carl"], 1 / row["torchvision"], "s")
        for work, row in found.items()
    ]


def knn(found):
    work = f"k-NN, {found['references']} x {found['queries']}, k = {found['k']}"
    best = {name: min(times) for name, times in found["seconds"].items()}
    speed = {"operations_per_second": 2 * found["references"] * found["queries"] * found["dimension"] / best["carl"]}
    return seconds_and_memory(work, best, found["memory"], **speed)


def import_time(found):
    return seconds_and_memory("import, warm", found["seconds"], {})


def data_wait(found):
    """No peer: shares of the time and seconds by themselves."""
    rows = []
    for row in found["training"]:
        cached = ", cached" if row["cache"] else ""
        rows.append(
            {
                "work": f"waiting for images, views of {row['view_size']}{cached}",
                "carl": row["data_wait"],
                "unit": "share",
            }
        )
    large = found["large"]
    for key, how in (("kept", "kept in memory"), ("not_kept", "decoded again")):
        rows.append({"work": f"a later epoch of large photos, {how}", "carl": min(large[key][1:]), "unit": "s"})
    mapped = found["mapped"]
    return [
        *rows,
        {
            "work": f"first views of {mapped['images']:,} mapped images",
            "carl": mapped["seconds_to_first_views"],
            "unit": "s",
        },
    ]


PROGRAMS = [train_step, embedding, assignment, views, knn, import_time, data_wait]


# ---- Running them


def run(name, options):
    """What the program found, or None; and its remarks: peers that it does without, or why it stopped."""
    command = [sys.executable, os.path.join(FOLDER, f"{name}.py"), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    remarks = [text for text in done.stderr.splitlines() if text.strip()]
    if done.returncode == 0:
        return json.loads(done.stdout), [text for text in remarks if text.startswith("without ")]
    return None, remarks[-1:] or [f"exit status {done.returncode}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="smaller and fewer: minutes instead of half an hour and more"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for action, text in (("save", "keep the ratios as a baseline"), ("compare", "show changes since a baseline")):
        parser.add_argument(f"--{action}", nargs="?", const=baseline.standard_path(), metavar="FILE", help=text)
    parser.add_argument(
        "--tolerance", type=float, default=0.15, metavar="SHARE", help="by which a ratio may fall (default: 0.15)"
    )
    options = parser.parse_args()
    try:
        before = baseline.read(options.compare) if options.compare else None
    except (OSError, ValueError) as error:
        parser.error(f"--compare: {options.compare} is no baseline ({error}); --save makes one")
    if before is not None and before["quick"] != options.quick:
        parser.error(f"{options.compare} was made {'with' if before['quick'] else 'without'} --quick")
    passed_on = ["--quick"] if options.quick else []
    results, rows, skipped, failed = {}, [], [], []
    for program in PROGRAMS:
        name = program.__name__
        print(f"{name} ...", file=sys.stderr, flush=True)
        found, remarks = run(name, passed_on)
        if found is not None:
            results[name] = found
            rows += [{"program": name, **row} for row in program(found)]
        missing = found is not None or remarks[0].startswith("this comparison needs")
        (skipped if missing else failed).extend(f"{name}: {remark}" for remark in remarks)
    if options.json:
        print(json.dumps({"rows": rows, "skipped": skipped, "failed": failed, "programs": results}))
    else:
        table(rows, skipped, failed)
    if options.save:
        baseline.write(options.save, rows, options.quick)
    fell = []
    if before is not None:
        lines, fell = baseline.compare(before, rows, options.tolerance)
        # Standard output may be JSON.
        print("\n" + "\n".join(lines), file=sys.stderr if options.json else sys.stdout)
    if failed or fell:
        raise SystemExit(1)


def number(value, unit):
    if unit == "share":
        return f"{value:.2%}"
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.4g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def table(rows, skipped, failed):
    width = max((len(row["work"]) for row in rows), default=4) + 2
    print(f"{'work':<{width}}{'peer':<28}{'carl':>12}{'peer':>12}{'ratio':>9}{'GFLOP/s':>10}{'of peak':>9}")
    for row in rows:
        theirs = number(row["theirs"], row["unit"]) if "peer" in row else ""
        ratio = f"{row['ratio']:.2f}x" if row.get("ratio") is not None else ""
        ours = number(row["carl"], row["unit"])
        text = f"{row['work']:<{width}}{row.get('peer', ''):<28}{ours:>12}{theirs:>12}{ratio:>9}"
        if "operations_per_second" in row:
            text += f"{row['operations_per_second'] / 1e9:>10.1f}"
        if "share_of_peak" in row:
            text += f"{row['share_of_peak']:>9.0%}"
        print(text.rstrip())
    for title, names in (("left out for want of a peer", skipped), ("failed", failed)):
        if names:
            print(f"\n{title}:")
            for name in names:
                print(f"  {name}")


if __name__ == "__main__":
    main()
