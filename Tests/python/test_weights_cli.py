"""Commands with --weights FILE in the place of MODEL, and ``carl train weights=FILE``."""

from __future__ import annotations

import csv
import hashlib
import json
import os

import numpy as np
import pytest

import carl
from carl.cli import main
from conftest import same_state
from weights_files import QUICK, model_with, weights

__all__ = ["weights"]


@pytest.fixture
def photos(tmp_path, images, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    for place, count in (("photos", 12), ("train/a", 5), ("train/b", 5), ("test/a", 3), ("test/b", 3)):
        (tmp_path / place).mkdir(parents=True)
        for number in range(count):
            image.fromarray(images[(number + 7 * place.endswith("b")) % 40]).save(tmp_path / place / f"{number:02}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys, *arguments):
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_embed(weights, photos, capsys):
    answer(capsys, "embed", "--weights", "small.safetensors", "photos", "--out", "f.npy", "--quiet")
    with carl.Encoder.from_weights(weights) as encoder:
        assert np.array_equal(np.load("f.npy"), encoder.transform("photos"))
    answer(capsys, "embed", "photos", "--out", "g.npy", "--weights=small.safetensors", "--set", "view_size=24")
    with carl.Encoder.from_weights(weights, view_size=24) as encoder:
        assert np.array_equal(np.load("g.npy"), encoder.transform("photos"))
    (photos / "small.safetensors").rename("weights.npy")
    assert main(["embed", "--weights", "weights.npy", "photos", "--out", "weights.npy"]) == 1
    assert "choose another name" in capsys.readouterr().err


def test_embed_reads_gray_arrays(weights, photos, images, capsys):
    np.save("gray.npy", images[..., 0])
    answer(capsys, "embed", "--weights", "small.safetensors", "gray.npy", "--out", "f.npy")
    with carl.Encoder.from_weights(weights, in_channels=1) as encoder:
        assert np.array_equal(np.load("f.npy"), encoder.transform(images[..., 0]))


def test_search_commands(weights, photos, capsys):
    pytest.importorskip("sklearn")
    (photos / "photos" / "copy.png").write_bytes((photos / "photos" / "03.png").read_bytes())
    option = ("--weights", "small.safetensors")
    text = answer(capsys, "neighbours", *option, "photos", "--query", "03.png", "-k", "2")
    assert text.splitlines()[1] == "  1.0000  photos/copy.png"
    groups = json.loads(answer(capsys, "duplicates", *option, "photos", "--exact", "--json"))["groups"]
    assert [image["name"] for image in groups[0]["images"]] == ["photos/03.png", "photos/copy.png"]
    found = json.loads(answer(capsys, "outliers", "photos", *option, "-k", "3", "--json"))
    assert len(found["outliers"]) == 13


def test_clusters_without_labels(weights, photos, capsys, images):
    pytest.importorskip("sklearn")
    found = json.loads(answer(capsys, "cluster", "--weights", "small.safetensors", "photos", "--json"))
    assert found["method"] == "k-means" and found["images"] == 12 and len(found["clusters"]) == 2
    assert sum(group["images"] for group in found["clusters"]) == 12
    options = ("--clusters", "3", "--out", "groups.csv")
    text = answer(capsys, "cluster", "--weights", "small.safetensors", "photos", *options)
    assert text.startswith("12 images in 3 groups (k-means)")
    with open("groups.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and {row["cluster"] for row in rows} == {"0", "1", "2"}
    # A trained model's groups are those of its prototypes.
    model = model_with(weights).fit(images)
    model.save("model.carl")
    found = json.loads(answer(capsys, "cluster", "model.carl", "photos", "--json", "--out", "groups.csv"))
    assert found["method"] == "prototypes"
    with open("groups.csv", encoding="utf-8", newline="") as file:
        groups = {row["name"]: int(row["cluster"]) for row in csv.DictReader(file)}
    names = sorted(groups)
    assert [groups[name] for name in names] == model.predict("photos").tolist()


def test_clusters_with_labels_are_those_of_k_means_alone(weights, photos, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("scipy")
    found = json.loads(answer(capsys, "cluster", "--weights", "small.safetensors", "train", "--json"))
    assert list(found) == ["k-means"] and found["k-means"]["samples"] == 10
    assert main(["cluster", "--weights", "small.safetensors", "train", "--out", "x.csv"]) == 1
    assert "add --no-labels" in capsys.readouterr().err and not os.path.exists("x.csv")


def test_groups_of_images_that_have_labels(weights, photos, capsys):
    pytest.importorskip("sklearn")
    option = ("cluster", "--weights", "small.safetensors", "train", "--no-labels")
    assert json.loads(answer(capsys, *option, "--json"))["images"] == 10
    answer(capsys, *option, "--out", "groups.csv")
    with open("groups.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 10
    np.save("y.npy", np.zeros(10, int))
    assert main([*option, "--labels", "y.npy"]) == 1 and "contradicts --labels" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_judging_commands(weights, photos, capsys):
    pytest.importorskip("sklearn")
    option = ("--weights", "small.safetensors")
    assert "k = 1 " in answer(capsys, "knn", *option, "train", "test", "-k", "1")
    assert "mAP" in answer(capsys, "retrieval", *option, "train", "-k", "1")
    assert "mAP" in answer(capsys, "retrieval", *option, "train", "test", "-k", "1")
    method = ("--method", "logistic", "--save", "classifier.carl")
    assert "accuracy" in answer(capsys, "linear", *option, "train", "test", "--quiet", *method)
    assert "p.csv" in answer(capsys, "predict", "classifier.carl", "test", "--out", "p.csv")
    some = ("--labels", "100%", "--epochs", "1", "--seeds", "0", "--quiet")
    assert "accuracy" in answer(capsys, "finetune", "train", "test", *option, *some)


def test_usage(weights, photos, capsys):
    for command in (
        "embed",
        "neighbours",
        "duplicates",
        "outliers",
        "cluster",
        "knn",
        "linear",
        "finetune",
        "retrieval",
    ):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        head = capsys.readouterr().out.split("\n\n")[0]
        assert f"carl {command} MODEL " in head and f"carl {command} --weights FILE " in head
    with pytest.raises(SystemExit) as stopped:
        main(["embed", "--weights", "small.safetensors", "runs/x", "photos", "--out", "f.npy"])
    assert stopped.value.code == 2 and "with --weights, MODEL is left out" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["embed", "photos", "--out", "f.npy"])
    assert stopped.value.code == 2 and "MODEL" in capsys.readouterr().err
    assert main(["embed", "x.carl", "photos", "--out", "f.npy", "--set", "pool=mean"]) == 1
    assert "--set: is of --weights" in capsys.readouterr().err
    assert main(["embed", "small.safetensors", "photos", "--out", "f.npy"]) == 1
    assert "carl embed --weights FILE" in capsys.readouterr().err
    assert main(["embed", "--weights", "small.safetensors", "photos", "--out", "f.npy", "--output", "logits"]) == 1
    assert "prototypes" in capsys.readouterr().err


def test_info(weights, photos, capsys):
    text = answer(capsys, "info", "small.safetensors")
    assert "resnet18, stem small, width 0.125, 3 channels" in text
    found = json.loads(answer(capsys, "info", "small.safetensors", "--json"))
    assert found["family"] == "resnet" and found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_train(weights, photos, capsys):
    keys = [f"{key}={json.dumps(value)}" for key, value in QUICK.items() if key != "progress"]
    answer(capsys, "train", "photos", "weights=small.safetensors", *keys, "--out", "runs/a", "--quiet")
    answer(capsys, "train", "photos", "--weights", "small.safetensors", *keys, "--out", "runs/b", "--quiet")
    a, b = carl.load("runs/a"), carl.load("runs/b")
    assert same_state(a.trainer_, b.trainer_) and a.weights_["file"] == "small.safetensors"
    (photos / "small.safetensors").unlink()
    answer(capsys, "train", "runs/a", "--resume", "epochs=2", "--quiet")
    again = ("--out", "runs/b", "--resume", "--quiet", "epochs=2")
    answer(
        capsys, "train", "photos", "weights=small.safetensors", *[key for key in keys if "epochs" not in key], *again
    )
    assert same_state(carl.load("runs/a").trainer_, carl.load("runs/b").trainer_)
    assert json.loads(answer(capsys, "info", "runs/a", "--json"))["weights"]["family"] == "resnet"


def test_keys_that_only_training_heeds(weights, photos, capsys):
    option = ("knn", "--weights", "small.safetensors", "train", "test", "-k", "1")
    for key in ("seed=3", "learning_rate=5", "prototypes=8", "epochs=3"):
        assert main([*option, "--set", key]) == 1
        assert f"{key.partition('=')[0]}: has no effect" in capsys.readouterr().err
        with pytest.raises(carl.ConfigurationError, match="has no effect"):
            carl.Encoder.from_weights("small.safetensors", **{key.partition("=")[0]: 3})
    assert main([*option, "--set", "sede=3"]) == 1 and "seed" in capsys.readouterr().err
    for key in ("view_size=24", "evaluation_crop=0.9", "evaluation_interpolation=bicubic", "mean=[0.5,0.5,0.5]"):
        assert "k = 1 " in answer(capsys, *option, "--set", key, "--no-baseline")


def test_the_seed_is_of_k_means(weights, photos, capsys, images):
    pytest.importorskip("sklearn")
    model_with(weights).fit(images).save("model.carl")
    assert main(["cluster", "model.carl", "photos", "--seed", "5"]) == 1
    assert "--seed: is of k-means" in capsys.readouterr().err
    answer(capsys, "cluster", "model.carl", "photos", "--seed", "5", "--clusters", "2")
    answer(capsys, "cluster", "--weights", "small.safetensors", "photos", "--seed", "5")
