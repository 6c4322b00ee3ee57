"""Plots and the report: what is drawn, checked by the figures' own data, and what bad input says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import carl
from carl import runs
from carl.usage import describe_assignments
from conftest import run_python, small_model

pytest.importorskip("matplotlib")
from carl import plots, report  # noqa: E402

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on labelled images in an .npz file."""
    folder = tmp_path_factory.mktemp("run")
    images = RANDOM.integers(0, 256, (48, 12, 12, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(48) % 3)
    small_model(run_dir=folder / "r").fit(str(folder / "data.npz"))
    return folder / "r"


def history(steps=60):
    return [
        {
            "step": step,
            "loss": 5 / step,
            "consistency": 3.0,
            "prior": 0.1,
            "log_prototypes": 2.0,
            "effective_prototypes": 4.0,
            "used_prototypes": 5.0,
            "max_probability": 0.4,
            "agreement": 0.5,
            "embedding_std": 0.2,
            "learning_rate": 0.1,
            "views_per_second": 100.0,
        }
        for step in range(1, steps + 1)
    ]


def records(*assignments):
    return [
        {"step": 10 * place, "assignments": row, "assignment_entropy": 0.5, "mean_assignment_entropy": 1.5}
        for place, row in enumerate(assignments)
    ]


def written(figure, path):
    file = plots.save(figure, path)
    return file.read_bytes()


# ---- What is drawn


def test_curves_draw_every_series(tmp_path):
    figure = plots.curves(history(), {"prototypes": 6, "projector": [16, 4]})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "Loss and its terms",
        "Prototypes in use",
        "Confidence and agreement of views",
        "Spread of the embedding",
        "Learning rate",
        "Speed",
    ]
    loss = next(line for line in figure.axes[0].lines if line.get_label() == "loss")
    assert list(loss.get_xdata()) == list(range(1, 61))
    assert {round(float(line.get_ydata()[0]), 6) for line in figure.axes[3].lines} >= {0.5}  # 1/sqrt(4)
    assert written(figure, tmp_path / "deep" / "c.png").startswith(b"\x89PNG")
    assert b"<svg" in written(plots.curves(history(1)), tmp_path / "c.svg")


def test_curves_of_a_run_folder(tmp_path, images):
    run = tmp_path / "run"
    small_model(epochs=2, run_dir=run).fit(images, eval_set=(images, np.arange(40) % 2))
    told = plots.curves(runs.read_metrics(run), runs.read_config(run), runs.read_evaluations(run))
    for path in (run, str(run)):
        figure = plots.curves(path)
        assert [len(axes.lines) for axes in figure.axes] == [len(axes.lines) for axes in told.axes]
    with pytest.raises(carl.FileError, match="no such run folder"):
        plots.curves("no/such/run")


def test_curves_take_gaps_and_long_runs():
    rows = history(7001)
    rows[5]["loss"] = float("nan")
    rows[6]["loss"] = None
    figure = plots.curves(rows)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "loss")
    assert len(line.get_xdata()) < 5000 and np.isfinite(line.get_ydata()).all()


def test_usage_orders_and_counts():
    figure = plots.usage(records([0, 0, 1, 1], [2, 2, 2, 1], [2, 2, 2, 0]), prototypes=5)
    picture, shares, _ = figure.axes
    assert picture.get_title(loc="left").startswith("3 of 5")
    mesh = np.asarray(picture.collections[0].get_array().filled(0)).reshape(3, 3)
    np.testing.assert_allclose(mesh[0], [0, 0.75, 0.75])  # prototype 2, the busiest at the end, is on top
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [0.4, 0.4, 0.4])
    np.testing.assert_allclose(shares.lines[1].get_ydata(), [0.75, 0.25])
    plots.usage(records([0, 1]))
    plots.usage(records(list(range(600)), list(range(600))))


def test_counts_gallery_and_neighbours_show_the_right_images():
    images = np.zeros((6, 4, 4), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None]
    figure = plots.counts(np.array([0, 0, 3]), 4)
    assert figure.axes[0].get_title(loc="left").startswith("2 of 4")
    logits = np.eye(6)[:, :3] + 0.1 * np.arange(6)[:, None]
    figure = plots.gallery(images, logits, prototypes=[1], nearest=2)
    assert [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes] == [1, 5]
    angles = np.deg2rad([0, 1, 50, 52, 100, 103])
    figure = plots.neighbours(
        images, np.stack([np.cos(angles), np.sin(angles)], 1), [0, 4], k=1, labels=[0, 0, 1, 1, 2, 3]
    )
    assert [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes] == [0, 1, 4, 5]
    framed = [axes.spines["top"].get_visible() for axes in figure.axes]
    assert framed == [True, False, True, True]  # queries, and the neighbour of another label


def test_neighbours_leave_out_the_query_among_equals():
    images = np.zeros((5, 4, 4), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]
    figure = plots.neighbours(images, np.ones((5, 2)), [4], k=3)
    shown = [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes]
    assert shown[0] == 4 and 4 not in shown[1:] and len(shown) == 4


def test_images_of_any_channels_and_sizes():
    logits = RANDOM.standard_normal((3, 2))
    plots.gallery(np.zeros((3, 5, 5, 7), np.uint8), logits)
    plots.gallery([np.zeros((5, 5, 3), np.uint8), np.zeros((9, 4, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)], logits)


def test_pca_is_the_largest_variance():
    values = RANDOM.standard_normal((200, 5))
    points = plots.project(values)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    wanted = np.linalg.eigvalsh(np.cov(unit.T, bias=True))[::-1][:2]
    np.testing.assert_allclose(points.var(axis=0), wanted, rtol=1e-6)  # directions are float32
    assert np.array_equal(points, plots.project(values))
    assert plots.project(values[:, :1]).shape == (200, 2)


def test_map_by_label_by_prototype_and_alone():
    values = RANDOM.standard_normal((50, 4))
    figure = plots.embedding_map(values, np.arange(50) % 3, ["cat", "dog", "cow"])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cat", "dog", "cow"]
    assert plots.embedding_map(values, np.arange(50)).axes[0].get_legend() is None
    plots.embedding_map(values)
    text = np.array(["cow", "dog"], object)[np.arange(50) % 2]
    found = plots.embedding_map(values, text, ["not", "these"]).axes[0].get_legend().get_texts()
    assert [each.get_text() for each in found] == ["cow", "dog"]
    plots.embedding_map(values, (np.arange(50) % 2).astype(bool), np.array(["a", "b"]))


@pytest.mark.parametrize(("method", "package"), [("tsne", "sklearn"), ("umap", "umap")])
def test_other_maps(method, package):
    pytest.importorskip(package)
    assert plots.project(RANDOM.standard_normal((30, 4)), method).shape == (30, 2)


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_a_map_of_equal_features(method):
    """In a process of its own, which t-SNE may end."""
    pytest.importorskip({"pca": "numpy", "tsne": "sklearn", "umap": "umap"}[method])
    done = run_python(
        "import numpy as np\n"
        "from carl import plots\n"
        "scales = np.random.default_rng(0).uniform(1, 2, (50, 1))\n"
        "for rows in (np.ones((3, 4)), np.ones((50, 4)), np.zeros((10, 4)), scales * np.ones((50, 512))):\n"
        f"    points = plots.project(rows, {method!r})\n"
        "    assert points.shape == (len(rows), 2) and not points.any(), points\n"
        "plots.embedding_map(np.ones((5, 2)))"
    )
    assert done.returncode == 0, done.stderr


def test_confusion_is_a_staircase():
    figure = plots.confusion([7, 7, 2, 2, 2], [1, 1, 0, 0, 1], ["a", "b"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[2 / 3, 1 / 3], [0, 1]])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["a", "b"]
    assert "purity 0.800" in figure.axes[0].get_title(loc="left")


def test_entropies_against_a_plain_computation():
    logits = RANDOM.standard_normal((20, 7)).astype(np.float32) * 3
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    found = describe_assignments(logits)
    assert found["assignments"] == logits.argmax(1).tolist()
    assert found["assignment_entropy"] == pytest.approx(float(-(p * np.log(p)).sum(1).mean()))
    assert found["mean_assignment_entropy"] == pytest.approx(float(-(p.mean(0) * np.log(p.mean(0))).sum()))
    sharp = describe_assignments(np.array([[1e4, 0], [0, 1e4]], np.float32))
    assert sharp["assignment_entropy"] == 0 and sharp["mean_assignment_entropy"] == pytest.approx(np.log(2))
    figure = plots.entropy(history(), records([0, 1], [1, 1]), p)
    assert len(figure.axes) == 2 and len(plots.entropy(history()).axes) == 1


# ---- Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.curves([]), "history"),
        (lambda: plots.curves([1, 2]), "history: got list, want the metrics of each step"),
        (lambda: plots.curves(3), "history: got int, want the metrics of each step"),
        (lambda: plots.entropy([]), "history"),
        (lambda: plots.usage([]), "records"),
        (lambda: plots.usage(records([0, 9]), 5), "from 0 to 4"),
        (lambda: plots.counts([0, 5], 3), "from 0 to 2"),
        (lambda: plots.counts([], 3), "assignments"),
        (lambda: plots.counts(np.zeros(3), 3), "assignments"),
        (lambda: plots.gallery([1, 2], np.zeros((3, 2))), "images"),
        (lambda: plots.gallery([], np.zeros((0, 2))), "logits"),
        (lambda: plots.gallery([0] * 3, np.zeros((3, 2)), [2]), "prototypes"),
        (lambda: plots.gallery([0] * 3, np.zeros((3, 2)), 0), "prototypes"),
        (lambda: plots.neighbours([0] * 3, np.ones((3, 2)), k=3), "k: got 3"),
        (lambda: plots.neighbours([0] * 3, np.ones((3, 2)), [7], k=1), "queries"),
        (lambda: plots.neighbours([0] * 3, np.ones((3, 2)), k=1, labels=[1]), "labels"),
        (lambda: plots.neighbours([0] * 2, np.ones((3, 2)), k=1), "images"),
        (lambda: plots.embedding_map(np.full((5, 2), np.nan)), "NaN"),
        (lambda: plots.embedding_map(np.ones(5)), "features"),
        (lambda: plots.embedding_map(np.ones((5, 2)), [1, 2]), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), [0, 1, None, 1, 0]), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), ["a", 1, None, 1.5, b"x"]), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), [{}] * 5), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), [0.5] * 5), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), np.ones((5, 2), int)), "colours"),
        (lambda: plots.embedding_map(np.ones((5, 2)), 3), "colours"),
        (lambda: plots.project(np.ones((2, 2))), "at least 3"),
        (lambda: plots.project(np.ones((5, 2)), "isomap"), "method"),
        (lambda: plots.confusion([1, 2], [1]), "labels"),
        (lambda: plots.save(plots.counts([0], 1), "/tmp/x.nonsense"), "x.nonsense"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        call()


def test_missing_packages_are_named(run):
    done = run_python(
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "from carl.cli import main\n"
        f"codes = [main(['plot', 'curves', {str(run)!r}]), main(['report', {str(run)!r}])]\n"
        "print(codes)"
    )
    assert done.stdout.strip() == "[1, 1]", done.stderr
    assert done.stderr.count("pip install matplotlib") == 2 and "Traceback" not in done.stderr
    done = run_python(
        "import sys, numpy; sys.modules['sklearn'] = sys.modules['sklearn.manifold'] = sys.modules['umap'] = None\n"
        "from carl import plots, MissingPackageError\n"
        "for method in ('tsne', 'umap'):\n"
        "    try: plots.project(numpy.ones((5, 2)), method)\n"
        "    except MissingPackageError as error: print(error)"
    )
    assert "pip install scikit-learn" in done.stdout and "pip install umap-learn" in done.stdout


# ---- Usage of prototypes, recorded


def test_usage_is_recorded_and_changes_nothing(run, tmp_path):
    rows = runs.read_usage(run)
    assert (
        rows[0]["step"] == 0
        and rows[-1]["step"] == 12
        and [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    )
    assert {len(row["assignments"]) for row in rows} == {32}
    model = carl.load(run)
    data = np.load(run.parent / "data.npz")["images"]
    places = np.unique(np.linspace(0, 47, 32).astype(int))
    assert rows[-1]["assignments"] == model.predict(data[places]).tolist()
    plain = small_model().fit(data)
    assert all(
        np.array_equal(value, plain.trainer_.state_dict()[key]) for key, value in model.trainer_.state_dict().items()
    )


def test_usage_of_a_resumed_run_is_that_of_a_whole_one(run, tmp_path):
    def stop(model, metrics):
        if metrics.step == 8:
            raise KeyboardInterrupt

    data = str(run.parent / "data.npz")
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=stop).fit(data)
    small_model(run_dir=tmp_path).fit(data, resume=True)
    assert (tmp_path / "usage.jsonl").read_text() == (run / "usage.jsonl").read_text()
    small_model(run_dir=tmp_path).fit(data, resume=True)  # nothing to do, nothing to add
    assert (tmp_path / "usage.jsonl").read_text() == (run / "usage.jsonl").read_text()


@pytest.mark.usefixtures("undrawn")
def test_streams_record_none(images, tmp_path):
    small_model(run_dir=tmp_path).fit([images[:20], images[20:]])
    assert runs.read_usage(tmp_path) == []
    page = report.write(tmp_path)
    assert page.plots == ["curves", "entropy"] and "--data" in page.left_out["gallery"]


# ---- The report


def test_report_is_one_file_with_everything(run):
    pytest.importorskip("scipy")
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / "knn.json").write_text('{"protocol": "knn", "accuracies": {"20": 0.8125}}')
    page = report.write(run)
    assert page.left_out == {} and len(page.plots) == 9
    text = page.path.read_text(encoding="utf-8")
    assert text.count('src="data:image/png;base64,') == 9
    for forbidden in ("http:", "https:", "<script", "<link", "url(", 'src="/'):
        assert forbidden not in text
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', text)) == {"data:"}
    for key, value in runs.read_config(run).items():
        if value is not None:
            assert f"<td>{key}</td>" in text
    assert "0.8125" in text and "finished at step 12" in text and "accuracies / 20" in text


@pytest.mark.usefixtures("undrawn")
def test_report_escapes_and_says_what_is_missing(run, tmp_path):
    import shutil

    copy = tmp_path / "<b>run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    page = report.write(copy, tmp_path / "page.html")
    text = page.path.read_text(encoding="utf-8")
    assert "<b>run" not in text and "&lt;b&gt;run" in text
    assert (
        page.plots == ["curves", "usage", "entropy"] and "no checkpoint" in page.left_out["map"] and "Not shown" in text
    )


@pytest.mark.usefixtures("undrawn")
def test_report_without_labels_or_images(run, tmp_path):
    np.save(tmp_path / "plain.npy", np.load(run.parent / "data.npz")["images"])
    page = report.write(run, tmp_path / "a.html", data=str(tmp_path / "plain.npy"), images=8)
    assert set(page.left_out) == {"map by label", "confusion"} and "--labels" in page.left_out["confusion"]
    assert "8 images" in page.path.read_text() or "neighbours" in page.plots
    page = report.write(run, tmp_path / "b.html", data=str(tmp_path / "none"))
    assert page.plots == ["curves", "usage", "entropy"] and "no such file" in page.left_out["gallery"]


# ---- Damaged and missing folders


def test_a_line_cut_off_by_a_kill_is_left_out(run, tmp_path):
    rows = (run / "metrics.jsonl").read_text().splitlines()
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(rows[:5]) + "\n" + rows[5][:30])
    assert [row["step"] for row in runs.read_metrics(file)] == [1, 2, 3, 4, 5]
    file.write_bytes(("\n".join(rows[:5]) + "\n").encode() + b"\x00\x00\xff\x00")
    assert len(runs.read_metrics(file)) == 5
    file.write_text(rows[0] + "\n" + rows[1][:30] + "\n" + rows[2] + "\n")
    with pytest.raises(carl.FileError, match="line 2"):
        runs.read_metrics(file)
    file.write_text("")
    assert runs.read_metrics(file) == []


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(carl.FileError, match="no such run folder"):
        runs.read_metrics(tmp_path / "none")
    with pytest.raises(carl.FileError, match="not the folder of a run"):
        runs.read_metrics(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(carl.FileError, match="is a file"):
        runs.read_config(tmp_path / "file")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(carl.FileError, match="no metrics.jsonl"):
        runs.read_metrics(tmp_path)
    with pytest.raises(carl.FileError, match="no checkpoint"):
        carl.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(carl.ConfigurationError, match="config.json"):
        runs.read_config(tmp_path)
    with pytest.raises(carl.ConfigurationError, match="config.json"):
        report.write(tmp_path)


def test_report_of_a_run_without_steps(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"prototypes": 6}))
    page = report.write(tmp_path)
    assert page.plots == [] and "no step" in page.left_out["curves"]
