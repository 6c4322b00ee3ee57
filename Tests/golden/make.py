"""Writes the golden files: a checkpoint and a classifier of a format version, and what they must give.

Run once for each version of the file format, by the library that introduced it; later libraries have to read what lies
here.

    python Tests/golden/make.py FOLDER

What version 1 must give was taken from the last library that wrote it, with --views-only: version 2 has other random
streams for views.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import carl

TRAINER = {
    "encoder": "resnet18",
    "width": 1 / 64,
    "in_channels": 3,
    "projector": [6, 4],
    "prototypes": 11,
    "partition_size": 5,
    "objective": "carl",
    "teacher_momentum": 0.9,
    "prior_over_targets": True,
    "optimizer": "adamw",
    "accumulate": 2,
    "learning_rate": 0.01,
    "total_steps": 40,
    "warmup_steps": 2,
    "views": [{"size": 8, "flip": 0.5, "jitter": [0.4, 0.4, 0.2, 0.1], "count": 2}, {"size": 6}],
    "clip_norm": 10,
    "used_window": 3,
    "seed": 7,
    "threads": 1,
}
CLASSIFIER = {
    "classes": 3,
    "label_smoothing": 0.1,
    "learning_rate": 0.02,
    "head_learning_rate": 0.1,
    "total_steps": 20,
    "seed": 5,
    "threads": 1,
}


def byte_images() -> np.ndarray:
    """uint8 (6, 10, 9, 3), the same everywhere."""
    i, y, x, c = np.indices((6, 10, 9, 3))
    return ((i * 53 + y * 17 * (i + 1) + x * 29 + c * 71 + (y * x * (c + 2)) % 97) % 256).astype(np.uint8)


def float_images() -> np.ndarray:
    """float32 (6, 8, 8, 3), the same everywhere."""
    i, y, x, c = np.indices((6, 8, 8, 3))
    return (np.sin(i * 1.7 + y * 0.9 + c) + np.cos(x * 0.6 - i)).astype(np.float32)


LABELS = np.array([0, 1, 2, 0, 1, 2])


def views(number: int) -> list[np.ndarray]:
    """The views of a step, two global ones and a smaller one, without the library's view maker."""
    images = float_images() * (1 + number / 10)
    return [images, images[:, :, ::-1].copy() + 0.1, images[:, 1:7, 1:7].copy()]


def trainer_values(trainer: carl.Trainer, of_images: bool) -> dict[str, object]:
    """What a trainer says of the images, then of its next steps.

    of_images: also of steps on images, which depend on the random streams of views: they are those of format version 2
    and later."""
    values: dict[str, object] = {
        "features": trainer.embed(float_images(), output="features").tolist(),
        "projection": trainer.embed(float_images(), output="projection").tolist(),
        "probabilities": trainer.embed_images(byte_images(), output="probabilities").tolist(),
    }
    steps = [trainer.step_views(views(number)) for number in range(4)]
    first = steps[0]
    # The later losses depend on the moments and the accumulated gradient that the file holds.
    values |= {
        "step": first.step,
        "loss": first.loss,
        "learning_rate": first.learning_rate,
        "updated": bool(first.updated),
        "used_prototypes": first.used_prototypes,
        "teacher_momentum": first.teacher_momentum,
        "later_losses": [step.loss for step in steps[1:]],
    }
    if of_images:
        steps = [trainer.step(byte_images(), indices=np.arange(6), epoch=epoch) for epoch in (3, 4)]
        values["later_losses_of_images"] = [step.loss for step in steps]
    return values


def classifier_values(classifier: carl.Classifier, of_images: bool) -> dict[str, object]:
    values: dict[str, object] = {
        "features": classifier.embed(float_images(), output="features").tolist(),
        "logits": classifier.embed(float_images(), output="logits").tolist(),
    }
    steps = [classifier.step_batch(views(number)[0], LABELS) for number in range(3)]
    first = steps[0]
    values |= {
        "step": first.step,
        "loss": first.loss,
        "learning_rate": first.learning_rate,
        "later_losses": [step.loss for step in steps[1:]],
    }
    if of_images:
        steps = [classifier.step(byte_images(), LABELS, indices=np.arange(6), epoch=epoch) for epoch in (3, 4)]
        values["later_losses_of_images"] = [step.loss for step in steps]
    return values


def write_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = carl.Trainer(TRAINER)
    for _ in range(5):  # an odd number: gradients are half accumulated
        trainer.step(byte_images(), indices=np.arange(6), epoch=2)
    trainer.save(folder / "trainer.safetensors", notes={"made by": "Tests/golden/make.py", "epoch": 2})
    classifier = carl.Classifier(trainer, **CLASSIFIER)
    classifier.standardize(byte_images())
    for _ in range(3):
        classifier.step(byte_images(), LABELS, indices=np.arange(6), epoch=2)
    classifier.save(folder / "classifier.safetensors")


def write_expected(folder: Path, of_images: bool) -> None:
    expected = {
        "library": carl.build_info()["version"],
        "trainer": trainer_values(carl.Trainer.resume(folder / "trainer.safetensors"), of_images),
        "encoder": {
            "features": carl.Encoder(folder / "trainer.safetensors", threads=1)
            .embed(float_images(), output="features")
            .tolist()
        },
        "classifier": classifier_values(carl.Classifier.load(folder / "classifier.safetensors"), of_images),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--views-only", action="store_true", help="only what the files there must give, without steps on images"
    )
    arguments = parser.parse_args()
    if not arguments.views_only:
        write_files(arguments.folder)
    write_expected(arguments.folder, of_images=not arguments.views_only)
