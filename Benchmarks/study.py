"""Trains a list of configurations at a stated budget, judges what they learnt, writes a line a run, and goes on where it was stopped.

    python Benchmarks/study.py RUNS.jsonl --out study.jsonl                               # Fashion-MNIST, to search
    python Benchmarks/study.py RUNS.jsonl --data cifar10.npz --out study.jsonl
    python Benchmarks/study.py RUNS.jsonl --data cifar10.npz --final --out final.jsonl    # figures to report
    python Benchmarks/study.py --table study.jsonl [--curves study.png]                   # what is there so far

RUNS.jsonl: a JSON object a line: {"name": ..., "config": {parameters of carl.CARL}, "seeds": [0, 1, 2]}. A line without "seeds" has seed 0; an
"epochs" in its config replaces --epochs. Lines that begin with # are left out.

The budget is --epochs (passes over the images) or --presentations (views shown, so that four views an image take half the images of two).
Without --final a fifth of the training images is set apart: they are not trained on, and judge; the test images are not touched. With --final all
training images are trained on and the test images judge. Search with the first, report the second.

Judged on the encoder's features of one view without augmentation: k-NN (cosine, T 0.07) with 20 and 200 neighbours, a linear layer by L-BFGS
(scikit-learn's LogisticRegression on standardised features), and NMI of k-means with as many clusters as classes and of the prototypes.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import carl
from carl import demo, evaluate

#: Share of the training images that judge a search.
HELD_OUT = 0.2
#: Points of a run's curve of k-NN over time.
CURVE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", help="the configurations, JSON lines")
    parser.add_argument("--data", help="Fashion-MNIST's folder, or an .npz with train_images, train_labels, test_images, test_labels")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the images (default: %(default)s)")
    parser.add_argument("--presentations", type=int, help="views shown instead, such as 120000")
    parser.add_argument("--images", type=int, help="train on the first so many only")
    parser.add_argument("--width", type=float, help="of the encoder, where a configuration does not say (default: 0.25)", default=0.25)
    parser.add_argument("--final", action="store_true", help="train on all training images, judge by the test images")
    parser.add_argument("--curve", action="store_true", help=f"k-NN at {CURVE} points of each run, not counted in its seconds")
    parser.add_argument("--out", help="a line a run is added here; runs that it has are not done again")
    parser.add_argument("--table", metavar="FILE", help="print what an --out file holds, and stop")
    parser.add_argument("--curves", metavar="PICTURE", help="with --table: draw k-NN over training seconds")
    arguments = parser.parse_args()
    if arguments.table:
        rows = read_lines(arguments.table)
        print(table(rows))
        if arguments.curves:
            draw(rows, arguments.curves)
        return
    if not arguments.runs or not arguments.out:
        parser.error("wants RUNS.jsonl and --out, or --table")
    data = Data(arguments.data, arguments.final, arguments.images)
    done = {identity(row) for row in read_lines(arguments.out)}
    for line in read_lines(arguments.runs):
        for seed in line.get("seeds", [0]):
            run = plan(line, seed, data, arguments)
            if identity(run) in done:
                continue
            print(f"{run['name']}, seed {seed}: ", end="", flush=True)
            try:
                row = {**run, **train_and_judge(run, data, arguments.curve)}
            except carl.CARLError as error:
                row = {**run, "error": str(error)}
            with open(arguments.out, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(short(row), flush=True)


class Data:
    """What is trained on, and the labelled images that judge."""

    def __init__(self, place: str | None, final: bool, limit: int | None) -> None:
        if place and place.endswith(".npz"):
            with np.load(place) as file:
                parts = [file[key] for key in ("train_images", "train_labels", "test_images", "test_labels")]
            self.name = Path(place).stem
        else:
            parts = list(demo.load_fashion_mnist(place))
            self.name = "fashion-mnist"
        images, labels, test, truth = (np.ascontiguousarray(part) for part in parts)
        order = np.random.default_rng(0).permutation(len(images))  # files may be sorted by class
        images, labels = images[order], labels[order]
        self.split = "test" if final else "held out"
        if not final:
            kept = len(images) - round(HELD_OUT * len(images))
            images, test, labels, truth = images[:kept], images[kept:], labels[:kept], labels[kept:]
        self.train = images[:limit]
        self.references, self.labels = images, labels
        self.queries, self.truth = test, truth


def plan(line: dict[str, Any], seed: int, data: Data, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that decides a run, as its line in the results begins."""
    config = {"width": arguments.width, "batch_size": 128, **line["config"], "seed": seed}
    channels = 1 if data.train.ndim == 3 else data.train.shape[3]
    views = sum(spec["count"] for spec in carl.expand_views(config.get("views", "auto"), channels, int(data.train.shape[1])))
    if "epochs" not in config:
        wanted = arguments.presentations / (views * len(data.train)) if arguments.presentations else arguments.epochs
        config["epochs"] = max(1, round(wanted))
        if abs(config["epochs"] - wanted) > 0.01 * wanted:
            warnings.warn(f"{line['name']}: {wanted:.2f} epochs rounded to {config['epochs']}", stacklevel=2)
    return {"name": line["name"], "config": config, "data": data.name, "split": data.split, "images": len(data.train),
            "presentations": config["epochs"] * views * len(data.train)}


def identity(run: dict[str, Any]) -> str:
    return json.dumps([run[key] for key in ("config", "data", "split", "images")], sort_keys=True)


def train_and_judge(run: dict[str, Any], data: Data, curve: bool) -> dict[str, Any]:
    warned: list[str] = []
    points: list[dict[str, float]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch = Watch(data, run, points) if curve else None
        started = time.perf_counter()
        model = carl.CARL(**run["config"], progress=False, callbacks=[watch] if watch else None).fit(data.train)
        seconds = time.perf_counter() - started - (watch.spent if watch else 0)
        warned = sorted({str(each.message)[:200] for each in caught if issubclass(each.category, carl.CARLWarning)})
    last = model.history_[-1]
    row: dict[str, Any] = {"seconds": seconds, "steps": len(model.history_), **judge(model, data)}
    row["diagnostics"] = {
        key: getattr(last, key)
        for key in ("consistency", "prior", "effective_prototypes", "max_probability", "agreement", "embedding_std", "used_prototypes")
    }
    row["warnings"] = warned
    if curve:
        row["curve"] = [*points, {"seconds": seconds, "step": len(model.history_), "knn20": row["knn20"]}]
    return row


def judge(model: carl.CARL, data: Data) -> dict[str, float]:
    references, queries = model.transform(data.references), model.transform(data.queries)
    near = evaluate.knn(references, data.labels, queries, data.truth, [20, 200]).accuracies
    linear = evaluate.linear_probe(
        None, references, data.labels, queries, data.truth, method="logistic", max_iterations=200, progress=False
    ).accuracy
    return {
        "knn20": near[20], "knn200": near[200], "linear": linear,
        "nmi_k_means": evaluate.cluster(queries, data.truth).nmi,
        "nmi_prototypes": evaluate.cluster(model.predict(data.queries), data.truth).nmi,
    }


class Watch(carl.Callback):
    """k-NN at some points of a run."""

    def __init__(self, data: Data, run: dict[str, Any], points: list[dict[str, float]]) -> None:
        self.data, self.points, self.spent = data, points, 0.0
        steps = run["config"]["epochs"] * (len(data.train) // run["config"]["batch_size"])
        self.steps = {steps * part // CURVE for part in range(1, CURVE)}
        self.started = time.perf_counter()

    def on_step_end(self, model: carl.CARL, metrics: carl.Metrics) -> None:
        if metrics.step not in self.steps:
            return
        start = time.perf_counter()
        found = evaluate.knn(
            model.transform(self.data.references), self.data.labels, model.transform(self.data.queries), self.data.truth, 20
        ).accuracy
        self.points.append({"seconds": start - self.started - self.spent, "step": metrics.step, "knn20": found or 0.0})
        self.spent += time.perf_counter() - start


# ---- Results


def read_lines(path: str) -> list[dict[str, Any]]:
    if not Path(path).exists():
        return []
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip() and not line.startswith("#")]


JUDGED = ("knn20", "knn200", "linear", "nmi_k_means", "nmi_prototypes")


def short(row: dict[str, Any]) -> str:
    if "error" in row:
        return "error: " + row["error"]
    figures = " ".join(f"{key} {row[key]:.4f}" for key in JUDGED)
    return f"{figures}, {row['seconds']:.0f} s" + "".join(f"\n    {text}" for text in row["warnings"])


def table(rows: list[dict[str, Any]]) -> str:
    """A line a configuration, mean over its seeds and sample standard deviation, the best first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "error" not in row:
            config = {key: value for key, value in row["config"].items() if key != "seed"}
            groups.setdefault(identity({**row, "config": config}), []).append(row)
    lines = ["| configuration | data | views shown | seeds | " + " | ".join(JUDGED) + " | seconds |", "|---" * (len(JUDGED) + 5) + "|"]
    for group in sorted(groups.values(), key=lambda group: (group[0]["data"], -np.mean([row["knn20"] for row in group]))):
        cells = []
        for key in JUDGED:
            values = [row[key] for row in group]
            spread = f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        first = group[0]
        lines.append(
            f"| {first['name']} | {first['data']}, {first['split']} | {first['presentations']:,} | {len(group)} | "
            + " | ".join(cells) + f" | {np.mean([row['seconds'] for row in group]):.0f} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for row in rows:
        if "curve" in row:
            axes.plot([p["seconds"] for p in row["curve"]], [p["knn20"] for p in row["curve"]], "o-",
                      label=f"{row['name']}, seed {row['config']['seed']}")
    axes.set(xlabel="training seconds", ylabel="k-NN accuracy, k = 20")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
