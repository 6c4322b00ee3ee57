"""The demonstration: CARL on Fashion-MNIST, without its labels, judged by k-NN and clustering with them."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import evaluate, plots
from ._early_views import without_early_views
from ._fit import trainer_config
from ._judged import checkpoint_facts, note_picture
from ._writing import make_folder, replace_file
from .budget import duration_text, parse_duration
from .errors import FileError, InvalidArgumentError
from .estimator import CARL
from .runs import RunFolder, refuse_if_in_use
from .sources import ArraySource, read_idx
from .trainer import Trainer

#: Views for these images, which are small, gray and centred: larger crops than for photos, strong changes of brightness
#: and contrast, no blur. Tuned on held-out images.
VIEWS: list[dict[str, Any]] = [
    {"size": 28, "scale": [0.5, 1.0], "jitter": [0.9, 0.9, 0.0, 0.0], "mean": [0.5], "std": [0.25], "count": 2}
]
#: What is trained: a small encoder, and the library's defaults for all else.
MODEL: dict[str, Any] = {
    "encoder": "resnet18",
    "stem": "small",
    "width": 0.25,
    "batch_size": 128,
    "seed": 0,
    "views": VIEWS,
}
#: How many images, how long, and sizes of the labelled reference set of the evaluation. The time of the full one leaves
#: two of eight minutes to the evaluation on a slow machine.
BUDGETS: dict[str, dict[str, Any]] = {
    "full": {"images": 60_000, "length": {"budget": "6m"}, "references": (10_000, 60_000)},
    "quick": {"images": 10_000, "length": {"epochs": 2}, "references": (10_000,)},
}
#: Of the k-NN evaluation.
NEIGHBOURS = 20
TEMPERATURE = 0.07
#: Iterations of L-BFGS for the linear probe, which is on the smaller set of labelled references.
PROBE_ITERATIONS = 100

#: In the folder of a demonstration from its beginning, which tells it from other runs.
_RESULTS = "results.json"
FOLDER = "/usr/share/datasets/fashion-mnist"
PACKAGE = "dataset-fashion-mnist"


def load_fashion_mnist(folder: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, ...]:
    """Training images (60000, 28, 28), training labels, test images (10000, 28, 28), test labels."""
    place = Path(folder or FOLDER)
    arrays = []
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        file = next((f for f in (place / f"{name}.gz", place / name) if f.is_file()), None)
        if file is None:
            raise FileError(
                f"Fashion-MNIST is not in {place}: {name}.gz is missing. On Debian and Ubuntu install it with "
                f"`apt install {PACKAGE}`, or name its folder with --data"
            )
        arrays.append(read_idx(file))
    return tuple(arrays)


def run(
    out: str | os.PathLike[str] = "runs/demo",
    *,
    quick: bool = False,
    data: str | os.PathLike[str] | None = None,
    overrides: dict[str, Any] | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains, evaluates, prints a table, and writes pictures and results.json below `out`. Returns the results.

    quick: about two minutes on two processors in place of about eight. overrides: parameters of ``carl.CARL`` to
    change.
    """
    started = time.perf_counter()
    train_x, train_y, test_x, test_y = load_fashion_mnist(data)
    budget = BUDGETS["quick" if quick else "full"]
    folder = Path(out).expanduser()
    _refuse_other_runs(folder)
    overrides = overrides or {}
    length = {} if overrides.keys() & {"epochs", "total_steps", "budget"} else budget["length"]
    params = {**MODEL, **length, **overrides, "run_dir": folder, "progress": progress}
    model = CARL().set_params(**params)
    images = train_x[: budget["images"]]
    Trainer(trainer_config(model, ArraySource(images))).close()  # errors before anything is removed
    results: dict[str, Any] = {
        "images": len(images),
        "parameters": _plain(params),
        "knn": {},
        "knn_whitened": {},
        "linear": {},
    }
    if model.budget is not None:
        until = f"for {duration_text(parse_duration(model.budget))}"
    elif model.total_steps is not None:
        until = f"{model.total_steps} steps"
    else:
        until = f"{model.epochs} epochs"
    say(f"Fashion-MNIST: training on {len(images)} images without labels, {until}")

    sizes = budget["references"]
    references, labels = train_x[: max(sizes)], train_y[: max(sizes)]

    def judge(name: str, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        train_features, test_features = embed(references), embed(test_x)
        fewest = min(sizes)
        with warnings.catch_warnings():
            # A probe that is stopped early says so: all three are stopped alike.
            warnings.simplefilter("ignore")
            probe = evaluate.linear_probe(
                None,
                train_features[:fewest],
                labels[:fewest],
                test_features,
                test_y,
                method="logistic",
                max_iterations=PROBE_ITERATIONS,
            )
        results["linear"][name] = probe.accuracy
        for key, whiten in (("knn", False), ("knn_whitened", True)):
            results[key][name] = {
                str(size): evaluate.knn(
                    train_features[:size], labels[:size], test_features, test_y, NEIGHBOURS, TEMPERATURE, whiten=whiten
                ).accuracy
                for size in sizes
            }

    judge("raw pixels", _pixels)
    with _untrained(model, images) as trainer:
        judge("untrained encoder", trainer.embed_images)
    trained_at = time.perf_counter()
    with _in_place_of_the_last(folder, results):
        model.fit(images)
    results["training_seconds"] = time.perf_counter() - trained_at
    judge("trained encoder", model.transform)

    logits = model.transform(test_x, "logits")
    assignments = logits.argmax(axis=1)
    results["clustering"] = evaluate.cluster(assignments, test_y).to_dict()
    last = model.history_[-1]
    results["last_step"] = last.to_dict()
    pictures = [
        plots.save(figure, folder / "plots" / f"{name}.png")
        for name, figure in (
            ("curves", plots.curves(model.history_, vars(model.config_))),
            ("counts", plots.counts(assignments, logits.shape[1])),
            ("gallery", plots.gallery(test_x, logits)),
        )
    ]
    checkpoint = checkpoint_facts(folder)
    for picture in pictures:
        note_picture(folder, picture, checkpoint)
    results["checkpoint"] = checkpoint
    results["seconds"] = time.perf_counter() - started
    replace_file(folder / _RESULTS, json.dumps(results, indent=2) + "\n")
    say(_table(results, logits.shape[1]))
    if quick:
        say("A run as short as this may not beat raw pixels: it shows that all works. `carl demo` trains longer.")
    say("written: " + ", ".join(str(file) for file in [*pictures, folder / _RESULTS]))
    return results


@contextmanager
def _in_place_of_the_last(folder: Path, results: dict[str, Any]) -> Iterator[None]:
    """What an earlier demonstration has left there makes room, and comes back if this one does not begin to train."""
    files = [RunFolder(folder).checkpoint, folder / "metrics.jsonl", folder / _RESULTS]
    aside = {file: file.with_name(f"{file.name}.before") for file in files if file.exists()}
    for file, place in aside.items():
        file.replace(place)
    make_folder(folder)
    replace_file(folder / _RESULTS, json.dumps(results, indent=2) + "\n")
    try:
        yield
    except BaseException:
        if not files[0].exists() and not (files[1].exists() and files[1].stat().st_size):
            files[2].unlink()
            for file, place in aside.items():
                place.replace(file)
        raise
    finally:
        for place in aside.values():
            place.unlink(missing_ok=True)


def _refuse_other_runs(folder: Path) -> None:
    """InvalidArgumentError for a folder with the run of another program."""
    refuse_if_in_use(folder)
    checkpoint = RunFolder(folder).checkpoint
    if checkpoint.exists() and not (folder / _RESULTS).is_file():
        raise InvalidArgumentError(
            f"{folder} holds a run that is no demonstration ({checkpoint}): choose another folder, or remove this one"
        )


def _untrained(model: CARL, images: np.ndarray) -> Trainer:
    """The model that ``fit`` would begin with, but for BatchNorm's running statistics, which are taken from the images:
    with those of initialisation the comparison would flatter training."""
    config = without_early_views(trainer_config(model, ArraySource(images)))
    config = config.replace(learning_rate=0.0, weight_decay=0.0, total_steps=None)
    trainer = Trainer(config)
    for start in range(0, min(len(images), 20 * 64) - 63, 64):
        trainer.step(images[start : start + 64])
    return trainer


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in params.items()}


def _table(results: dict[str, Any], prototypes: int) -> str:
    clustering, last = results["clustering"], results["last_step"]
    sizes = results["knn"]["raw pixels"]
    counts = "".join(f"{int(size):>10,}" for size in sizes)
    wide = 10 * len(sizes)
    lines = [
        "",
        f"accuracy on 10,000 test images: k-NN (cosine, k = {NEIGHBOURS}, temperature {TEMPERATURE}) by the number of "
        "labelled references,",
        f"on plain and on whitened features, and a linear layer (logistic regression, {PROBE_ITERATIONS} iterations of "
        "L-BFGS)",
        f"  {'':<22}{'k-NN':>{wide}}{'whitened':>{wide}}{'linear':>10}",
        f"  {'labels':<22}{counts}{counts}{min(map(int, sizes)):>10,}",
    ]
    for name, accuracy in results["knn"].items():
        shares = [*accuracy.values(), *results["knn_whitened"][name].values(), results["linear"][name]]
        lines.append(f"  {name:<22}" + "".join(f"{share:>10.4f}" for share in shares))
    lines += [
        "",
        f"clustering of the test images by {prototypes} prototypes, against 10 labels",
        f"  NMI {clustering['nmi']:.4f}, ARI {clustering['ari']:.4f}",
        f"  accuracy {clustering['purity']:.4f} (each prototype takes its most frequent label), "
        f"{clustering['accuracy']:.4f} (one prototype a label)",
        f"  {clustering['clusters']} prototypes have images; effective prototypes in the last step "
        f"{last['effective_prototypes']:.1f}, collapse: {'no' if last['collapsed'] == 0 else 'YES'}",
        "",
        f"training {last['step']:,} steps in {results['training_seconds']:.0f} s, all {results['seconds']:.0f} s",
    ]
    return "\n".join(lines)
