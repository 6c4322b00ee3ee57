"""bfloat16 operands: how far results are from float32's, exactness of saved runs, and errors of processors without."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
import pytest

import carl
from carl.cli import build_parser, main

BF16 = "bf16-emulated"
#: Wide enough that the rule takes bfloat16 in some layers, small enough for a test.
WIDE: dict[str, Any] = {
    "resnet18": {"encoder": "resnet18", "width": 0.5, "view_size": 16},
    "resnet50": {"encoder": "resnet50", "width": 0.5, "view_size": 16},
    "vit_tiny": {"encoder": "vit_tiny", "patch_size": 8, "view_size": 32},
}
COMMON: dict[str, Any] = {"projector": [64, 64], "prototypes": 40, "seed": 1, "threads": 2}


def wide(name: str, **changes: Any) -> carl.Trainer:
    return carl.Trainer({**COMMON, **WIDE[name], **changes})


def batches(name: str, seed: int = 0, images: int = 16) -> list[np.ndarray]:
    """Two views of images with structure: far images give features that are far from each other."""
    random = np.random.default_rng(seed)
    size = WIDE[name]["view_size"]
    y, x = np.mgrid[:size, :size] / size
    waves = random.uniform(1, 6, (images, 2, 3))
    phases = random.uniform(0, 6, (images, 1, 1, 3))
    base = np.sin(y[None, ..., None] * waves[:, None, None, 0] + x[None, ..., None] * waves[:, None, None, 1] + phases)
    return [(2 * base + 0.1 * random.standard_normal(base.shape)).astype(np.float32) for _ in range(2)]


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", WIDE)
def test_forward_error(name):
    """bfloat16 has eight bits: operands are off by 2^-9 at most, features by a few times that."""
    x = batches(name)[0]
    with wide(name) as full, wide(name, precision=BF16) as half:
        wanted, got = full.embed(x), half.embed(x)
    assert 1e-5 < error(got, wanted) < 0.02


#: Other ways through the encoder: a pool behind its first layer, a lowest block that passes no gradient on, a network
#: whose channels are no whole vectors, a second forward pass.
WAYS = {
    "all": {},
    "pooled": {"stem": "imagenet"},
    "last blocks": {"train_encoder": 3},
    "narrow": {"width": 36 / 64},
    "teacher": {"teacher_momentum": 0.9},
}


@pytest.mark.parametrize(("name", "way"), [("vit_tiny", "all"), *itertools.product(("resnet18", "resnet50"), WAYS)])
def test_gradient_error(name, way):
    """Of the whole gradient in the first step: the same direction, whatever single values do."""
    views, changes = batches(name), {"objective": "carl", **WAYS[way]}
    with wide(name, **changes) as full, wide(name, **changes, precision=BF16) as half:
        losses = [trainer.step_views(views).loss for trainer in (full, half)]
        wanted, got = (np.concatenate([g.ravel() for g in t.gradients().values()]) for t in (full, half))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    cosine = float(got @ wanted) / float(np.linalg.norm(got) * np.linalg.norm(wanted))
    assert not np.array_equal(got, wanted) and cosine > 0.98


@pytest.mark.parametrize("name", ["resnet50", "vit_tiny"])
def test_embedding_does_not_depend_on_threads(name):
    x = batches(name)[0]
    found = []
    for threads in (1, 2, 3):
        with wide(name, precision=BF16, threads=threads) as trainer:
            found.append(trainer.embed(x))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_gives_the_same_bits_and_a_saved_run_goes_on_exactly(tmp_path, threads):
    def steps(trainer: carl.Trainer, numbers: range) -> None:
        for number in numbers:
            trainer.step_views(batches("resnet50", number, 8))

    with (
        wide("resnet50", precision=BF16, threads=threads) as whole,
        wide("resnet50", precision=BF16, threads=threads) as half,
    ):
        steps(whole, range(3))
        steps(half, range(2))
        half.save(tmp_path / "half.carl")
        with carl.Trainer.resume(tmp_path / "half.carl") as rest:
            assert rest.config.precision == BF16
            steps(rest, range(2, 3))
            a, b = whole.state_dict(), rest.state_dict()
    assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_an_encoder_computes_as_its_trainer_does_or_as_it_is_told(tmp_path):
    x = batches("resnet50")[0]
    with wide("resnet50", precision=BF16) as trainer:
        half = trainer.embed(x)
        assert np.array_equal(carl.Encoder.from_trainer(trainer).embed(x), half)
        trainer.save(tmp_path / "model.carl")
    assert np.array_equal(carl.Encoder(tmp_path / "model.carl").embed(x), half)
    full = carl.Encoder(tmp_path / "model.carl", precision="float32").embed(x)
    with carl.Trainer.resume(tmp_path / "model.carl", precision="float32") as trainer:
        assert np.array_equal(trainer.embed(x), full)
    assert 0 < error(half, full) < 0.02
    assert carl.load(tmp_path / "model.carl", precision="float32").config_.precision == "float32"
    with pytest.raises(carl.ConfigurationError, match='"width" cannot be changed when loading'):
        carl.Encoder(tmp_path / "model.carl", width=0.25)


def test_weights_kept_for_batches_of_either_kind():
    """One image is done in float32, many are not: packed weights of the one are not taken for those of the other."""
    x = batches("resnet50")[0]
    with wide("resnet50", precision=BF16) as trainer:
        encoder, fresh = carl.Encoder.from_trainer(trainer), carl.Encoder.from_trainer(trainer)
    many, one = encoder.embed(x), encoder.embed(x[:1])
    assert np.array_equal(fresh.embed(x[:1]), one) and np.array_equal(fresh.embed(x), many)
    assert np.array_equal(encoder.embed(x), many)


def test_a_classifier_follows_the_encoder(tmp_path):
    with wide("resnet50", precision=BF16) as trainer:
        encoder = carl.Encoder.from_trainer(trainer)
    classifier = carl.Classifier(encoder, 3, threads=2)
    assert classifier.config["precision"] == BF16
    assert carl.Classifier(encoder, 3, threads=2, precision="float32").config["precision"] == "float32"
    classifier.save(tmp_path / "classifier.carl")
    loaded = carl.Classifier.load(tmp_path / "classifier.carl", precision="float32")
    assert loaded.config["precision"] == "float32"


def test_float32_is_the_default_and_auto_is_resolved():
    with wide("resnet18") as plain, wide("resnet18", precision="auto") as auto:
        assert plain.config.precision == "float32"
        assert auto.config.precision in ("float32", "bf16")


def test_what_is_told_without_the_instruction(tmp_path):
    with wide("resnet18", precision="auto") as trainer:
        if trainer.config.precision == "bf16":
            pytest.skip("this processor has the instruction")
        trainer.save(tmp_path / "model.carl")
    text = r'"precision": got "bf16", but this processor has no bfloat16 dot product \(AVX512_BF16\); want "float32"'
    with pytest.raises(carl.ConfigurationError, match=text):
        wide("resnet18", precision="bf16")
    with pytest.raises(carl.ConfigurationError, match=text):
        carl.Trainer.resume(tmp_path / "model.carl", precision="bf16")
    with pytest.raises(carl.ConfigurationError, match=text):
        carl.Encoder(tmp_path / "model.carl", precision="bf16")
    with pytest.raises(carl.ConfigurationError, match='"precision" must be one of "float32", "bf16", "auto", '):
        wide("resnet18", precision="bfloat16")


# ---- On the command line


def test_every_command_that_computes_with_a_model_takes_the_values_of_the_key():
    commands: dict[str, argparse.ArgumentParser] = next(
        action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    found = {
        name: action.choices
        for name, parser in commands.items()
        for action in parser._actions
        if "--precision" in action.option_strings and name != "train"
    }
    judging = "knn linear finetune transfer retrieval cluster neighbours duplicates outliers embed predict report"
    assert found.keys() >= set(judging.split())
    for values in found.values():
        with pytest.raises(carl.ConfigurationError) as error:
            wide("resnet18", precision="")
        assert ", ".join(f'"{value}"' for value in values) in str(error.value)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a model of bfloat16, a classifier on it, and two labelled sets."""
    folder = tmp_path_factory.mktemp("precision")
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    np.savez(folder / "set.npz", images=images, labels=labels)
    with wide("resnet50", precision=BF16) as trainer:
        trainer.save(folder / "model.carl")
        classifier = carl.Classifier(carl.Encoder.from_trainer(trainer), 2)
    classifier.save(folder / "classifier.carl")
    return folder


@pytest.mark.parametrize(("file", "output"), [("model.carl", "features"), ("classifier.carl", "features")])
def test_embedding_as_the_command_is_told(kept, tmp_path, file, output):
    def embedded(*options: str) -> np.ndarray:
        out = tmp_path / "out.npy"
        given = [str(kept / file), str(kept / "set.npz"), "--out", str(out), "--output", output, "--quiet"]
        assert main(["embed", *given, *options]) == 0
        rows: np.ndarray = np.load(out)
        return rows

    half, full = embedded(), embedded("--precision", "float32")
    assert np.array_equal(embedded("--precision", BF16), half)
    assert 0 < error(half, full) < 0.02


@pytest.mark.parametrize(
    "command",
    [
        "knn {m} {s} {s}",
        "linear {m} {s} {s} --method logistic",
        "finetune {m} {s} {s} --epochs 1 --seeds 0 --labels 50%",
        "transfer {m} {s} {s} --epochs 1",
        "retrieval {m} {s}",
        "cluster {m} {s}",
        "duplicates {m} {s}",
        "outliers {m} {s}",
        "predict {c} {s} --out {out}",
        "plot counts {m} --data {s} --out {png}",
    ],
)
def test_commands_take_float32_in_the_place_of_the_model_s(kept, tmp_path, monkeypatch, command):
    """What loads a model is told so, whichever command it is."""
    told = []

    def note(loader: Any) -> Any:
        def load(*values: Any, **keys: Any) -> Any:
            told.append(keys.get("precision"))
            return loader(*values, **keys)

        return load

    monkeypatch.setattr("carl.estimator.CARL.load", note(carl.CARL.load))
    monkeypatch.setattr("carl.classifier.Classifier.load", note(carl.Classifier.load))
    places = {"m": "model.carl", "c": "classifier.carl", "s": "set.npz"}
    values = {key: str(kept / name) for key, name in places.items()}
    values |= {"out": str(tmp_path / "out.csv"), "png": str(tmp_path / "out.png")}
    assert main([*(word.format(**values) for word in command.split()), "--precision", "float32"]) == 0
    assert told and set(told) == {"float32"}
