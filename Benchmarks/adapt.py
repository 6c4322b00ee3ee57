"""What adapting to one's own images is worth: pretrains on one data set, and adapts to another one without labels.

    python Benchmarks/adapt.py --out adapt.jsonl [--seeds 0 1 2] [--images 4000] [--pretrain-epochs 30] [--epochs 20]
    python Benchmarks/adapt.py --out search.jsonl --held-out --way fast '{"weights": true, "learning_rate": 0.4}'
    python Benchmarks/adapt.py --table adapt.jsonl

For each seed an encoder (ResNet-18, --width) is trained on the training images of --data, an .npz as study.py takes
it, and exported as a weights file by torchvision's names. The second set is Fashion-MNIST (--second), --images of its
training images, converted to the first one's channels and size. Then, all on the second set:

before       k-NN on the features of the weights file, without any training there
adapted      carl.CARL(weights=file), trained without labels for --epochs
last blocks  the same with train_encoder=2
scratch      the same network, views, batch and epochs from random weights, at the library's own learning rate

and raw pixels. --way adds one: a name, and its keys of carl.CARL as a JSON object, where "weights": true stands for the
file; null in place of the object leaves a way out. --views are those of all ways without "views" among their keys.

k-NN (k = 20, T = 0.07) has the adaptation's images with their labels as references and --queries of the test images,
with --held-out of training images that are set apart; the same on whitened features. Labels are used there alone. A
line of JSON a run is added to --out, and runs that it has are not done again. --pretrained FOLDER keeps the weights
files, and takes those that it has.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import carl
from carl.evaluate import Whitening, knn, pixel_features
from carl.export import export_model
from support.arguments import positive
from support.study_data import FASHION_MNIST, Data, convert
from support.study_results import add_line, read_lines

#: Where the first data set is looked for.
SUBSET = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10_subset.npz"
Ways = dict[str, dict[str, Any]]
#: Ways to train on the second set: what differs between them.
WAYS: Ways = {"adapted": {"weights": True}, "last blocks": {"weights": True, "train_encoder": 2}, "scratch": {}}


@dataclasses.dataclass
class Second:
    """The images to adapt to, and labelled ones that judge."""

    images: np.ndarray
    labels: np.ndarray
    queries: np.ndarray
    truth: np.ndarray

    def judge(self, embed: Any) -> dict[str, float]:
        references, queries = embed(self.images), embed(self.queries)
        whitening = Whitening().fit(references)
        return {
            "knn": self._accuracy(references, queries),
            "whitened": self._accuracy(whitening.transform(references), whitening.transform(queries)),
        }

    def _accuracy(self, references: np.ndarray, queries: np.ndarray) -> float:
        return float(knn(references, self.labels, queries, self.truth, [20], 0.07).accuracies[20])


def second_set(options: argparse.Namespace, first: Data) -> Second:
    data = Data(None if options.second == FASHION_MNIST else options.second, not options.held_out, options.images)
    chosen = [data.train, data.queries[: options.queries]]
    images, queries = (convert(part, first.channels, first.side) for part in chosen)
    return Second(images, data.labels[: len(images)], queries, data.truth[: len(queries)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SUBSET), help="the first set (default: %(default)s)")
    parser.add_argument("--second", default=FASHION_MNIST, help="the second set (default: %(default)s)")
    parser.add_argument("--width", type=float, default=0.5, help="of the encoder (default: %(default)s)")
    parser.add_argument("--pretrain-images", type=positive, help="of the first set (default: all)")
    parser.add_argument("--pretrain-epochs", type=positive, default=30, help="(default: %(default)s)")
    parser.add_argument("--images", type=positive, default=4000, help="of the second set (default: %(default)s)")
    parser.add_argument("--queries", type=positive, default=2000, help="images that judge (default: %(default)s)")
    parser.add_argument("--held-out", action="store_true", help="training images judge, not the test images: to search")
    parser.add_argument("--epochs", type=positive, default=20, help="on the second set (default: %(default)s)")
    parser.add_argument("--views", type=json.loads, help="on the second set, JSON: a preset's name or a list")
    parser.add_argument(
        "--way", nargs=2, action="append", default=[], metavar=("NAME", "JSON"), help="one more way, or another one"
    )
    parser.add_argument("--pretrained", metavar="FOLDER", help="where weights files are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", help="where lines are added")
    parser.add_argument("--table", metavar="FILE", help="print the table of a file and do nothing else")
    options = parser.parse_args()
    if options.table:
        table(read_lines(options.table))
        return
    if not options.out:
        parser.error("want --out FILE, or --table FILE")
    ways = {**WAYS, **{name: json.loads(keys) for name, keys in options.way}}
    ways = {name: keys for name, keys in ways.items() if keys is not None}
    first = Data(options.data, True, options.pretrain_images)
    second = second_set(options, first)
    keys = ("width", "pretrain_images", "pretrain_epochs", "images", "queries", "held_out", "epochs", "views")
    setting = {"data": first.name, "second": options.second, **{key: getattr(options, key) for key in keys}}
    setting["ways"] = ways
    done = {(row["seed"], str(row["setting"])) for row in read_lines(options.out, new=True)}
    for seed in options.seeds:
        if (seed, str(setting)) not in done:
            row = {"seed": seed, "setting": setting, **measure(options, ways, first, second, seed)}
            add_line(options.out, row)
            print(f"seed {seed}: {row['found']}", flush=True)
    table(read_lines(options.out))


def measure(options: argparse.Namespace, ways: Ways, first: Data, second: Second, seed: int) -> dict[str, Any]:
    """Accuracies, and the seconds of each training."""
    pixels = pixel_features
    found = {"raw pixels": second.judge(lambda images: pixels(images, second.images.shape[1]))}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        limit = "" if options.pretrain_images is None else f"-{options.pretrain_images}"
        name = f"{first.name}{limit}-width{options.width}-epochs{options.pretrain_epochs}-seed{seed}.safetensors"
        file = Path(options.pretrained or folder) / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            keys = {"width": options.width, "epochs": options.pretrain_epochs}
            model, seconds["pretraining"] = trained(first.train, seed, keys)
            export_model(model, file)
            model.trainer_.close()
        with carl.Encoder.from_weights(file) as encoder:
            found["before"] = second.judge(encoder.transform)
        for name, way in ways.items():
            keys = {"epochs": options.epochs, "views": options.views, **way}
            keys.update({"weights": file} if keys.pop("weights", False) else {"width": options.width})
            model, seconds[name] = trained(second.images, seed, keys)
            found[name] = second.judge(model.transform)
            model.trainer_.close()
    return {"found": found, "seconds": seconds}


def trained(images: np.ndarray, seed: int, keys: dict[str, Any]) -> tuple[carl.CARL, float]:
    start = time.perf_counter()
    model = carl.CARL(seed=seed, progress=False, **keys).fit(images)
    return model, time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> None:
    """Mean and sample standard deviation over the seeds of each setting."""
    for setting in dict.fromkeys(str(row["setting"]) for row in rows):
        same = [row for row in rows if str(row["setting"]) == setting]
        print(f"{setting}\nseeds {', '.join(str(row['seed']) for row in same)}")
        print(f"{'':<16}{'k-NN':>8}{'+-':>8}{'whitened':>10}{'+-':>8}{'seconds':>10}")
        for name in same[0]["found"]:
            line = f"{name:<16}"
            for figure, wide in (("knn", 8), ("whitened", 10)):
                values = [row["found"][name][figure] for row in same]
                line += f"{np.mean(values):>{wide}.4f}"
                line += f"{np.std(values, ddof=1):>8.4f}" if len(values) > 1 else f"{'':>8}"
            took = [row["seconds"][name] for row in same if name in row["seconds"]]
            print(line + (f"{np.mean(took):>10.1f}" if took else ""))


if __name__ == "__main__":
    main()
