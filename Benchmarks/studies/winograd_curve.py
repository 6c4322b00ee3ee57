"""Does training by Winograd's algorithm, which rounds differently, go as well as training by direct convolutions? The
same small network on Fashion-MNIST, the same seed, images and steps, once each way; every run is a process of its own.

    python Benchmarks/studies/winograd_curve.py
    python Benchmarks/studies/winograd_curve.py --width 0.5 --json

Training magnifies any difference in rounding, so two runs part after some tens of steps, whatever the method. Two
yardsticks say how far is far: direct runs of two seeds (other initial weights, images and views), and runs by
Winograd's algorithm with two numbers of threads, which differ in the order of sums alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import loss_curves
import numpy as np
from loss_curves import LAST, difference, last_mean

Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of every run, at least 100 (default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.25, help="of the ResNet-18 (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="of all runs but one, which has one thread more or less (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the other seed is one more (default: %(default)s)")
    parser.add_argument("--data", help="folder of the four IDX files")
    parser.add_argument("--json", action="store_true", help="print one JSON object, curves included, instead of tables")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 2 * LAST:
        parser.error(f"--steps: got {arguments.steps}, want at least {2 * LAST}")
    if arguments.run:
        print(json.dumps(train(arguments)))
        return
    others = arguments.threads - 1 or 2
    runs = {
        "winograd": started(arguments, winograd=True),
        "direct": started(arguments, winograd=False),
        "winograd, other threads": started(arguments, winograd=True, threads=others),
        "direct, other seed": started(arguments, winograd=False, seed=arguments.seed + 1),
    }
    result = compared(runs)
    if arguments.json:
        print(json.dumps({"arguments": vars(arguments), **result, "runs": runs}))
    else:
        print_result(arguments, result, runs)


def started(arguments: argparse.Namespace, *, winograd: bool, **changes: int) -> Run:
    """A run in a process of its own, because the method is chosen once a process."""
    values = {**vars(arguments), **changes}
    command = [sys.executable, __file__, "--run"]
    for key in ("steps", "width", "batch", "threads", "seed"):
        command += [f"--{key}", str(values[key])]
    if arguments.data:
        command += ["--data", arguments.data]
    environment = {**os.environ, "CARL_WINOGRAD": str(int(winograd))}
    run = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    if bool(run["winograd_layers"]) != winograd:
        raise SystemExit(
            f"want {'some' if winograd else 'no'} convolutions by Winograd's algorithm, got {run['winograd_layers']}"
        )
    return run


def train(arguments: argparse.Namespace) -> Run:
    """Every step's loss, and how many convolutions of a step, gradients included, went by Winograd's algorithm."""
    import carl
    from carl import demo

    images = demo.load_fashion_mnist(arguments.data)[0]
    model = {key: value for key, value in demo.MODEL.items() if key != "batch_size"}
    model.update(width=arguments.width, in_channels=1, seed=arguments.seed, threads=arguments.threads)
    trainer = carl.Trainer(model)
    order = np.random.default_rng(arguments.seed).permutation(len(images))
    trainer.start_profile()
    losses = []
    for step in range(arguments.steps):
        chosen = np.take(order, range(step * arguments.batch, (step + 1) * arguments.batch), mode="wrap")
        losses.append(trainer.step(images[chosen], chosen).loss)
    rows = [row for row in trainer.profile() if row.get("method")]
    return {
        "losses": losses,
        "winograd_layers": sum(row["method"] == "winograd" for row in rows),
        "convolutions": len(rows),
    }


def compared(runs: dict[str, Run]) -> dict[str, Any]:
    curves = {name: run["losses"] for name, run in runs.items()}

    def apart(one: str, other: str) -> dict[str, Any]:
        return difference(curves[one], curves[other])

    differences = {
        "winograd - direct": apart("winograd", "direct"),
        "winograd, numbers of threads": apart("winograd", "winograd, other threads"),
        "direct, seeds": apart("direct", "direct, other seed"),
    }
    ours = differences["winograd - direct"]["last_mean"]
    return {
        "differences": differences,
        "last_mean": {name: last_mean(curve) for name, curve in curves.items()},
        "ratio_to_seeds": ours / differences["direct, seeds"]["last_mean"],
        "ratio_to_threads": ours / differences["winograd, numbers of threads"]["last_mean"],
    }


def print_result(arguments: argparse.Namespace, result: dict[str, Any], runs: dict[str, Run]) -> None:
    run = runs["winograd"]
    print(
        f"ResNet-18 of width {arguments.width:g}, {arguments.batch} images a step, {arguments.steps} steps; "
        f"{run['winograd_layers']} of {run['convolutions']} convolutions and gradients by Winograd's algorithm, in the "
        "direct runs none\n"
    )
    curves = {name: run["losses"] for name, run in runs.items()}
    loss_curves.print_tables("largest difference of the loss", curves, result["differences"])
    print(
        f"\nwinograd - direct, mean of the last {LAST}: {result['ratio_to_seeds']:.3f} of the difference between "
        "seeds, "
        f"{result['ratio_to_threads']:.3f} of that between numbers of threads"
    )


if __name__ == "__main__":
    main()
