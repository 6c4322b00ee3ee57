"""The command line, the demonstration and its pictures, on small data."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import carl
from carl import demo
from carl.cli import main
from conftest import run_python
from test_api_sources import write_idx

SMALL_ARGUMENTS = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8", "learning_rate=0.01"]


@pytest.fixture
def data(images, tmp_path):
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(40) % 2)
    return str(tmp_path / "data.npz")


def train(data, tmp_path, *extra):
    return main(["train", data, *SMALL_ARGUMENTS, "epochs=2", "--out", str(tmp_path / "run"), "--quiet", *extra])


def test_train_embed_knn_info(data, images, tmp_path, capsys):
    run, out = str(tmp_path / "run"), tmp_path / "features.npy"
    assert train(data, tmp_path) == 0
    assert "loss" in capsys.readouterr().out
    model = carl.load(run)
    assert model.trainer_.step_count == 10 and model.projector == [16, 8]
    assert main(["embed", run, data, "--out", str(out)]) == 0
    np.testing.assert_allclose(np.load(out), model.transform(images), rtol=1e-6)
    assert main(["embed", run, data, "--out", str(out), "--output", "probabilities", "--threads", "1"]) == 0
    assert np.load(out).shape == (40, 6)
    capsys.readouterr()
    assert main(["knn", run, data, data, "-k", "1", "3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["accuracies"]["1"] == 1.0
    assert main(["knn", run, data, data]) == 0
    assert "k = 20" in capsys.readouterr().out
    assert main(["info", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 10
    assert main(["info"]) == 0
    assert carl.__version__ in capsys.readouterr().out


def test_train_will_not_overwrite_and_resumes(data, tmp_path, capsys):
    assert train(data, tmp_path) == 0
    assert train(data, tmp_path) == 1
    assert "--resume" in capsys.readouterr().err
    assert train(data, tmp_path, "--resume", "epochs=3") == 0
    assert carl.load(tmp_path / "run").trainer_.step_count == 15


def test_config_file(data, tmp_path):
    (tmp_path / "c.json").write_text('{"prototypes": 4, "seed": 9}')
    assert train(data, tmp_path, "--config", str(tmp_path / "c.json")) == 0
    model = carl.load(tmp_path / "run")
    assert (model.seed, model.config_.prototypes) == (9, 6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "DATA", "prototipes=3"], "prototypes"),
        (["train", "/no/such/data"], "/no/such/data"),
        (["train", "DATA", "epochs"], "key=value"),
        (["train", "DATA", "run_dir=3"], "run_dir"),
        (["train", "DATA", "encoder=vgg"], "encoder"),
        (["embed", "/no/model", "DATA", "--out", "x.npy"], "/no/model"),
        (["info", "DATA"], "data.npz"),
        (["demo", "--data", "/nowhere"], "dataset-fashion-mnist"),
    ],
)
def test_errors_are_one_line_and_exit_1(data, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main([data if item == "DATA" else item for item in arguments]) == 1
    message = capsys.readouterr().err
    assert words in message and message.startswith("carl: ") and "Traceback" not in message


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["train"], ["knn", "m", "a", "b", "-k", "0"]])
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["train", "embed", "knn", "info", "demo"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0 and len(capsys.readouterr().out) > 150


def test_module_runs():
    done = run_python(
        "import runpy, sys; sys.argv = ['carl', '--version']; runpy.run_module('carl', run_name='__main__')"
    )
    assert done.stdout.strip() == f"carl {carl.__version__}", done.stderr


def test_console_script():
    from pathlib import Path

    script = Path(sys.executable).parent / "carl"
    if not script.is_file():
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "info", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["package"] == carl.__version__


@pytest.mark.parametrize(
    ("length", "override", "said"),
    [
        ({"epochs": 2}, {}, "2 epochs"),
        ({"budget": "4s"}, {}, "for 4 s"),
        ({"budget": "4s"}, {"total_steps": 3}, "3 steps"),
    ],
)
def test_demo_on_a_small_set(images, tmp_path, monkeypatch, capsys, length, override, said):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    gray = np.concatenate([images[..., 0]] * 3)
    labels = (np.arange(len(gray)) % 40 % 4).astype(np.uint8)
    for part, count in (("train", 120), ("t10k", 60)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", gray[:count])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[:count])
    monkeypatch.setitem(demo.BUDGETS, "quick", {"images": 120, "length": length, "references": (60, 120)})
    overrides = {"width": 0.125, "projector": [16, 8], "prototypes": 6, "batch_size": 20, **override}
    results = demo.run(tmp_path / "out", quick=True, data=tmp_path, overrides=overrides, progress=False)
    printed = capsys.readouterr().out
    assert set(results["knn"]) == {"raw pixels", "untrained encoder", "trained encoder"}
    assert all(0 <= value <= 1 for row in results["knn"].values() for value in row.values())
    assert "NMI" in printed and "untrained encoder" in printed
    assert f"120 images without labels, {said}" in printed
    if "total_steps" in override:
        assert results["last_step"]["step"] == override["total_steps"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["knn"] == results["knn"]
    for name in ("curves", "counts", "gallery"):
        assert (tmp_path / "out" / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_goes_on_with_its_own_value_range(tmp_path, capsys):
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random((40, 16, 16), np.float32))
    place, run = str(tmp_path / "f.npy"), str(tmp_path / "run")
    arguments = ["train", place, *SMALL_ARGUMENTS, "value_range=0,1", "in_channels=1", "--out", run, "--quiet"]
    assert main([*arguments, "epochs=1"]) == 0
    assert main([*arguments, "epochs=2", "--resume"]) == 0
    assert main([*arguments, "epochs=2", "--resume", "value_range=[0,1]"]) == 0
    capsys.readouterr()
    assert main([*arguments, "epochs=2", "--resume", "value_range=0,2"]) == 1
    assert "value_range: got [0.0, 2.0]" in capsys.readouterr().err
