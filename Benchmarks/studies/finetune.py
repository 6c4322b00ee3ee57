"""Does CARL help where labels are few? The same small network on Fashion-MNIST with 600 labels (60 of each class),
fine-tuned after CARL and from scratch, and a linear layer on the frozen encoder, trained by CARL and untrained, with
all labels.

    python Benchmarks/studies/finetune.py                                    # trains CARL first, as `carl demo` does
    python Benchmarks/studies/finetune.py --checkpoint runs/demo             # ... or not
    python Benchmarks/studies/finetune.py --checkpoint runs/demo --out finetune.json

Both ways have the same images, number of steps, schedule, augmentation, smoothing and batch size. The learning rate of
each is the best of one grid, measured with a seed of its own on 5,000 training images that no training sees the labels
of. Then every seed draws its own 600 labels and starts anew; accuracies are those on the 10,000 test images, mean and
sample standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import carl
from carl import demo, evaluate

RATES = (0.005, 0.02, 0.08, 0.3)
PROBE_RATES = (0.02, 0.1, 0.5)
#: Of the grid; none of the reported ones.
GRID_SEED = 1000
HELD_OUT = 5_000
#: Labelled images of the linear probe's grid.
PROBE_GRID = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a model trained on Fashion-MNIST without labels; default: trained here")
    parser.add_argument("--pretraining-epochs", type=int, default=3)
    parser.add_argument(
        "--per-class", type=int, default=60, help="labels of each class (default: %(default)s, 1%% of all)"
    )
    parser.add_argument("--epochs", type=int, default=60, help="of fine-tuning (default: %(default)s)")
    parser.add_argument(
        "--probe-epochs", type=int, default=3, help="of the linear probe, on all labels (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", help="folder of the four IDX files")
    parser.add_argument("--out", help="a JSON file for all figures")
    arguments = parser.parse_args()
    images, labels, test, truth = demo.load_fashion_mnist(arguments.data)
    model = carl.load(arguments.checkpoint) if arguments.checkpoint else pretrain(images, arguments.pretraining_epochs)
    train, held_out = slice(0, len(images) - HELD_OUT), slice(len(images) - HELD_OUT, None)
    to_choose = (images[train], labels[train], images[held_out], labels[held_out])
    to_choose_probe = (images[:PROBE_GRID], labels[:PROBE_GRID], *to_choose[2:])
    to_report = (images[train], labels[train], test, truth)
    results: dict[str, Any] = {"seeds": arguments.seeds, "pretraining_steps": model.trainer_.step_count}

    def report(name: str, protocol: Any, rates: tuple[float, ...], choose: tuple[Any, ...]) -> None:
        start = time.perf_counter()
        grid = {rate: protocol(choose, GRID_SEED, rate).accuracy for rate in rates}
        rate = max(grid, key=lambda each: grid[each])
        result = protocol(to_report, arguments.seeds, rate)
        results[name] = {"grid": grid, "learning_rate": rate, **result.to_dict()}
        print(
            f"{name:<34} {result.accuracy:.4f} +- {result.std:.4f}   "
            f"({', '.join(f'{share:.4f}' for share in result.accuracies)}; rate {rate} of "
            f"{', '.join(f'{each}: {share:.4f}' for each, share in grid.items())}; {time.perf_counter() - start:.0f} "
            "s)",
            flush=True,
        )

    def few_labels(from_scratch: bool) -> Any:
        return lambda data, seeds, rate: evaluate.finetune(
            model,
            *data,
            labels_per_class=arguments.per_class,
            seeds=seeds,
            epochs=arguments.epochs,
            learning_rate=rate,
            from_scratch=from_scratch,
            progress=False,
        )

    def probe(encoder: Any) -> Any:
        return lambda data, seeds, rate: evaluate.linear_probe(
            encoder, *data, seeds=seeds, epochs=arguments.probe_epochs, learning_rate=rate, progress=False
        )

    print(f"accuracy on {len(test)} test images, {10 * arguments.per_class} labels, seeds {arguments.seeds}")
    report("fine-tuned after CARL", few_labels(False), RATES, to_choose)
    report("from scratch", few_labels(True), RATES, to_choose)
    print(f"linear layer on the frozen encoder, {len(images[train])} labels")
    report("linear probe after CARL", probe(model), PROBE_RATES, to_choose_probe)
    with demo._untrained(model, images) as untrained:
        report("linear probe, untrained encoder", probe(untrained), PROBE_RATES, to_choose_probe)
    gap = results["fine-tuned after CARL"]["accuracy"] - results["from scratch"]["accuracy"]
    print(f"fine-tuned after CARL less from scratch: {100 * gap:+.2f} points")
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            file.write(json.dumps(results, indent=2) + "\n")


def pretrain(images: Any, epochs: int) -> carl.CARL:
    print(f"training CARL on {len(images)} images without labels, {epochs} epochs", flush=True)
    start = time.perf_counter()
    model = carl.CARL(**{**demo.MODEL, "epochs": epochs, "progress": False}).fit(images)
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return model


if __name__ == "__main__":
    main()
