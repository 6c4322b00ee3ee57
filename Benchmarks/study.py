"""Trains a list of configurations at a stated budget, judges what they learnt, writes a line a run, and goes on where
it was stopped.

    python Benchmarks/study.py RUNS.jsonl --out study.jsonl                               # Fashion-MNIST, to search
    python Benchmarks/study.py RUNS.jsonl --data cifar10.npz --out study.jsonl
    python Benchmarks/study.py RUNS.jsonl --data cifar10.npz --final --out final.jsonl    # figures to report
    python Benchmarks/study.py --table study.jsonl [--curves study.png]                   # what is there so far

RUNS.jsonl: a JSON object a line: {"name": ..., "config": {parameters of carl.CARL}, "seeds": [0, 1, 2]}. A line without
"seeds" has seed 0; an "epochs" in its config replaces --epochs. Lines that begin with # are left out.

The budget is --epochs (passes over the images) or --presentations (views shown, so that four views an image take half
the images of two). Without --final a fifth of the training images is set apart: they are not trained on, and judge; the
test images are not touched. With --final all training images are trained on and the test images judge. Search with the
first, report the second.

Judged on the encoder's features of one view without augmentation: k-NN (cosine, T 0.07) with 20 and 200 neighbours, a
linear layer by L-BFGS (scikit-learn's LogisticRegression on standardised features), and NMI of k-means with as many
clusters as classes and of the prototypes. --labels adds a linear layer on 1% and 10% of the labels, --transfer k-NN and
a linear layer on another data set, made to fit the encoder's channels and size.

Benchmarks/peers.py writes lines of the same form for other methods; one file, or several joined, makes one table.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import carl
from support.arguments import positive
from support.judging import CURVE, Judge, add_judging, judge_of
from support.memory import Meter
from support.study_data import Data
from support.study_results import add_line, draw, finished, is_done, read_lines, short, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", help="the configurations, JSON lines")
    parser.add_argument(
        "--data", help="Fashion-MNIST's folder, or an .npz with train_images, train_labels, test_images, test_labels"
    )
    parser.add_argument("--epochs", type=positive, default=3, help="passes over the images (default: %(default)s)")
    parser.add_argument("--presentations", type=positive, help="views shown instead, such as 120000")
    parser.add_argument("--images", type=positive, help="train on the first so many only")
    parser.add_argument(
        "--width", type=float, help="of the encoder, where a configuration does not say (default: 0.25)", default=0.25
    )
    add_judging(parser)
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
    judge = judge_of(arguments, data)
    done = finished(arguments.out)
    failed = False
    for line in read_lines(arguments.runs):
        for seed in line.get("seeds", [0]):
            run = plan(line, seed, data, arguments)
            if is_done(run, done):
                print(f"{run['name']}, seed {seed}: is in {arguments.out} already")
                continue
            print(f"{run['name']}, seed {seed}: ", end="", flush=True)
            try:
                row = {**run, **train_and_judge(run, data, judge, arguments.curve)}
            except carl.CARLError as error:
                row, failed = {**run, "error": str(error)}, True
            add_line(arguments.out, row)
            print(short(row), flush=True)
    if failed:
        raise SystemExit(1)


def plan(line: dict[str, Any], seed: int, data: Data, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that decides a run, as its line in the results begins."""
    config = {"width": arguments.width, "batch_size": 128, **line["config"], "seed": seed}
    views = sum(spec["count"] for spec in carl.expand_views(config.get("views", "auto"), data.channels, data.side))
    if "epochs" not in config:
        wanted = arguments.presentations / (views * len(data.train)) if arguments.presentations else arguments.epochs
        config["epochs"] = max(1, round(wanted))
        if abs(config["epochs"] - wanted) > 0.01 * wanted:
            warnings.warn(f"{line['name']}: {wanted:.2f} epochs rounded to {config['epochs']}", stacklevel=2)
    return {
        "name": line["name"],
        "config": config,
        "data": data.name,
        "digest": data.digest,
        "split": data.split,
        "images": len(data.train),
        "presentations": config["epochs"] * views * len(data.train),
    }


def train_and_judge(run: dict[str, Any], data: Data, judge: Judge, curve: bool) -> dict[str, Any]:
    warned: list[str] = []
    points: list[dict[str, float]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        meter = Meter()
        watch = Watch(judge, meter, run, len(data.train), points) if curve else None
        model = carl.CARL(**run["config"], progress=False, callbacks=[watch] if watch else None).fit(data.train)
        meter.pause()
        warned = sorted({str(each.message)[:200] for each in caught if issubclass(each.category, carl.CARLWarning)})
    last = model.history_[-1]
    row: dict[str, Any] = {"seconds": meter.seconds, "steps": len(model.history_), "peak_memory": meter.peak}
    row.update(judge(model.transform, run["config"]["seed"], model.predict(data.queries)))
    row["diagnostics"] = {
        key: getattr(last, key)
        for key in (
            "consistency",
            "prior",
            "contrast",
            "effective_prototypes",
            "assigned_prototypes",
            "max_probability",
            "agreement",
            "embedding_std",
            "collapsed",
        )
    }
    row["warnings"] = warned
    if curve:
        row["curve"] = [*points, {"seconds": meter.seconds, "step": len(model.history_), "knn20": row["knn20"]}]
    return row


class Watch(carl.Callback):
    """k-NN at some points of a run."""

    def __init__(
        self, judge: Judge, meter: Meter, run: dict[str, Any], images: int, points: list[dict[str, float]]
    ) -> None:
        self.judge, self.meter, self.points = judge, meter, points
        steps = run["config"]["epochs"] * (images // run["config"]["batch_size"])
        self.steps = {steps * part // CURVE for part in range(1, CURVE)}

    def on_step(self, model: carl.CARL, metrics: carl.Metrics) -> None:
        if metrics.step not in self.steps:
            return
        self.meter.pause()
        self.points.append(
            {"seconds": self.meter.seconds, "step": metrics.step, "knn20": self.judge.quick(model.transform)}
        )
        self.meter.go_on()


if __name__ == "__main__":
    main()
