"""Does training with bfloat16 operands go as well as training in float32? The same small network on Fashion-MNIST, the
same seed, images and steps, with each.

    python Benchmarks/studies/bf16_curve.py
    python Benchmarks/studies/bf16_curve.py --precision bf16 --json     # a processor with AVX512_BF16

Without the instructions the roundings are emulated: the curve is the same but for sums below 2^-126, the time is not.

Training magnifies any difference in rounding, so two runs part after some tens of steps, whatever the operands. Two
yardsticks say how far is far: float32 runs of two seeds (other initial weights, images and views), and float32 runs
with two numbers of threads, which differ in the order of sums alone. Then the forward error: how far features of the
network at its start and at the end of the float32 run are apart.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import loss_curves
import numpy as np
from loss_curves import LAST, difference, last_mean

import carl
from carl import demo

#: Images whose features are compared.
COMPARED = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of every run, at least 100 (default: %(default)s)")
    parser.add_argument(
        "--encoder", default="resnet50", help="most of whose layers are 1x1 convolutions (default: %(default)s)"
    )
    parser.add_argument("--width", type=float, default=0.5, help="of the encoder (default: %(default)s)")
    parser.add_argument("--size", type=int, default=14, help="pixels of the views (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="images of a step (default: %(default)s)")
    parser.add_argument("--precision", default="bf16-emulated", help="beside float32 (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=2, help="of all runs but one, which has one more or less (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the other seed is one more (default: %(default)s)")
    parser.add_argument("--data", help="folder of the four IDX files")
    parser.add_argument("--json", action="store_true", help="print one JSON object, curves included, instead of tables")
    arguments = parser.parse_args()
    if arguments.steps < 2 * LAST:
        parser.error(f"--steps: got {arguments.steps}, want at least {2 * LAST}")
    images = demo.load_fashion_mnist(arguments.data)[0]
    errors: dict[str, float] = {}
    curves = {
        "float32": train(arguments, images, errors=errors),
        arguments.precision: train(arguments, images, precision=arguments.precision),
        "float32, other threads": train(arguments, images, threads=arguments.threads - 1 or 2),
        "float32, other seed": train(arguments, images, seed=arguments.seed + 1),
    }
    result = {
        "features": errors,
        "last_mean": {name: last_mean(curve) for name, curve in curves.items()},
        "differences": {
            name: difference(curves["float32"], curve) for name, curve in curves.items() if name != "float32"
        },
    }
    if arguments.json:
        print(json.dumps({"arguments": vars(arguments), **result, "curves": curves}))
    else:
        print_result(arguments, result, curves)


def train(
    arguments: argparse.Namespace, images: np.ndarray, errors: dict[str, float] | None = None, **changes: Any
) -> list[float]:
    """Every step's loss. `errors` takes the features' relative errors at the other precision."""
    model = {key: value for key, value in demo.MODEL.items() if key != "batch_size"}
    model["views"] = [{**view, "size": arguments.size} for view in demo.VIEWS]
    model.update(
        encoder=arguments.encoder, width=arguments.width, in_channels=1, seed=arguments.seed, threads=arguments.threads
    )
    model.update(changes)
    trainer = carl.Trainer(model)
    if errors is not None:
        errors["start"] = feature_error(trainer, images, arguments.precision)
    order = np.random.default_rng(model["seed"]).permutation(len(images))
    losses = []
    for step in range(arguments.steps):
        chosen = np.take(order, range(step * arguments.batch, (step + 1) * arguments.batch), mode="wrap")
        losses.append(trainer.step(images[chosen], chosen).loss)
    if errors is not None:
        errors["end"] = feature_error(trainer, images, arguments.precision)
    return losses


def feature_error(trainer: carl.Trainer, images: np.ndarray, precision: str) -> float:
    """Of the features in evaluation mode, l2 norms over all images."""
    wanted = trainer.embed_images(images[:COMPARED])
    with carl.Trainer.from_bytes(trainer.to_bytes(), precision=precision) as other:
        got = other.embed_images(images[:COMPARED])
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def print_result(arguments: argparse.Namespace, result: dict[str, Any], curves: dict[str, list[float]]) -> None:
    print(
        f"{arguments.encoder} of width {arguments.width:g}, {arguments.batch} images a step, views of {arguments.size} "
        f"pixels, {arguments.steps} steps\n"
    )
    loss_curves.print_tables("largest distance from float32", curves, result["differences"])
    print("\nrelative error of features: " + ", ".join(f"{k} {v:.2e}" for k, v in result["features"].items()))


if __name__ == "__main__":
    main()
