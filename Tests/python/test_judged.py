"""What is kept of a run says which checkpoint it is of, and the report says where that is not the present one."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import carl
from carl import _judged
from carl.cli import main
from conftest import small_model

COMMANDS = {
    "knn": (["knn", "RUN", "DATA", "DATA", "-k", "1"], ["knn"], {"train", "test"}),
    "retrieval": (["retrieval", "RUN", "DATA"], ["retrieval"], {"images"}),
    "retrieval of queries": (["retrieval", "RUN", "DATA", "DATA"], ["retrieval"], {"images", "queries"}),
    "cluster": (["cluster", "RUN", "DATA"], ["cluster", "kmeans"], {"images"}),
    "linear": (["linear", "RUN", "DATA", "DATA", "--epochs", "1", "--quiet"], ["linear"], {"train", "test"}),
    "finetune": (
        ["finetune", "RUN", "DATA", "DATA", "--epochs", "1", "--seeds", "0", "--labels", "100%", "--quiet"],
        ["finetune"],
        {"train", "test"},
    ),
    "transfer": (["transfer", "RUN", "DATA", "DATA", "--epochs", "1", "--quiet"], ["transfer"], {"train", "test"}),
}


@pytest.fixture
def run(images, tmp_path):
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(40) % 2)
    small_model(run_dir=tmp_path / "run").fit(str(tmp_path / "data.npz"))
    return tmp_path / "run"


def command(run, arguments):
    places = {"RUN": str(run), "DATA": str(run.parent / "data.npz")}
    assert main([places.get(item, item) for item in arguments]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_evaluation_says_what_it_judged(run, name):
    arguments, files, parts = COMMANDS[name]
    if name == "cluster":
        pytest.importorskip("sklearn")
    command(run, arguments)
    digest = hashlib.sha256((run / "checkpoints" / "last.carl").read_bytes()).hexdigest()
    assert {path.name for path in (run / "evaluation").iterdir()} == {f"{file}.json" for file in files}
    for file in files:
        kept = json.loads((run / "evaluation" / f"{file}.json").read_text())
        assert kept["checkpoint"] == {"step": 10, "sha256": digest}
        assert set(kept["data"]) == parts
        for facts in kept["data"].values():
            assert facts["path"] == str(run.parent / "data.npz") and facts["images"] == 40 and facts["description"]


def test_labels_of_a_file_are_named(run):
    np.save(run.parent / "x.npy", np.load(run.parent / "data.npz")["images"])
    np.save(run.parent / "y.npy", np.arange(40) % 2)
    x, y = str(run.parent / "x.npy"), str(run.parent / "y.npy")
    assert main(["knn", str(run), x, x, "--train-labels", y, "--test-labels", y]) == 0
    kept = json.loads((run / "evaluation" / "knn.json").read_text())
    assert kept["data"]["test"]["labels"] == y


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_what_is_of_another_checkpoint(run, capsys):
    pytest.importorskip("matplotlib")
    command(run, COMMANDS["knn"][0])
    command(run, ["plot", "counts", "RUN"])
    capsys.readouterr()
    command(run, ["report", "RUN", "--images", "6", "--json"])
    assert json.loads(capsys.readouterr().out)["stale"] == {}
    assert "Not of the present checkpoint" not in (run / "report.html").read_text(encoding="utf-8")
    small_model(run_dir=run, epochs=3).fit(str(run.parent / "data.npz"), resume=True)
    command(run, ["report", "RUN", "--images", "6"])
    printed, page = capsys.readouterr().out, (run / "report.html").read_text(encoding="utf-8")
    reason = "of step 10, but the present checkpoint is of step 15"
    for file in ("evaluation/knn.json", "plots/counts.png"):
        assert f"{file}: {reason}" in printed
        assert f"<td>{file}</td><td>{reason}" in page
    assert f"evaluation/knn.json ({reason}" in page
    command(run, COMMANDS["knn"][0])
    command(run, ["plot", "counts", "RUN"])
    assert _judged.stale(run) == {}


def test_another_model_of_the_same_step(run):
    command(run, COMMANDS["knn"][0])
    (run / "checkpoints" / "last.carl").unlink()
    small_model(run_dir=run, seed=8).fit(str(run.parent / "data.npz"))
    assert "another model" in _judged.stale(run)["evaluation/knn.json"]
    (run / "checkpoints" / "last.carl").unlink()
    assert "no checkpoint here any more" in _judged.stale(run)["evaluation/knn.json"]


@pytest.mark.parametrize(
    "content", ['{"accuracies": {"1": 1.0}}', '{"checkpoint": 3}', '{"checkpoint": {"sha256": [1]}}']
)
def test_figures_that_do_not_say_are_not_trusted(run, content):
    (run / "evaluation").mkdir()
    (run / "evaluation" / "knn.json").write_text(content)
    assert set(_judged.stale(run)) == {"evaluation/knn.json"}


def test_a_checkpoint_that_changes_meanwhile_is_the_one_that_is_noted(run):
    """The checkpoint is replaced while it is loaded: what is noted is what was loaded in the end."""
    other = run.parent / "other.carl"
    small_model(epochs=3).fit(np.load(run.parent / "data.npz")["images"]).save(other)
    calls = []

    def load(path):
        model = carl.load(path)
        calls.append(model.trainer_.step_count)
        if other.exists():
            other.rename(run / "checkpoints" / "last.carl")
        return model

    model, judged = _judged.loaded(str(run), load)
    assert (
        calls == [10, 15]
        and judged.checkpoint == _judged.checkpoint_facts(run)
        and judged.checkpoint["step"] == model.trainer_.step_count
    )


def test_a_lone_checkpoint_keeps_nothing(run, tmp_path):
    (run / "checkpoints" / "last.carl").rename(tmp_path / "lone.carl")
    data = str(run.parent / "data.npz")
    before = set(tmp_path.iterdir())
    assert main(["knn", str(tmp_path / "lone.carl"), data, data]) == 0
    assert set(tmp_path.iterdir()) == before


def test_an_evaluation_of_an_earlier_step_is_marked_in_the_cards():
    from carl.report import _figures

    history = [{"step": 20, "loss": 1.0}]
    assert "k-NN accuracy at step 10" in _figures(history, {}, [{"step": 10, "knn": 0.5, "linear": None}])
    assert "k-NN accuracy" in _figures(history, {}, [{"step": 20, "knn": 0.5, "linear": None}])
