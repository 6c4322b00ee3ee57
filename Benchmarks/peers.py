"""Trains other methods on the images, views and encoder of study.py, judges them alike, and writes lines that
`study.py --table` reads.

    python Benchmarks/peers.py --out search.jsonl --data cifar10.npz                  # every method at four rates
    python Benchmarks/peers.py --out final.jsonl --data cifar10.npz --final --best search.jsonl --seeds 0 1 2
    python Benchmarks/peers.py --out timed.jsonl --data cifar10.npz --final --best search.jsonl --seconds 300
    python Benchmarks/study.py --table final.jsonl

SimCLR, SwAV, BYOL, DINO, Barlow Twins and VICReg with lightly's heads and losses on PyTorch. support/peer_methods.py
states each one's setting and where it was published. Of each only the learning rate is searched: without --rates at a
half, once, twice and four times the published one (0.03, 0.06, 0.12 and 0.24 for those with SGD). --option sets others,
such as simclr.temperature=0.2, or simclr.schedule=trapezoid with simclr.warmup=0.05, this library's default schedule.

The same for all, and as study.py has it: the training images and their order, the views (carl.make_views, the same
numbers for the same seed), ResNet with 3x3 stem and width factor, the batch of 128, what judges. The weights start as
PyTorch's layers do. The budget is --epochs, or --seconds of training: the speed is measured first, then the number of
steps is fixed, so that the schedule ends at about that time. Views shown are those that train; the forward passes of a
teacher are in the seconds only.

On the CPU in channels_last with as many threads as the library takes, views made by a thread ahead of the step,
bfloat16 autocast where the processor has instructions for it. Seconds hold all of that, and not evaluation; peak memory
is that of the whole process while it trains.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

try:
    import torch
except ImportError:
    raise SystemExit("this comparison needs torch: pip install torch lightly") from None

import carl
from support.arguments import positive
from support.judging import CURVE, Judge, add_judging, judge_of
from support.memory import Meter
from support.peer_methods import BATCH, METHODS, Method
from support.study_data import Data
from support.study_results import add_line, identity, is_done, read_lines, short
from support.torch_resnet import resnet
from support.torch_training import NotFinite, Precision, Views, seconds_per_step, steps_of

#: Rates tried, as multiples of the published one.
SEARCHED = (0.5, 1, 2, 4)
#: Keys of a configuration that a choice of the rate does not depend on.
LEFT_OUT = ("seed", "learning_rate")
BUDGET = ("epochs", "budget_seconds")
#: Steps at the beginning and end whose mean loss a line holds.
ENDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        metavar="NAME",
        help=f"of {', '.join(METHODS)} (default: all)",
    )
    parser.add_argument("--data", help="Fashion-MNIST's folder, or an .npz as study.py takes")
    parser.add_argument("--epochs", type=positive, default=3, help="passes over the images (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="of training instead")
    parser.add_argument("--images", type=positive, help="train on the first so many only")
    parser.add_argument("--encoder", default="resnet18", help="(default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.25, help="of the encoder (default: %(default)s)")
    parser.add_argument("--batch-size", type=positive, default=BATCH, help="images a step (default: %(default)s)")
    parser.add_argument("--views", default="auto", help="a preset of the library (default: %(default)s)")
    rates = parser.add_mutually_exclusive_group()
    factors = ", ".join(map(str, SEARCHED))
    rates.add_argument(
        "--rates", type=float, nargs="+", help=f"learning rates (default: the published one times {factors})"
    )
    rates.add_argument("--best", metavar="FILE", help="each method at the rate that did best in this file of a search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="of a method, such as simclr.temperature=0.2",
    )
    add_judging(parser)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--compile", action="store_true", help="the encoder by torch.compile, its time included")
    parser.add_argument("--out", required=True, help="a line a run is added here; runs that it has are not done again")
    arguments = parser.parse_args()
    options = parse_options(arguments.option, parser)
    torch.set_num_threads(carl.default_threads())
    data = Data(arguments.data, arguments.final, arguments.images)
    judge = judge_of(arguments, data)
    done = {identity(row) for row in read_lines(arguments.out, new=True)}
    for name in arguments.peers:
        for rate in rates_of(name, options[name], data, arguments):
            for seed in arguments.seeds:
                run = plan(name, rate, seed, options[name], data, arguments)
                if is_done(run, done):
                    continue
                print(f"{run['name']}, seed {seed}: ", end="", flush=True)
                try:
                    row = {**run, **train_and_judge(run, data, judge, arguments)}
                except (NotFinite, carl.CARLError) as error:  # the latter: features that are not finite
                    row = {**run, "error": str(error)}
                add_line(arguments.out, row)
                print(short(row), flush=True)


def parse_options(given: list[str], parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """What --option changes, for each method; a value has the type of the default."""
    found: dict[str, dict[str, Any]] = {name: {} for name in METHODS}
    for text in given:
        place, _, value = text.partition("=")
        name, _, key = place.partition(".")
        if name not in METHODS:
            parser.error(f"--option: got {text!r}, want NAME of {', '.join(METHODS)}")
        defaults = METHODS[name].defaults()
        if key not in defaults:
            parser.error(f"--option: got {text!r}, want a key of {', '.join(defaults)}")
        try:
            found[name][key] = type(defaults[key])(value)
        except ValueError:
            parser.error(f"--option: got {text!r}, want a number")
    return found


def rates_of(name: str, options: dict[str, Any], data: Data, arguments: argparse.Namespace) -> list[float]:
    if arguments.rates:
        return list(arguments.rates)
    if arguments.best:
        return [best_rate(name, options, data, arguments)]
    return [float(f"{METHODS[name].rate * arguments.batch_size / BATCH * factor:.6g}") for factor in SEARCHED]


def best_rate(name: str, options: dict[str, Any], data: Data, arguments: argparse.Namespace) -> float:
    """The rate with the best mean k-NN (k = 20) on held-out images, of a search with the same budget if there is
    one."""
    wanted = plan(name, 0.0, 0, options, data, arguments)["config"]

    def alike(row: dict[str, Any], left_out: tuple[str, ...]) -> bool:
        pair = [
            {key: value for key, value in config.items() if key not in left_out} for config in (row["config"], wanted)
        ]
        return pair[0] == pair[1]

    place = (data.name, data.digest, "held out")
    lines = read_lines(arguments.best)
    tried = [row for row in lines if (row["data"], row.get("digest", data.digest), row["split"]) == place]
    rows = [row for row in tried if alike(row, LEFT_OUT)] or [row for row in tried if alike(row, (*LEFT_OUT, *BUDGET))]
    figures: dict[float, list[float]] = {}
    for row in rows:
        # A run that failed counts as nothing.
        figures.setdefault(row["config"]["learning_rate"], []).append(row.get("knn20", 0.0))
    if not figures:
        raise SystemExit(
            f"--best: {arguments.best} has no search of {name} on {data.name} with this width, batch and options"
        )
    best = max(figures, key=lambda rate: float(np.mean(figures[rate])))
    if len(figures) > 1 and best in (min(figures), max(figures)):
        tried_rates = ", ".join(f"{rate:g}" for rate in sorted(figures))
        print(f"{name}: the best rate, {best:g}, is at an end of those tried, {tried_rates}: search on")
    return best


def plan(
    name: str, rate: float, seed: int, options: dict[str, Any], data: Data, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Everything that decides a run, as its line in the results begins."""
    method = METHODS[name]
    budget = {"budget_seconds": arguments.seconds} if arguments.seconds else {"epochs": arguments.epochs}
    config = {
        "peer": name,
        "encoder": arguments.encoder,
        "width": arguments.width,
        "batch_size": arguments.batch_size,
        "views": arguments.views,
        "learning_rate": rate,
        **method.defaults(),
        **options,
        **budget,
        "seed": seed,
    }
    if arguments.compile:
        config["compile"] = True
    changed = "".join(f", {key} {value}" for key, value in options.items())
    return {
        "name": f"{method.title} (lightly), rate {rate:g}{changed}",
        "config": config,
        "data": data.name,
        "digest": data.digest,
        "split": data.split,
        "images": len(data.train),
    }


def train_and_judge(run: dict[str, Any], data: Data, judge: Judge, arguments: argparse.Namespace) -> dict[str, Any]:
    config = run["config"]
    specs = carl.expand_views(config["views"], data.channels, data.side)
    views = Views(data.train, specs, config["batch_size"], config["seed"])
    precision, rate = Precision(arguments.precision), config["learning_rate"]
    steps = config.get("epochs", 0) * views.steps_per_epoch
    if arguments.seconds:
        steps = max(1, round(arguments.seconds / seconds_per_step(build(config, data), views, rate, precision)))
    # As study.py counts: whole epochs, though the images behind the last full batch of each are left out.
    shown = 2 * (steps * config["batch_size"] if arguments.seconds else config["epochs"] * len(data.train))
    meter = Meter()
    method = build(config, data)

    def embed(images: np.ndarray) -> np.ndarray:
        return views.embed(method.judged(), images)

    points: list[dict[str, float]] = []
    losses: list[float] = []
    marks = {steps * part // CURVE for part in range(1, CURVE)} if arguments.curve else set()
    for loss in steps_of(method, views, steps, rate, precision):
        losses.append(loss)
        if len(losses) in marks:
            meter.pause()
            points.append({"seconds": meter.seconds, "step": len(losses), "knn20": judge.quick(embed)})
            meter.go_on()
    meter.pause()
    row: dict[str, Any] = {
        "seconds": meter.seconds,
        "steps": steps,
        "peak_memory": meter.peak,
        "presentations": shown,
        "loss": [float(np.mean(losses[:ENDS])), float(np.mean(losses[-ENDS:]))],
        **judge(embed, config["seed"], assigned(method, views, data)),
        "warnings": [],
        "settings": {
            "precision": precision.name,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "views": specs,
        },
    }
    if arguments.curve:
        row["curve"] = [*points, {"seconds": meter.seconds, "step": steps, "knn20": row["knn20"]}]
    return row


def build(config: dict[str, Any], data: Data) -> Method:
    torch.manual_seed(config["seed"])
    encoder = resnet(config["encoder"], "small", config["width"], data.channels)
    method = METHODS[config["peer"]](encoder, config).to(memory_format=torch.channels_last)
    if config.get("compile"):
        method.encoder.compile()
    return method


def assigned(method: Method, views: Views, data: Data) -> np.ndarray | None:
    """The prototype of each query, where the method has them."""
    method.eval()
    with torch.no_grad():
        if method.scores(torch.zeros(2, method.encoder.features)) is None:
            return None
    return views.embed(method.judged(), data.queries, method.scores).argmax(axis=1)


if __name__ == "__main__":
    main()
