"""Splits, and the protocols that train a classifier: linear probe, fine-tuning, transfer, and their commands."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

import carl
from carl.cli import main, supervised
from carl.evaluate import finetune, labelled_split, linear_probe, transfer
from conftest import judged_figures

# ---- Splits


def test_splits_are_balanced_nested_and_seedable():
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    one = labelled_split(labels, fraction=0.05, seed=3)
    assert len(one) == 50 and (np.diff(one) > 0).all()
    assert (np.bincount(labels[one]) == 10).all()
    assert (one == labelled_split(labels, per_class=10, seed=3)).all()
    assert (one == labelled_split(labels.astype(str), fraction=0.05, seed=3)).all()
    assert set(one) < set(labelled_split(labels, fraction=0.3, seed=3))
    assert set(one) != set(labelled_split(labels, fraction=0.05, seed=4))
    assert (labelled_split(labels, fraction=1.0) == np.arange(1000)).all()


def test_splits_can_keep_proportions():
    labels = np.repeat([7, 9], [90, 10])
    assert np.bincount(labels[labelled_split(labels, fraction=0.5, balanced=False)])[[7, 9]].tolist() == [45, 5]
    assert np.bincount(labels[labelled_split(labels, fraction=0.1)])[[7, 9]].tolist() == [5, 5]


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (
            np.repeat(["cat", "dog"], [90, 10]),
            {"fraction": 0.5},
            "'dog' has 10 images, the split takes 25.*balanced=False",
        ),
        (np.repeat(["cat", "dog"], [90, 10]), {"per_class": 11}, "'dog' has 10 images"),
        (
            np.repeat(["cat", "dog"], [90, 10]),
            {"fraction": 0.02, "balanced": False},
            "class 'dog' .10 images. no sample",
        ),
        (np.arange(10) % 5, {"fraction": 0.1}, "class 0 .2 images. no sample"),
        ([0, 1], {"fraction": 0.0}, "label_fraction"),
        ([0, 1], {"fraction": 1.5}, "label_fraction"),
        ([0, 1], {"fraction": float("nan")}, "label_fraction"),
        ([0, 1], {"per_class": 0}, "labels_per_class"),
        ([0, 1], {}, "either"),
        ([0, 1], {"fraction": 0.5, "per_class": 1}, "either"),
        ([0, 1], {"fraction": 1.0, "seed": -1}, "seed"),
        ([0.5, 1.0], {"fraction": 1.0}, r"labels\[0\]: got 0.5"),
        ([0, -1], {"fraction": 1.0}, r"labels\[1\]: got -1"),
        ([], {"fraction": 1.0}, "empty"),
        ([[0], [1]], {"fraction": 1.0}, "one label"),
        ([[0], [1, 2]], {"fraction": 1.0}, "one label"),
        (None, {"fraction": 1.0}, "None"),
        ([0, "a", None], {"fraction": 1.0}, r"labels\[2\]: got None, a missing label"),
        ([0, "a", 1], {"fraction": 1.0}, "labels of one kind"),
    ],
)
def test_bad_splits(labels, options, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        labelled_split(labels, **options)


# ---- Protocols


@pytest.fixture
def data():
    """Dark, middling and bright images of noise, (60, 12, 12, 3) and (30, 12, 12, 3)."""
    random = np.random.default_rng(0)

    def some(count):
        labels = np.arange(count) % 3
        level = np.array([40, 120, 200])[labels][:, None, None, None]
        return (level + random.integers(-30, 30, (count, 12, 12, 3))).astype(np.uint8), labels

    return (*some(60), *some(30))


FAST = {"epochs": 3, "batch_size": 20, "progress": False}


@pytest.mark.parametrize("method", ["sgd", "logistic"])
def test_linear_probe(trainer, data, method, tmp_path, no_leak):
    if method == "logistic":
        pytest.importorskip("sklearn")
    before = trainer.state_dict()
    options = {"epochs": 10, "batch_size": 20, "seeds": [0, 1]} if method == "sgd" else {}
    result = linear_probe(trainer, *data, method=method, progress=False, **options)
    assert result.accuracy > 0.9
    assert result.predictions.shape == (30,) and result.top5 is None
    assert result.accuracy == pytest.approx(np.mean(list(result.per_class.values())))
    after = trainer.state_dict()
    assert all(before[key].tobytes() == after[key].tobytes() for key in before)
    figures = json.loads(result.to_json(tmp_path / "linear.json"))
    assert json.loads((tmp_path / "linear.json").read_text()) == figures
    assert figures["protocol"] == "linear" and figures["carl"] == carl.__version__ and figures["labelled"] == 60
    assert figures["seeds"] == options.get("seeds", [0]) and figures["method"] == method
    assert ("head_learning_rate" if method == "sgd" else "scikit_learn") in figures["settings"]
    assert "predictions" not in figures


def test_the_same_seed_gives_the_same_figures(trainer, data):
    a, b, c = (finetune(trainer, *data, label_fraction=0.5, seeds=seed, **FAST) for seed in (1, 1, [1, 2]))
    assert a.accuracies == b.accuracies == c.accuracies[:1]
    assert (a.predictions == b.predictions).all()
    assert c.accuracy == np.mean(c.accuracies) and c.std == pytest.approx(np.std(c.accuracies, ddof=1)) and a.std == 0


def test_finetune(trainer, data, tmp_path, no_leak):
    before = trainer.state_dict()
    train, labels, test, truth = data
    names = np.array(["dark", "middle", "bright"])
    result = finetune(
        trainer,
        train,
        names[labels],
        test,
        names[truth],
        labels_per_class=10,
        seeds=(0, 1),
        epochs=15,
        batch_size=15,
        learning_rate=0.05,
        progress=False,
        save=tmp_path / "c.carl",
    )
    assert result.accuracy > 0.8 and result.labelled == 30 and result.classes == 3
    assert set(result.per_class) == {"dark", "middle", "bright"} and result.settings["total_steps"] == 30
    assert all(before[key].tobytes() == value.tobytes() for key, value in trainer.state_dict().items())
    assert json.loads(result.to_json())["labels_per_class"] == 10
    with carl.Classifier.load(tmp_path / "c.carl") as classifier:
        assert classifier.classes_.tolist() == ["bright", "dark", "middle"]
        assert (classifier.predict(test) == result.predictions).all()


def test_from_scratch_has_the_architecture_and_not_the_weights(trainer, data):
    known = finetune(trainer, *data, label_fraction=0.5, seeds=3, from_scratch=True, **FAST)
    architecture = {"width": 0.125, "stem": "small"}
    fresh = finetune(None, *data, label_fraction=0.5, seeds=3, from_scratch=True, architecture=architecture, **FAST)
    assert known.from_scratch and fresh.from_scratch
    assert known.accuracies == fresh.accuracies  # weights are those of the seed in both
    tuned = finetune(trainer, *data, label_fraction=0.5, seeds=3, **FAST)
    assert not tuned.from_scratch and (tuned.settings["from_scratch"], known.settings["from_scratch"]) == (False, True)


@pytest.mark.parametrize("mode", ["frozen", "finetuned"])
def test_transfer(trainer, data, mode):
    train, labels, test, truth = data
    large = [np.repeat(np.repeat(images, 2, axis=1), 2, axis=2) for images in (train, test)]
    result = transfer(trainer, large[0], labels, large[1], truth, mode=mode, seeds=0, **FAST)
    assert (result.mode, result.protocol, result.labelled) == (mode, "transfer", 60)
    assert result.settings["freeze_encoder"] == (mode == "frozen") and result.settings["view"]["size"] == 12


def test_more_than_five_classes_have_a_top_five(trainer, data):
    train, _, test, _ = data
    result = linear_probe(trainer, train, np.arange(60) % 10, test, np.arange(30) % 10, **FAST)
    assert result.top5 is not None and 1 >= result.top5 >= result.accuracy
    assert sorted(result.per_class) == list(range(10))


def test_figures_are_those_of_the_scores():
    from carl.evaluate.supervised import figures

    classes = np.array([10, 20, 30, 40, 50, 60, 70])
    scores = np.eye(7)[[0, 1, 2, 2]] + np.arange(7) * 1e-3
    found = figures([scores, -scores], np.array([0, 1, 2, 3]), classes, classes.tolist())
    assert found["accuracies"] == [0.75, 0.0] and found["accuracy"] == 0.375
    assert found["per_class"] == {10: 0.5, 20: 0.5, 30: 0.5, 40: 0.0}
    # Best five by the scores: the best, then 6, 5, 4, 3. By the negated ones 0 to 5 without the best: only class 3's
    # row has its own among them.
    assert found["top5"] == (1 + 0.25) / 2
    assert found["predictions"].tolist() == [10, 20, 30, 30]
    # The last image is of a label that is no class: it is wrong whatever the scores.
    beyond = figures([scores], np.array([0, 1, 2, 7]), classes, [*classes.tolist(), 80])
    assert beyond["accuracy"] == 0.75 and beyond["per_class"][80] == 0 and beyond["classes"] == 7


def test_features_by_themselves():
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    centres = 3 * random.standard_normal((4, 8))
    labels, truth = random.integers(0, 4, 80), random.integers(0, 4, 40)
    train, test = ((centres[y] + random.standard_normal((len(y), 8))).astype(np.float32) for y in (labels, truth))
    assert linear_probe(None, train, labels, test, truth, method="logistic").accuracy > 0.9
    two = linear_probe(None, train, labels > 1, test, truth > 1, method="logistic")
    assert two.classes == 2 and two.accuracy > 0.8
    for bad in (np.nan, np.inf):
        broken = train.copy()
        broken[3, 2] = bad
        with pytest.raises(carl.InvalidArgumentError, match=r"train_images: value .* at \(3, 2\)"):
            linear_probe(None, broken, labels, test, truth, method="logistic")
    double = linear_probe(None, train.astype(float), labels, test.astype(float), truth, method="logistic")
    assert double.accuracy == linear_probe(None, train, labels, test, truth, method="logistic").accuracy
    with pytest.raises(carl.InvalidArgumentError, match="complex64"):
        linear_probe(None, train.astype(np.complex64), labels, test, truth, method="logistic")
    with pytest.raises(carl.InvalidArgumentError, match=r"test_images: got shape \(40, 7\)"):
        linear_probe(None, train, labels, test[:, :7], truth, method="logistic")
    with pytest.raises(carl.InvalidArgumentError, match="model: got None"):
        linear_probe(None, train, labels, test, truth)


BAD = [
    ({"train_labels": np.arange(59) % 3}, "train_labels: got 59 labels for 60 images"),
    ({"test_labels": np.arange(31) % 3}, "test_labels: got 31 labels for 30 images"),
    ({"train_labels": np.arange(60) / 3}, r"train_labels\[1\]: got 0.33"),
    ({"train_labels": np.arange(60) % 3 - 1}, "got -1"),
    ({"train_labels": None}, "train_labels: got None"),
    ({"train_labels": np.zeros(60, int)}, "at least 2 classes"),
    ({"test_labels": np.arange(30) % 4 + 3}, "test_labels: no label of it is a class of the training set"),
    ({"test_labels": np.full(30, "a")}, "test_labels: got labels such as 'a'"),
    ({"train_images": np.zeros((60, 12, 12, 1), np.uint8)}, "channels"),
    ({"train_images": np.zeros((60, 12, 12, 3), np.float32)}, "float32"),
    ({"train_images": iter([np.zeros((60, 12, 12, 3), np.uint8)])}, "train_images: got an iterable of batches"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
@pytest.mark.parametrize("protocol", [linear_probe, finetune])
def test_bad_data(trainer, data, protocol, change, words, no_leak):
    values = {**dict(zip(("train_images", "train_labels", "test_images", "test_labels"), data)), **change}
    options = {"label_fraction": 0.5} if protocol is finetune else {}
    with pytest.raises(carl.InvalidArgumentError, match=words):
        protocol(trainer, **values, **options, **FAST)


@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        (linear_probe, {"method": "svm"}, "method"),
        (linear_probe, {"seeds": []}, "seeds"),
        (linear_probe, {"epochs": 0}, "epochs"),
        (linear_probe, {"method": "logistic", "inverse_regularization": 0}, "inverse_regularization"),
        (linear_probe, {"batch_size": 0}, "batch_size"),
        (finetune, {"seeds": [1, 1]}, "seeds"),
        (finetune, {"seeds": "12"}, "seeds"),
        (finetune, {"label_fraction": 0.01}, "no sample"),
        (finetune, {"label_fraction": 0.5, "labels_per_class": 2}, "either"),
        (finetune, {"labels_per_class": 21}, "has 20 images"),
        (finetune, {"batch_size": 1}, "batch_size"),
        (finetune, {"labels_per_class": 1, "warmup_epochs": 4}, "warmup_epochs"),
        (finetune, {"labels_per_class": 1, "architecture": {}}, "architecture"),
        (transfer, {"mode": "cold"}, "mode"),
    ],
)
def test_bad_options(trainer, data, protocol, options, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        protocol(trainer, *data, **{**({} if options.get("method") == "logistic" else FAST), **options})


def test_a_diverging_run_says_so(trainer, data):
    with pytest.raises((carl.NotFiniteError, carl.ConfigurationError), match="learning_rate"):
        finetune(trainer, *data, label_fraction=1.0, seeds=0, learning_rate=1e6, **{**FAST, "epochs": 30})
    with pytest.raises(carl.InvalidArgumentError, match="model: got None"):
        finetune(None, *data)


# ---- The command line


@pytest.fixture
def run(data, trainer, tmp_path, model_of):
    train, labels, test, truth = data
    np.savez(tmp_path / "train.npz", images=train, labels=labels)
    np.savez(tmp_path / "test.npz", images=test, labels=truth)
    model_of(epochs=1, run_dir=tmp_path / "run").fit(train)
    return [str(tmp_path / name) for name in ("run", "train.npz", "test.npz")]


@pytest.mark.parametrize(
    ("arguments", "protocol"),
    [
        (["linear", "--epochs", "2", "--batch-size", "20"], "linear"),
        (["linear", "--method", "logistic"], "linear"),
        (["finetune", "--labels", "50%", "--epochs", "2", "--seeds", "0", "1"], "finetune"),
        (["finetune", "--labels", "4/class", "--epochs", "2", "--seeds", "0"], "finetune"),
        (["transfer", "--epochs", "1"], "transfer"),
        (["transfer", "--finetune", "--epochs", "1", "--seeds", "0"], "transfer"),
    ],
)
def test_commands(run, arguments, protocol, tmp_path, capsys, no_leak):
    if "logistic" in arguments:
        pytest.importorskip("sklearn")
    command, *options = arguments
    assert main([command, *run, *options, "--json", "--quiet"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["protocol"] == protocol and 0 <= figures["accuracy"] <= 1 and figures["test_samples"] == 30
    assert judged_figures(tmp_path / "run" / "evaluation" / f"{protocol}.json") == figures
    assert main([command, *run, *options, "--quiet"]) == 0
    assert f"{figures['accuracy']:.4f}" in capsys.readouterr().out


def test_commands_name_classes_by_their_folders(run, data, tmp_path, capsys):
    Image = pytest.importorskip("PIL.Image")
    for part, (images, labels) in {"train": data[:2], "test": data[2:]}.items():
        for place, (image, label) in enumerate(zip(images, labels)):
            folder = tmp_path / part / f"level{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{place}.png")
    arguments = [
        run[0],
        str(tmp_path / "train"),
        str(tmp_path / "test"),
        "--labels",
        "5/class",
        "--epochs",
        "1",
        "--seeds",
        "0",
        "--json",
        "--quiet",
    ]
    assert main(["finetune", *arguments, "--save", str(tmp_path / "c.carl")]) == 0
    assert set(json.loads(capsys.readouterr().out)["per_class"]) == {"level0", "level1", "level2"}
    with carl.Classifier.load(tmp_path / "c.carl") as classifier:
        assert set(classifier.classes_) == {"level0", "level1", "level2"}
    result = finetune(
        run[0], tmp_path / "train", None, tmp_path / "test", None, labels_per_class=5, seeds=0, epochs=1, progress=False
    )
    assert set(result.per_class) == {"level0", "level1", "level2"}


@pytest.mark.parametrize(("function", "shown"), [(linear_probe, supervised.LINEAR), (finetune, supervised.FINETUNE)])
def test_the_help_shows_the_functions_defaults(function, shown):
    for name, text in shown.items():
        default = inspect.signature(function).parameters[name].default
        values = default if isinstance(default, tuple) else [default]
        assert [float(value) for value in text.split()] == list(values), name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["finetune", "RUN", "--quiet"], 1, "carl: --labels: 0.01 of 60 images leaves class 0 (20 images) no sample"),
        (["finetune", "RUN", "--labels", "1%", "--quiet"], 1, "such as --labels 5%, or a number of each class, such"),
        (["finetune", "RUN", "--labels", "99/class", "--quiet"], 1, "the split takes 99 of each class: take fewer"),
        (["linear", "RUN", "--method", "logistic", "--epochs", "3"], 2, "error: --epochs: is of --method sgd"),
        (["linear", "RUN", "--method", "logistic", "--learning-rate", "9"], 2, "--learning-rate: is of --method sgd"),
        (["finetune", "RUN", "--labels", "0%"], 2, "0%"),
        (["finetune", "RUN", "--labels", "x"], 2, "x"),
        (["finetune", "RUN", "--labels", "0/class"], 2, "0/class"),
        (["linear", "RUN", "--method", "svm"], 2, "svm"),
        (["linear", "RUN", "--learning-rate", "-1"], 2, "-1"),
        (["linear", "RUN", "--label-smoothing", "7", "--quiet"], 1, "label_smoothing"),
        (["transfer", "RUN", "--from-scratch"], 1, "--finetune"),
        (["linear", "/no/model", "x", "y"], 1, "/no/model"),
        (["linear", "RUN", "--seeds", "-1"], 2, "-1"),
    ],
)
def test_wrong_usage(run, arguments, code, words, capsys):
    arguments = [part for item in arguments for part in (run if item == "RUN" else [item])]
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    message = capsys.readouterr().err
    assert status == code and words in message, message
