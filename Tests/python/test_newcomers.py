"""What a user of other libraries tries first, and may expect to work or to be told of."""

from __future__ import annotations

import io
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import carl
from carl import evaluate, runs
from carl.cli import main
from carl.progress import Bar
from conftest import run_python, small_model

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), dtype=np.uint8)


@pytest.fixture
def run(images, tmp_path):
    """A run, and the folders of two classes that it was trained on."""
    for number, image in enumerate(images):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    small_model(run_dir=tmp_path / "run", epochs=1).fit(tmp_path / "photos")
    return tmp_path


# ---- Threads


def test_threads_wait_for_one_another_to_embed(images):
    model = small_model(epochs=1).fit(images)
    with ThreadPoolExecutor(4) as pool:
        encoder = carl.Encoder.from_trainer(model.trainer_)
        for function in (model.transform, model.predict, model.predict_proba, encoder.transform):
            found = list(pool.map(lambda _, function=function: function(images), range(12)))
            assert all(np.array_equal(each, found[0]) for each in found)


def test_two_fits_of_one_model_are_one_and_an_error(images):
    inside, leave = threading.Event(), threading.Event()

    def wait(model, metrics):
        inside.set()
        assert leave.wait(60)

    model = small_model(epochs=2, callbacks=wait)
    thread = threading.Thread(target=model.fit, args=(images,))
    thread.start()
    assert inside.wait(60)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(carl.BusyError, match="being fitted already"):
            fit(images)
    leave.set()
    thread.join()
    assert [metrics.step for metrics in model.history_] == list(range(1, 7))
    model.fit(images)  # and it is free again


# ---- Parameters


@pytest.mark.parametrize("key", ["keep_images", "progress"])
@pytest.mark.parametrize("value", ["no", "False", 0, None, 2])
def test_what_is_neither_true_nor_false(images, key, value):
    with pytest.raises(carl.InvalidArgumentError, match=f"{key}: got {value!r}, want True or False"):
        small_model(**{key: value}).fit(images)


def test_words_of_python_on_the_command_line(run):
    known = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8", "epochs=3", "learning_rate=None"]
    for word, kept in (("False", False), ("false", False), ("True", True)):
        out = run / f"run-{word}"
        assert main(["train", str(run / "photos"), *known, f"keep_images={word}", "--quiet", "--out", str(out)]) == 0
        assert ("kept in memory" in (out / "train.log").read_text()) == kept


def test_a_short_run_is_not_said_to_learn_nothing(images, caplog):
    with caplog.at_level(logging.WARNING, "carl"):
        small_model(epochs=1, batch_size=12, progress=True).fit(images)
    assert "nothing is learnt" not in caplog.text


# ---- Figures


def test_results_can_be_compared(images):
    features, labels = images.reshape(24, -1).astype(np.float32), np.arange(24) % 2
    for protocol in (evaluate.knn, evaluate.retrieval):
        found = protocol(features, labels, features, labels)
        assert found == found and found in [found] and found != protocol(features, labels, features, labels)
        assert isinstance(hash(found), int)


def test_a_small_set_has_fewer_neighbours_than_the_default(run, capsys):
    features, labels = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 2
    assert evaluate.knn(features, labels, features, labels).k == 6
    assert list(evaluate.retrieval(features, labels).map_at) == [1, 5]
    assert np.array_equal(evaluate.outliers(features), evaluate.outliers(features, 5))
    for function in (
        lambda: evaluate.knn(features, labels, features, labels, k=7),
        lambda: evaluate.retrieval(features, labels, k=6),
        lambda: evaluate.outliers(features, 6),
    ):
        with pytest.raises(carl.InvalidArgumentError, match="k: got"):
            function()
    model, few = str(run / "run"), run / "few"
    for number in range(4):
        (few / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (few / "ab"[number % 2] / f"{number}.png").write_bytes((run / "photos" / "a" / "00.png").read_bytes())
    query = str(run / "photos" / "b" / "01.png")
    for command in (
        ["knn", model, str(few), str(few)],
        ["retrieval", model, str(few)],
        ["outliers", model, str(few)],
        ["neighbours", model, str(few), "--query", query, "--json"],
    ):
        assert main(command) == 0, capsys.readouterr().err
    assert main(["neighbours", model, str(few), "--query", query, "-k", "5"]) == 1


def test_figures_are_shown_where_they_cannot_be_kept(run, capsys, monkeypatch):
    def refuse(path, content):
        raise carl.FileError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr("carl._judged.replace_file", refuse)
    photos = str(run / "photos")
    for command in (["knn", str(run / "run"), photos, photos, "-k", "3"], ["retrieval", str(run / "run"), photos]):
        with pytest.warns(UserWarning, match="not kept for the report: cannot write"):
            assert main(command) == 0
        told = capsys.readouterr().out
        assert "k = 3" in told or "mAP" in told


def test_values_and_names_are_written_together_or_not_at_all(run, capsys, monkeypatch):
    """A full disk, for the names or for the values."""
    import carl._features as features

    out = run / "f.npy"
    assert main(["embed", str(run / "run"), str(run / "few_of"), "--out", str(out)]) == 1
    assert main(["embed", str(run / "run"), str(run / "photos" / "a"), "--out", str(out)]) == 0
    before = out.read_bytes(), (run / "f.paths.txt").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    for name in ("replace_file", "_write_npy"):
        with monkeypatch.context() as patch:
            patch.setattr(features, name, full)
            assert main(["embed", str(run / "run"), str(run / "photos"), "--out", str(out)]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert (out.read_bytes(), (run / "f.paths.txt").read_bytes()) == before


def test_a_resumed_run_has_the_figures_of_all_its_steps(images, tmp_path):
    labels = np.arange(24) % 2

    def stop(model, metrics):
        if metrics.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=stop).fit(images, eval_set=(images, labels))
    whole = small_model().fit(images, eval_set=(images, labels))
    for _ in range(2):
        model = small_model(run_dir=tmp_path).fit(images, resume=True, eval_set=(images, labels))
        assert [row.loss for row in model.history_] == [row.loss for row in whole.history_]
        assert [row["step"] for row in model.evaluations_] == [row["step"] for row in whole.evaluations_]
    lines = (tmp_path / "metrics.jsonl").read_text()
    for epochs, damaged in ((3, "nonsense\nmore\n"), (4, lines.replace('"loss": ', '"loss": null, "was": '))):
        (tmp_path / "metrics.jsonl").write_text(damaged)  # which training does not need
        last = small_model(run_dir=tmp_path, epochs=epochs).fit(images, resume=True).history_
        assert [row.step for row in last] == list(range(3 * epochs - 2, 3 * epochs + 1))


# ---- Files


def test_files_of_another_kind_are_named(images, run):
    model = carl.load(run / "run")
    classifier = carl.Classifier(model, epochs=1, progress=False).fit(images, np.arange(24) % 2)
    classifier.save(run / "c.carl")
    for read in (carl.Encoder, carl.Trainer.resume, lambda path: small_model().fit(images, resume=path)):
        with pytest.raises(carl.FileError, match=r"holds a classifier, want a checkpoint: .*carl.Classifier.load"):
            read(run / "c.carl")
    with pytest.raises(carl.FileError, match=r"holds a checkpoint, want a classifier: .*carl.load"):
        carl.Classifier.load(run / "run" / "checkpoints" / "last.carl")
    with pytest.raises(carl.InvalidArgumentError, match="needs one to begin from"):
        carl.Classifier.load(run / "c.carl").fit(images, np.arange(24) % 2)
    for read in (runs.read_metrics, runs.read_usage, runs.read_evaluations):
        with pytest.raises(carl.FileError, match="is a file, want the folder of a run"):
            read(run / "run" / "checkpoints" / "last.carl")
    with pytest.raises(carl.InvalidArgumentError, match="path: got NoneType"):
        carl.load(None)


def test_plots_of_a_classifier_have_its_classes(images, run):
    from carl import plots
    from carl.inspection import Inspection

    names = np.array(["cats", "do$g$s"])[np.arange(24) % 2]
    carl.Classifier(carl.load(run / "run"), epochs=1, progress=False).fit(images, names).save(run / "c.carl")
    seen = Inspection(run / "c.carl", str(run / "photos"))
    assert seen.classes == ["cats", "do$g$s"]
    gallery = plots.gallery(seen.images, seen.logits, names=seen.classes)
    labels = {axes.get_ylabel().split("\n")[0] for axes in gallery.axes} - {""}
    assert labels <= set(seen.classes) and labels and "classes" in gallery.get_suptitle()
    for kind in ("gallery", "counts", "map"):
        out = run / f"{kind}.png"
        command = ["plot", kind, str(run / "c.carl"), "--data", str(run / "photos"), "--out", str(out)]
        assert main(command) == 0 and Image.open(out).size[0] > 100
    with pytest.raises(carl.InvalidArgumentError, match="names: got 1"):
        plots.gallery(seen.images, seen.logits, names=["cats"])


def test_open_files_are_no_images(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with open(tmp_path / "x", "rb") as file:
        for given in (file, io.BytesIO(b"x")):
            with pytest.raises(carl.InvalidArgumentError, match="want its path"):
                carl.as_source(given)


@pytest.mark.parametrize("key", ["columns", "column_names"])
def test_tables_want_a_column(key):
    table = SimpleNamespace(**{key: ["path", "label"], "shape": (4, 2)})
    with pytest.raises(carl.InvalidArgumentError, match=r"table of the columns path, label; .*table\['path'\]"):
        carl.as_source(table)


# ---- Streams and bars


def test_standard_error_may_be_any_object_that_can_be_written_to(images, monkeypatch):
    class Plain:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    stream = Plain()
    monkeypatch.setattr(sys, "stderr", stream)
    small_model(epochs=1, progress=True).fit(images)
    assert "3/3" in stream.text


def test_a_bar_ends_with_the_last_steps_figures(images, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    model = small_model(epochs=3, progress=True).fit(images)
    last = stream.getvalue().rstrip().splitlines()[-1].split("\r")[-1]
    assert "epoch 3/3" in last and f"loss {model.history_[-1].loss:.3f}" in last


def test_bars_move_in_notebooks(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(True, 3, "x") as bar:
        assert bar._bar.mininterval < 1
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    with Bar(True, 3, "x") as bar:
        assert bar._bar.mininterval == 10


def test_an_iterator_that_was_used_up_is_no_empty_result(images):
    model = small_model(epochs=1).fit(images)
    batches = iter([images[:8], images[8:]])
    assert len(model.transform(batches)) == 24
    for function in (model.transform, model.predict):
        with pytest.raises(carl.InvalidArgumentError, match="gave none; an iterator gives its images once"):
            function(batches)


def test_names_on_a_terminal_that_knows_ascii_alone():
    """Python lets any byte of such a terminal through, and no other letter."""
    code = "from carl.cli import _print_any_name; _print_any_name(); print('caf\\xe9 \\udcff')"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "caf\\xe9 \\udcff"
