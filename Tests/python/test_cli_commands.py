"""The command line as its user meets it: evaluations, JSON, help, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.cli import COMMANDS, build_parser, main
from conftest import judged_figures, small_model

NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, labelled images (data.npz), and the same as .npy files."""
    folder = tmp_path_factory.mktemp("commands")
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = (random.integers(0, 60, (48, 12, 12, 3)) + 80 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8)
    np.savez(folder / "data.npz", images=images, labels=labels)
    np.save(folder / "x.npy", images)
    np.save(folder / "y.npy", labels)
    small_model(run_dir=folder / "run").fit(str(folder / "data.npz"))
    return folder / "run"


def run_json(arguments, capsys):
    capsys.readouterr()
    assert main([str(item) for item in [*arguments, "--json"]]) == 0
    return json.loads(capsys.readouterr().out)


def test_cluster(run, capsys):
    pytest.importorskip("sklearn")
    data = run.parent / "data.npz"
    found = run_json(["cluster", run, data], capsys)
    model, arrays = carl.load(run), np.load(data)
    expected = carl.evaluate.cluster(model.predict(arrays["images"]), arrays["labels"])
    assert found["prototypes"]["nmi"] == expected.nmi and found["k-means"]["clusters"] == 3
    kept = judged_figures(run / "evaluation" / "kmeans.json")
    assert kept == found["k-means"] and (run / "evaluation" / "cluster.json").is_file()
    assert (
        run_json(
            ["cluster", run, run.parent / "x.npy", "--labels", run.parent / "y.npy", "--clusters", 5, "--seed", 2],
            capsys,
        )["k-means"]["seed"]
        == 2
    )
    assert main(["cluster", str(run), str(data)]) == 0
    printed = capsys.readouterr().out
    assert "48 images, 3 labels" in printed and "k-means" in printed and "purity" in printed


def test_retrieval(run, capsys):
    data, x, y = run.parent / "data.npz", run.parent / "x.npy", run.parent / "y.npy"
    found = run_json(["retrieval", run, data, "-k", 1, 5], capsys)
    features = carl.load(run).transform(np.load(x))
    expected = carl.evaluate.retrieval(features, np.load(y), k=[1, 5])
    assert (
        found["map"] == expected.map
        and found["leave_one_out"]
        and found["map_at"] == {"1": expected.map_at[1], "5": expected.map_at[5]}
    )
    assert judged_figures(run / "evaluation" / "retrieval.json") == found
    other = run_json(["retrieval", run, data, x, "--query-labels", y], capsys)
    assert other["recall_at"]["1"] == 1 and not other["leave_one_out"]  # each finds itself
    assert main(["retrieval", str(run), str(data)]) == 0
    assert "mAP@10" in capsys.readouterr().out
    for wrong, words in [
        ([run, x], "has no labels"),
        ([run, data, "--query-labels", y], "QUERIES"),
        ([run, data, "-k", "48"], "k: got 48, want 1 .. 47"),
        ([run, data, x], "has no labels"),
    ]:
        assert main(["retrieval", *map(str, wrong)]) == 1
        assert words in capsys.readouterr().err


def test_every_command_prints_json(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    data = run.parent / "data.npz"
    assert run_json(["embed", run, data, "--out", tmp_path / "f.npy"], capsys)["images"] == 48
    assert run_json(["export", run, "--out", tmp_path / "e.safetensors"], capsys)["tensors"]
    assert run_json(["info", run], capsys)["step"] == 12
    assert run_json(["knn", run, data, data, "-k", 1], capsys)["accuracies"] == {"1": 1.0}
    assert run_json(["plot", "curves", run, "--out", tmp_path / "c.png"], capsys)["plot"] == "curves"
    assert (
        "curves"
        in run_json(["report", run, "--out", tmp_path / "r.html", "--data", tmp_path / "none"], capsys)["plots"]
    )
    trained = [
        "train",
        data,
        "width=0.125",
        "projector=[16,8]",
        "prototypes=6",
        "batch_size=8",
        "epochs=1",
        "--quiet",
        "--out",
        tmp_path / "t",
    ]
    assert run_json(trained, capsys)["metrics"]["step"] == 6


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "examples:" in text and f"carl {name}" in text.partition("examples:")[2]


def test_help_names_every_command_and_the_exit_codes():
    text = build_parser().format_help()
    for name in NAMES:
        assert name in text
    assert "Exit codes" in text and "130" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["embed", "m"],
        ["cluster", "m"],
        ["retrieval"],
        ["info", "--treads", "3"],
        ["knn", "m", "a", "b", "-k", "none"],
        ["info", "m", "key=value"],
        ["plot", "pie", "m"],
        ["train", "d", "--logger", "paper"],
    ],
)
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: carl" in capsys.readouterr().err


def test_ctrl_c_exits_130_and_the_run_goes_on(run, tmp_path):
    out = tmp_path / "long"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(carl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [
        sys.executable,
        "-m",
        "carl",
        "train",
        str(run.parent / "data.npz"),
        "width=0.125",
        "projector=[16,8]",
        "prototypes=6",
        "batch_size=8",
        "epochs=100000",
        "--quiet",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        until = time.monotonic() + 120
        while not ((out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").stat().st_size > 2000):
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.splitlines() == [f"to go on: carl train {out} --resume", "carl: interrupted"]
    steps = carl.load(out).trainer_.step_count
    assert steps == carl.runs.read_metrics(out)[-1]["step"]
    assert main(["train", str(out), "--resume", f"epochs={steps // 6 + 1}", "--quiet"]) == 0
    assert carl.load(out).trainer_.step_count == (steps // 6 + 1) * 6


# ---- Parameters as options


def test_the_help_of_train_lists_every_parameter(capsys):
    import inspect

    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    words = text.split()
    refused = {"run_dir": "--out", "progress": "--quiet", "callbacks": "--logger"}
    for key in inspect.signature(carl.CARL.__init__).parameters:
        assert key == "self" or key in refused or key in words, key
    for key, option in refused.items():
        assert f"\n    {key} " not in text and f"  {option}" in text
        assert main(["train", "photos/", f"{key}=1"]) == 1 and f"see {option}" in capsys.readouterr().err
    assert "SUPPRESS" not in words


@pytest.mark.parametrize(
    "arguments",
    [
        ["DATA", "--epochs", "1", "--batch-size=12"],
        ["--epochs", "1", "--batch_size", "12", "DATA"],
        ["DATA", "--batch_size", "12", "epochs=1"],
        ["DATA", "epochs=1", "--batch-size", "12"],
        ["--batch-size", "12", "DATA", "epochs=1"],
        ["DATA", "epochs=1", "--epochs", "1", "--batch-size", "12"],
    ],
)
def test_parameters_as_options(run, tmp_path, arguments):
    arguments = [str(run.parent / "data.npz") if item == "DATA" else item for item in arguments]
    small = [
        "--width",
        "0.125",
        "--projector",
        "[16,8]",
        "--prototypes",
        "6",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["train", *arguments, *small]) == 0
    model = carl.load(tmp_path / "run")
    assert (model.epochs, model.batch_size, model.projector, model.trainer_.step_count) == (1, 12, [16, 8], 4)


def test_the_documentation_lists_every_parameter():
    import re

    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    if not page.is_file():
        pytest.skip("the documentation is not here")
    from carl.cli import _keys

    listed = {
        key
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert set(_keys.names()) <= listed, set(_keys.names()) - listed


def test_every_parameter_is_an_option():
    from carl.cli import _keys

    parser = build_parser()
    for key in _keys.names():
        for option in (f"--{key}", f"--{key.replace('_', '-')}"):
            parsed = parser.parse_args(["train", "photos/", option, "3"])
            assert parsed.options == [f"{key}=3"] and parsed.data == "photos/" and parsed.overrides == []
    parser.parse_args(["train", "photos/", "--epochs", "3"])
    assert parser.parse_args(["train", "photos/"]).options == []


def test_options_that_are_none(run, tmp_path, capsys):
    data, out = str(run.parent / "data.npz"), str(tmp_path / "run")
    assert main(["train", data, "--run-dir", out]) == 1
    assert "see --out" in capsys.readouterr().err
    assert main(["train", data, "--epochs", "many", "--out", out]) == 1
    assert "epochs: got 'many'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["train", data, "--learning-rat3", "3"])
    assert caught.value.code == 2 and "did you mean 'learning_rate'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_are_not_abbreviated(run, tmp_path, capsys):
    data, model = str(run.parent / "data.npz"), str(run)
    for words, hint in (
        (["train", data, "--epoch", "3"], "did you mean 'epochs'?"),
        (["knn", model, data, data, "--tempera", "0.1"], "--tempera"),
        (["plot", "map", model, "--meth", "pca"], "--meth"),
        (["embed", "--weight", "x.safetensors", data, "--out", "f.npy"], "--weight"),
        (["--vers"], "--vers"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2 and hint in capsys.readouterr().err, words


def test_one_time_of_the_demonstration(capsys):
    root = Path(__file__).parents[2]
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "about eight minutes on two processors" in said.lower() and "about two" in said
    for name in ("README.md", "Makefile", "docs/first-steps.md"):
        if (root / name).is_file():
            text = (root / name).read_text(encoding="utf-8")
            assert "about eight minutes on two processors" in text and "QUICK=1: about two" in text
