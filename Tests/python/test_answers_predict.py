"""From a trained model to a classifier's predictions in a table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import carl
from carl import evaluate
from carl.cli import main
from conftest import small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """model.carl, labelled/ and test/ with the classes dark, light and red, and classifier.carl."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("predict")
    random = np.random.default_rng(0)
    colours = {"dark": (30, 30, 30), "light": (220, 220, 220), "red": (200, 40, 40)}
    for part, count in (("labelled", 12), ("test", 4)):
        for name, colour in colours.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.array(colour) + random.integers(-25, 26, (12, 12, 3))
                image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{number:02}.png")
    small_model(epochs=1).fit(folder / "labelled").save(folder / "model.carl")
    return folder


@pytest.fixture(scope="module")
def classifier(place):
    assert linear(place, "--method", "logistic", "--save", place / "classifier.carl") == 0
    return place / "classifier.carl"


def linear(place, *arguments):
    return main(["linear", *(str(place / name) for name in ("model.carl", "labelled", "test")), *map(str, arguments)])


@pytest.mark.parametrize("method", [["--method", "logistic"], ["--epochs", "2", "--seeds", "3", "4", "--quiet"]])
def test_the_saved_classifier_is_the_one_that_was_judged(place, tmp_path, capsys, method):
    assert linear(place, *method, "--save", tmp_path / "c.carl", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    with carl.Classifier.load(tmp_path / "c.carl") as found:
        right = found.predict(place / "test") == np.repeat(["dark", "light", "red"], 4)
    assert np.mean(right) == figures["accuracies"][0]


def test_two_classes(place, tmp_path):
    """scikit-learn has one row of weights for two classes, the classifier two."""
    pixels = carl.as_source(place / "labelled").read(np.arange(24))
    labels = np.repeat(["dark", "light"], 12)
    result = evaluate.linear_probe(
        place / "model.carl",
        pixels,
        labels,
        pixels,
        labels,
        method="logistic",
        save=tmp_path / "c.carl",
        progress=False,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = carl.load(place / "model.carl").transform(pixels)
    shares = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
    with carl.Classifier.load(tmp_path / "c.carl") as found:
        np.testing.assert_array_equal(found.predict(pixels), result.predictions)
        np.testing.assert_allclose(found.predict_proba(pixels), shares.predict_proba(features), atol=1e-4)


def test_save_wants_a_model(tmp_path):
    with pytest.raises(carl.InvalidArgumentError, match="save: wants a model"):
        evaluate.linear_probe(
            None, np.eye(4), [0, 1, 0, 1], np.eye(4), [0, 1, 0, 1], method="logistic", save=tmp_path / "c.carl"
        )


def test_predict_takes_what_transform_takes(place, classifier):
    with carl.Classifier.load(classifier) as found:
        folder = found.predict(place / "test")
        paths = sorted((place / "test").rglob("*.png"))
        pixels = np.stack(carl.as_source(place / "test").read(np.arange(12)))
        assert folder.tolist() == ["dark"] * 4 + ["light"] * 4 + ["red"] * 4
        for images in (paths, pixels, list(pixels), iter([pixels[:5], pixels[5:]])):
            np.testing.assert_array_equal(found.predict(images), folder)
        assert found.predict(paths[5]).tolist() == ["light"] and found.in_channels_ == 3
        features, names = found.transform(place / "test", return_paths=True)
        assert names == list(map(str, paths))
        np.testing.assert_allclose(features, carl.load(place / "model.carl").transform(paths), rtol=1e-3, atol=1e-5)
        with pytest.raises(carl.CARLError, match="channel"):
            found.predict(pixels[..., :1])


def test_csv(place, classifier, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert main(["predict", str(classifier), str(place / "test"), "--out", str(out)]) == 0
    assert "accuracy  1.0000 of 12 labelled images" in capsys.readouterr().out
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "label", "predicted", "probability_dark", "probability_light", "probability_red"]
    with carl.Classifier.load(classifier) as found:
        shares = found.predict_proba([row["name"] for row in rows])
    written = np.array([[row[f"probability_{name}"] for name in ("dark", "light", "red")] for row in rows], np.float32)
    np.testing.assert_allclose(written, shares, atol=1e-5)
    assert [row["predicted"] for row in rows] == [("dark", "light", "red")[place] for place in shares.argmax(axis=1)]


def test_npz_of_images_without_labels(place, classifier, tmp_path, capsys):
    out = tmp_path / "p.npz"
    assert main(["predict", str(classifier), str(place / "test" / "red"), "--out", str(out), "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["predicted"] == {"dark": 0, "light": 0, "red": 4} and kept["accuracy"] is None
    with np.load(out) as file:
        assert set(file) == {"names", "predicted", "probabilities", "classes"}
        assert file["predicted"].tolist() == ["red"] * 4 and file["probabilities"].shape == (4, 3)


def test_a_broken_image_has_no_class(place, classifier, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes((place / "test" / "red" / "00.png").read_bytes())
    (tmp_path / "new" / "b.png").write_bytes(b"broken")
    arguments = ["predict", str(classifier), str(tmp_path / "new"), "--out", str(tmp_path / "p.csv")]
    assert main(arguments) == 1 and not (tmp_path / "p.csv").exists()
    with pytest.warns(UserWarning, match=r"b\.png"):
        assert main([*arguments, "--on-error", "nan"]) == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[1].split(",")[1] == "red" and lines[2].endswith("b.png,,nan,nan,nan")


@pytest.mark.parametrize(
    ("model", "out", "words"),
    [
        ("model.carl", "p.csv", "has no classifier: `carl linear"),
        ("classifier.carl", "p.npy", "want one of .csv, .npz, .parquet"),
    ],
)
def test_refused(place, classifier, tmp_path, capsys, model, out, words):
    assert main(["predict", str(place / model), str(place / "test"), "--out", str(tmp_path / out)]) == 1
    assert words in capsys.readouterr().err


def test_other_commands_understand_a_classifier(place, classifier, tmp_path, capsys):
    assert main(["info", str(classifier), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "classifier" and facts["classes"] == ["dark", "light", "red"]
    assert main(["embed", str(classifier), str(place / "test"), "--out", str(tmp_path / "f.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["width"] == facts["features"]
    assert main(["knn", str(classifier), str(place / "labelled"), str(place / "test"), "-k", "3", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)["accuracy"]
    assert (
        main(["knn", str(place / "model.carl"), *(str(place / n) for n in ("labelled", "test")), "-k", "3", "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["accuracy"] == judged
    assert main(["duplicates", str(classifier), str(place / "test"), "--exact"]) == 0
    with pytest.raises(carl.FileError, match=r"holds a classifier, want a model: carl\.Classifier\.load"):
        carl.load(classifier)


def title_of(figure):
    return figure.axes[0].get_title(loc="left")


def test_classes_are_compared_as_what_they_are():
    pytest.importorskip("matplotlib")
    from carl import plots

    numbers = np.array([0, 1, 2, 10])
    for predicted in (numbers.astype(float), numbers.astype(np.uint8), numbers.astype(object), numbers.tolist()):
        assert "accuracy 1.000" in title_of(plots.class_confusion(predicted, numbers))
        assert "accuracy 1.000" in title_of(plots.class_confusion(numbers, predicted))
    assert "accuracy 1.000" in title_of(plots.class_confusion(numbers[:2] > 0, numbers[:2]))
    assert "accuracy 1.000" in title_of(plots.class_confusion([True, False], np.array([True, False])))
    assert "accuracy 1.000" in title_of(plots.class_confusion(np.array([b"a", b"b"]), ["a", "b"]))
    for wrong, words in (
        (numbers.astype(str), "predicted: got classes such as '0', labels has such as 0"),
        (numbers + 0.5, r"predicted\[0\]: got 0.5"),
        ([1, None, 2, 3], r"predicted\[1\]: got None, a missing label"),
    ):
        with pytest.raises(carl.InvalidArgumentError, match=words):
            plots.class_confusion(wrong, numbers)


def test_labels_that_are_no_classes_are_left_out_of_the_picture(place, classifier, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from carl import plots

    drawn = []
    draw = plots.class_confusion
    monkeypatch.setattr(plots, "class_confusion", lambda *each: drawn.append(draw(*each)) or drawn[-1])
    classes = carl.Classifier.load(classifier).classes_
    count = len(carl.as_source(str(place / "test")))
    truth = np.array(["unknown", *np.resize(classes, count - 1)])
    (tmp_path / "y.txt").write_text("\n".join(map(str, truth)))
    command = ["plot", "confusion", str(classifier), "--data", str(place / "test"), "--out", str(tmp_path / "a.png")]
    with pytest.warns(UserWarning, match="labels: unknown not among the classes of .*: so their images are left out"):
        assert main([*command, "--labels", str(tmp_path / "y.txt")]) == 0
    assert title_of(drawn[0]).startswith(f"{count - 1} images")
    names = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert set(names) <= set(map(str, classes))


def test_labels_none_of_which_is_a_class_are_refused(place, classifier, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    count = len(carl.as_source(str(place / "test")))
    (tmp_path / "y.txt").write_text("\n".join((["x", "y"] * count)[:count]))
    command = ["plot", "confusion", str(classifier), "--data", str(place / "test"), "--out", str(tmp_path / "a.png")]
    assert main([*command, "--labels", str(tmp_path / "y.txt")]) == 1
    assert "labels: x, y not among the classes of" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_confusion_of_predicted_against_true(place, classifier, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    from carl import plots

    figure = plots.class_confusion(np.array(["a", "b", "b", "$c"]), np.array(["a", "a", "b", "b"]))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])
    assert "accuracy 0.500" in figure.axes[0].get_title(loc="left")
    plots.save(figure, tmp_path / "a.png")
    numbers = plots.class_confusion(np.array([10, 2]), np.array([2, 2]))
    assert [label.get_text() for label in numbers.axes[0].get_yticklabels()] == ["2", "10"]
    with pytest.raises(carl.InvalidArgumentError, match="predicted: got shape"):
        plots.class_confusion([1, 2], [1])
    out = tmp_path / "c.png"
    assert main(["plot", "confusion", str(classifier), "--data", str(place / "test"), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "views", str(classifier), "--out", str(out)]) == 1
