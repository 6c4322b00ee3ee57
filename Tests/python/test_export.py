"""Weights files that a model is written into, and what is asked of an export before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import carl
from carl._tensors import read_tensors
from carl.cli import main
from carl.export import export_model
from conftest import run_python, small_model
from weights_files import resnet18, vit_tiny, write_safetensors

#: How images are made ready, by no family's table.
IMAGES = {"evaluation_crop": 0.8, "evaluation_interpolation": "bicubic"}
HEAD = {"projector": [12, 8], "prototypes": 5, "batch_size": 4, "threads": 1}
NETWORKS = {
    "small": {"encoder": "resnet18", "stem": "small", "width": 0.125, "view_size": 24, "mean": [0.1, 0.2, 0.3]},
    "gray": {"encoder": "resnet34", "stem": "small", "width": 0.0625, "view_size": 24, "in_channels": 1, "std": [0.4]},
    "five": {"encoder": "resnet18", "stem": "small", "width": 0.0625, "view_size": 24, "in_channels": 5},
    "imagenet": {"encoder": "resnet50", "stem": "imagenet", "width": 0.0625, "view_size": 40, "std": [0.3]},
    "vit": {"encoder": "vit_tiny", "patch_size": 8, "view_size": 24, "pool": "mean"},
    "registers": {
        "encoder": "vit_tiny",
        "patch_size": 8,
        "view_size": 32,
        "position_grid": 3,
        "registers": 3,
        "layer_scale": 0.1,
        "pool": "class_mean",
        "mean": [0.4, 0.5, 0.6],
    },
}


def randomized(trainer, seed=0):
    """Random values everywhere: fresh norms are 1, and a residual block's last one 0."""
    random = np.random.default_rng(seed)
    state = trainer.state_dict()
    for name, values in state.items():
        if name.endswith("running_var"):
            state[name] = random.uniform(0.5, 1.5, values.shape)
        elif name.endswith("gamma"):
            state[name] = random.uniform(0.2, 0.8, values.shape)
        elif values.ndim == 1 or "token" in name or "pos_embed" in name:
            state[name] = values + random.standard_normal(values.shape) * 0.2
    trainer.load_state_dict(state)
    return trainer


def made(name, **more):
    return randomized(carl.Trainer({**NETWORKS[name], **HEAD, **IMAGES, **more}))


def pictures(channels=3, count=3):
    shape = (count, 37, 45) if channels == 1 else (count, 37, 45, channels)
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_encoder_gives_the_same_features_again(name, tmp_path):
    trainer = made(name)
    images = pictures(trainer.config.in_channels)
    features = trainer.embed_images(images)
    file = export_model(trainer, tmp_path / "encoder.safetensors")
    said = carl.weights_info(file).config
    for key, value in {**NETWORKS[name], **IMAGES}.items():
        if key in ("mean", "std") and len(value) == 1:
            value = value * said["in_channels"]
        assert said[key] == value or key == "layer_scale", key
    with carl.Encoder.from_weights(file) as encoder:
        assert np.array_equal(encoder.embed_images(images), features)
        assert np.array_equal(encoder.transform(images), features)
        again = export_model(encoder, tmp_path / "again.safetensors")
    assert file.read_bytes() == again.read_bytes()
    assert np.array_equal(carl.CARL(weights=file, in_channels=trainer.config.in_channels).transform(images), features)


def test_features_of_foreign_weights_stay_after_an_export(tmp_path):
    """What a file does not say is its family's: an export says it."""
    images = pictures()
    for number, tensors in enumerate((resnet18(0.125), vit_tiny(), vit_tiny(dinov2=True, registers=2))):
        file = write_safetensors(tmp_path / f"{number}.safetensors", tensors)
        pool = {"pool": "mean"} if number else {}
        with carl.Encoder.from_weights(file, view_size=64, **pool) as encoder:
            features = encoder.embed_images(images)
            export_model(encoder, tmp_path / "out.safetensors")
        with carl.Encoder.from_weights(tmp_path / "out.safetensors") as encoder:
            assert np.array_equal(encoder.embed_images(images), features)


def test_tensors_are_those_of_the_state(tmp_path):
    trainer = made("small", teacher_momentum=0.9)
    state = trainer.state_dict()
    state.update({name: values + 1 for name, values in state.items() if name.startswith("teacher.")})
    trainer.load_state_dict(state)
    state = trainer.state_dict()
    for teacher, prefix in ((False, ""), (True, "teacher.")):
        own = {n: v for n, v in state.items() if n.startswith("teacher.") == teacher}
        own = {n.removeprefix(prefix): v for n, v in own.items()}
        for part, cut in (("model", ""), ("encoder", "encoder.")):
            file = export_model(trainer, tmp_path / "a.safetensors", part=part, teacher=teacher)
            tensors, keys = read_tensors(file)
            wanted = {n.removeprefix(cut): v for n, v in own.items() if n.startswith(cut)}
            assert set(tensors) == set(wanted)
            assert all(np.array_equal(tensors[n], wanted[n]) for n in wanted)
            assert ("temperature" in keys) == (part == "model")


def test_with_registers_the_class_token_holds_its_position(tmp_path):
    trainer = made("registers")
    state = trainer.state_dict()
    tensors, _ = read_tensors(export_model(trainer, tmp_path / "a.safetensors"))
    assert tensors["pos_embed"].shape == (1, 9, 192)
    assert np.array_equal(tensors["pos_embed"], state["encoder.pos_embed"][:, 1:])
    assert np.array_equal(tensors["cls_token"], state["encoder.cls_token"] + state["encoder.pos_embed"][:, :1])


@pytest.mark.parametrize(("name", "head"), [("small", "fc"), ("vit", "head")])
def test_a_classifier_s_layer_takes_features_as_they_are(name, head, tmp_path):
    images = pictures(count=6)
    with carl.Classifier(made(name), 3, freeze_encoder=True) as classifier:
        classifier.standardize(images)
        classifier.step(images, [0, 1, 2, 0, 1, 2])
        features, logits = (classifier.embed_images(images, output=output) for output in ("features", "logits"))
        tensors, _ = read_tensors(export_model(classifier, tmp_path / "a.safetensors", part="model"))
        found = features @ tensors[f"{head}.weight"].T + tensors[f"{head}.bias"]
        assert np.abs(found - logits).max() < 1e-4 * np.abs(logits).max()
        assert not np.allclose(features @ tensors[f"{head}.weight"].T, logits, rtol=1e-2)
        tensors, _ = read_tensors(export_model(classifier, tmp_path / "b.safetensors"))
        assert f"{head}.weight" not in tensors
        with carl.Encoder.from_weights(tmp_path / "a.safetensors") as encoder:
            assert np.array_equal(encoder.embed_images(images), features)


def test_whatever_stands_for_a_model(tmp_path):
    images = pictures(1, 12)
    model = small_model(run_dir=tmp_path / "run", epochs=1, teacher_momentum=0.9).fit(images)
    written = (tmp_path / "run" / "exported" / "encoder.safetensors").read_bytes()
    for number, given in enumerate(
        (model, model.trainer_, tmp_path / "run", str(tmp_path / "run/checkpoints/last.carl"))
    ):
        file = export_model(given, tmp_path / "new" / f"{number}.safetensors")
        assert file.read_bytes() == written
    assert export_model(tmp_path / "run", tmp_path / "t.safetensors", teacher=True).read_bytes() != written
    unfitted = carl.CARL(weights=file, in_channels=1)
    assert export_model(unfitted, tmp_path / "u.safetensors").read_bytes() == written
    assert export_model(file, tmp_path / "w.safetensors").read_bytes() == written
    with carl.Classifier(model, 2) as classifier:
        classifier.save(tmp_path / "classifier.carl")
        own = export_model(classifier, tmp_path / "c.safetensors", part="model").read_bytes()
    assert export_model(tmp_path / "classifier.carl", tmp_path / "d.safetensors", part="model").read_bytes() == own


def test_what_cannot_be_exported(tmp_path):
    trainer = made("small")
    old = tmp_path / "old.safetensors"
    old.write_text("old")
    wrong = carl.InvalidArgumentError
    for error, words, arguments in [
        (wrong, "part: got 'head', want one of 'encoder', 'model'", {"part": "head"}),
        (wrong, "format: got 'pickle', want one of", {"format": "pickle"}),
        (wrong, r"format: got \['onnx'\], want one of", {"format": ["onnx"]}),
        (wrong, r"part: got \[\], want one of", {"part": []}),
        (wrong, "pixels: got 'rgb', want one of", {"pixels": "rgb"}),
        (wrong, "teacher: this model has none", {"teacher": True}),
        (wrong, 'fold, pixels and size are of format "onnx"', {"fold": False}),
        (wrong, 'fold, pixels and size are of format "onnx"', {"pixels": "bytes"}),
        (wrong, 'fold, pixels and size are of format "onnx"', {"size": 32}),
        (wrong, "size: got", {"size": 0}),
        (wrong, "size: got .* want a number of pixels, or height and width", {"size": (1, 2, 3)}),
    ]:
        with pytest.raises(error, match=words):
            export_model(trainer, old, **arguments)
    for path in ("", "a\0b", None, 7):
        with pytest.raises((wrong, TypeError, carl.FileError)):
            export_model(trainer, path)
    for model, words in (
        (7, "model: got int"),
        (carl.CARL(), r"is not fitted yet: call fit\(\) before its encoder is used$"),
    ):
        with pytest.raises((wrong, carl.NotFittedError), match=words):
            export_model(model, old)
    with pytest.raises(carl.NotFittedError, match="before its encoder is used$"):
        carl.evaluate.linear_probe(carl.CARL(), *[np.zeros((2, 8, 8), np.uint8), [0, 1]] * 2)
    encoder = carl.Encoder.from_trainer(trainer)
    with encoder, pytest.raises(wrong, match="teacher: a carl.Encoder has none"):
        export_model(encoder, old, teacher=True)
    with pytest.raises(carl.InvalidHandleError):
        export_model(encoder, old)
    assert old.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == [old.name]
    export_model(trainer, old)
    with (
        carl.Encoder.from_weights(old) as encoder,
        pytest.raises(carl.InvalidStateError, match="part: only the encoder"),
    ):
        export_model(encoder, old, part="model")
    with pytest.raises(carl.FileError, match="folder"):
        export_model(trainer, old / "below.safetensors")
    with pytest.raises(carl.FileError, match="cannot write"):
        export_model(trainer, tmp_path)


@pytest.mark.parametrize(("package", "name"), [("onnx", "a.onnx"), ("torch", "a.pt")])
def test_a_missing_package_is_named_with_the_line_that_installs_it(package, name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with made("small") as trainer, pytest.raises(carl.MissingPackageError, match=f"pip install {package}$"):
        export_model(trainer, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_safetensors_are_written_without_any_package(tmp_path):
    done = run_python(
        "import sys\n"
        "for name in ('safetensors', 'onnx', 'torch'): sys.modules[name] = None\n"
        "import carl\n"
        "from carl.export import export_model\n"
        "trainer = carl.Trainer(width=0.0625, view_size=16, projector=[4], prototypes=3)\n"
        f"export_model(trainer, {str(tmp_path / 'a.safetensors')!r})\n"
    )
    assert done.returncode == 0, done.stderr
    assert carl.weights_info(tmp_path / "a.safetensors").config["view_size"] == 16


def test_the_safetensors_package_reads_the_file(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    trainer = made("small")
    found, state = load_file(export_model(trainer, tmp_path / "a.safetensors")), trainer.state_dict()
    assert {f"encoder.{name}" for name in found} == {name for name in state if name.startswith("encoder.")}
    assert all(np.array_equal(values, state[f"encoder.{name}"]) for name, values in found.items())


@pytest.mark.parametrize(
    "note",
    [
        "{",
        "[]",
        '"text"',
        '{"view_size": 0}',
        '{"view_size": 1e300}',
        '{"view_size": "32"}',
        '{"mean": [1, 2]}',
        '{"std": [0, 1, 1]}',
        '{"mean": []}',
        '{"mean": {"a": 1}}',
        '{"evaluation_crop": -1}',
        '{"evaluation_interpolation": "sharp"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_note_is_an_error_of_the_file(note, tmp_path):
    file = write_safetensors(tmp_path / "a.safetensors", resnet18(0.0625, kernel=3), {"format": "pt", "carl": note})
    with pytest.raises(carl.FileError, match='its metadata "carl" is damaged'):
        carl.weights_info(file)


def test_a_note_counts_where_it_speaks_and_of_images_alone(tmp_path):
    note = json.dumps({"encoder": "resnet50", "in_channels": 7, "view_size": 48, "pool": "mean", "unknown": 1})
    file = write_safetensors(tmp_path / "a.safetensors", resnet18(0.0625), {"carl": note})
    config = carl.weights_info(file).config
    assert (config["encoder"], config["in_channels"], config["view_size"]) == ("resnet18", 3, 48)
    assert config["evaluation_crop"] == 0.875 and config["mean"] == pytest.approx([0.485, 0.456, 0.406])
    vit = write_safetensors(tmp_path / "b.safetensors", vit_tiny(), {"carl": '{"pool": "eyes"}'})
    with pytest.raises(carl.FileError, match="pool"):
        carl.weights_info(vit)


def test_command_line(tmp_path, capsys):
    model, out = tmp_path / "model.carl", tmp_path / "out.safetensors"
    made("small").save(model)
    assert main(["export", str(model), "--out", str(out), "--part", "model", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["format"] == "safetensors" and shown["bytes"] == out.stat().st_size
    assert "encoder.conv1.weight" in shown["tensors"] and "prototypes.weight" in shown["tensors"]
    assert main(["export", str(out), "--out", str(tmp_path / "again.safetensors")]) == 0
    assert "tensors, " in capsys.readouterr().out
    for arguments, words in [
        (["--out", str(model)], "choose another name"),
        (["--out", str(tmp_path / "a.onxx")], "want one of .safetensors, .onnx, .pt, .pth, or --format"),
        (["--out", str(tmp_path / "a")], "has no ending, want one of"),
        (["--out", str(out), "--teacher"], "teacher: this model has none"),
        (["--out", str(out), "--size", "32"], "format"),
    ]:
        assert main(["export", str(model), *arguments]) == 1
        assert words in capsys.readouterr().err
    usage = subprocess.run(
        [sys.executable, "-m", "carl", "export", str(model), "--out", "x", "--format", "tf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert usage.returncode == 2 and "safetensors" in usage.stderr
