"""Labelled sets as people have them: a broken image, a class that one of two sets lacks, labels that are text."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil

import numpy as np
import pytest

import carl
from carl import evaluate
from carl.cli import main
from carl.sources.subset import SubsetSource, readable
from conftest import small_model

Image = pytest.importorskip("PIL.Image")


def photos(folder, classes, count=10, seed=0):
    random = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            image = (random.integers(0, 80, (16, 16, 3)) + 60 * number).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{place}.png")
    return folder


def break_one(folder, name):
    file = folder / name
    file.write_bytes(file.read_bytes()[:100])
    return folder


@pytest.fixture
def model(tmp_path):
    return small_model(epochs=1, run_dir=tmp_path / "run").fit(photos(tmp_path / "images", "xy"))


def test_a_broken_image_ends_no_evaluation(tmp_path, model, caplog):
    train = break_one(photos(tmp_path / "train", "ab", 21), "a/3.png")
    test = break_one(photos(tmp_path / "test", "ab", 21, 1), "b/7.png")
    run = str(tmp_path / "run")
    with caplog.at_level(logging.WARNING, "carl"):
        assert main(["knn", run, str(train), str(test), "-k", "3"]) == 0
    assert [record.message.split("(")[0] for record in caplog.records] == [
        f"{train}: left out 1 of 42 images, which cannot be read: {train / 'a' / '3.png'} ",
        f"{test}: left out 1 of 42 images, which cannot be read: {test / 'b' / '7.png'} ",
    ]
    assert main(["retrieval", run, str(train), "-k", "3"]) == 0
    for command in (["linear", "--epochs", "1"], ["finetune", "--labels", "100%", "--epochs", "1"]):
        assert main([command[0], run, str(train), str(test), *command[1:], "--seeds", "1"]) == 0
    for protocol in (evaluate.linear_probe, evaluate.finetune):
        options = {"label_fraction": 1.0} if protocol is evaluate.finetune else {}
        result = protocol(model, train, None, test, None, epochs=1, seeds=0, progress=False, **options)
        assert result.test_samples == 41 and result.labelled in (40, 41)
        with pytest.raises(carl.FileError, match=r"3\.png"):
            protocol(model, train, None, test, None, on_error="raise", epochs=1, seeds=0, progress=False, **options)
    fitted = small_model(epochs=1).fit(train, eval_set=(train, None, test, None))
    assert len(fitted.evaluations_) == 2
    assert len(small_model(epochs=1).fit(train, eval_set=train).evaluations_) == 2
    with pytest.raises(carl.FileError, match=r"3\.png"):
        small_model(epochs=1, on_error="raise").fit(photos(tmp_path / "z", "q"), eval_set=train)


def test_a_class_of_which_no_image_can_be_read_is_none(tmp_path, model):
    pytest.importorskip("sklearn")
    whole, test = photos(tmp_path / "train", "bcd", 21), photos(tmp_path / "test", "bcd", 21, seed=1)
    options = {"method": "logistic", "progress": False}
    expected = evaluate.linear_probe(model, whole, None, test, None, **options)
    (whole / "a").mkdir()
    (whole / "a" / "0.png").write_bytes(b"no image")
    found = evaluate.linear_probe(model, whole, None, test, None, **options)
    assert found.classes == 3 and found.accuracy == expected.accuracy and found.per_class == expected.per_class
    assert set(found.predictions) <= set("bcd")
    fitted = carl.Classifier(model, freeze_encoder=True, epochs=1, progress=False).fit(whole)
    assert list(fitted.classes_) == list("bcd")
    shutil.rmtree(whole / "c")
    shutil.rmtree(whole / "d")
    with pytest.raises(carl.InvalidArgumentError, match="all are the same"):
        evaluate.linear_probe(model, whole, None, test, None, **options)


@pytest.mark.parametrize("names", [list("abcd"), list("ab")])
def test_numbers_that_are_no_place_among_the_names_are_refused(model, images, names):
    class Set:
        targets = [-1 if len(names) == 4 and place % 3 == 0 else place % 4 for place in range(len(images))]
        classes = names

        def __len__(self):
            return len(images)

        def __getitem__(self, place):
            return images[place], self.targets[place]

    with pytest.raises(carl.InvalidArgumentError, match=r"labels\[\d\]: got (-1|2), want 0 to [13]"):
        evaluate.linear_probe(model, Set(), None, Set(), None, epochs=1, progress=False)
    with pytest.raises(carl.InvalidArgumentError, match="class names"):
        carl.Classifier(model, freeze_encoder=True, epochs=1, progress=False).fit(Set())


def test_negative_numbers_in_a_file_are_no_names(tmp_path, model, images):
    (tmp_path / "labels.txt").write_text("\n".join(str(place % 3 - 1) for place in range(len(images))))
    with pytest.raises(carl.InvalidArgumentError, match="got -1, want labels of at least 0"):
        evaluate.linear_probe(model, images, tmp_path / "labels.txt", images, tmp_path / "labels.txt", epochs=1)


def test_cluster_leaves_broken_images_out(tmp_path, model):
    pytest.importorskip("sklearn")
    assert main(["cluster", str(tmp_path / "run"), str(break_one(photos(tmp_path / "t", "ab", 21), "a/3.png"))]) == 0


def test_more_broken_images_than_may_be(tmp_path, model):
    train = photos(tmp_path / "train", "ab", 10)
    for number in range(3):
        break_one(train, f"a/{number}.png")
    with pytest.raises(carl.BrokenImagesError, match="of 20 images cannot be read"):
        evaluate.linear_probe(model, train, None, train, None, epochs=1, seeds=0, progress=False)


def test_a_test_set_that_lacks_a_class(tmp_path, model, capsys):
    train = photos(tmp_path / "train", ["ant", "bee", "cat"])
    test = photos(tmp_path / "test", ["ant", "bee", "cat"], seed=1)
    shutil.rmtree(test / "bee")
    run = str(tmp_path / "run")
    with pytest.warns(UserWarning, match="the second has no bee"):
        assert main(["knn", run, str(train), str(test), "-k", "3"]) == 0
    for command in (["linear", "--epochs", "1"], ["finetune", "--labels", "100%", "--epochs", "1"]):
        with pytest.warns(UserWarning, match="the second has no bee"):
            assert main([command[0], run, str(train), str(test), *command[1:], "--seeds", "1"]) == 0
        assert "bee" not in capsys.readouterr().out
    with pytest.warns(UserWarning, match="the second has no bee"):
        aligned = small_model(epochs=1).fit(train, eval_set=(train, None, test, None)).evaluations_[0]
    names = np.repeat(["ant", "cat"], 10)
    given = small_model(epochs=1).fit(train, eval_set=(train, None, test, names)).evaluations_[0]
    assert aligned["knn"] == given["knn"]
    other = photos(tmp_path / "other", ["dog", "eel"])
    assert main(["knn", run, str(train), str(other)]) == 1
    assert "different classes" in capsys.readouterr().err


def test_a_training_set_that_lacks_a_class(tmp_path, model, capsys):
    """Its images count as wrong, and are named: for all protocols that train a classifier, and for a classifier."""
    train = photos(tmp_path / "train", ["ant", "bee", "cat"])
    test = photos(tmp_path / "test", ["ant", "bee", "cat"], seed=1)
    run, saved = str(tmp_path / "run"), str(tmp_path / "classifier.carl")
    shutil.rmtree(train / "bee")
    says = "test_labels: bee not in the training set, so these images count as wrong"
    options = {"progress": False, "seeds": 0}
    for protocol, more in (
        (evaluate.linear_probe, {"epochs": 5}),
        (evaluate.finetune, {"epochs": 2, "label_fraction": 1.0}),
        (evaluate.transfer, {"epochs": 2}),
    ):
        with pytest.warns(UserWarning, match=says):
            result = protocol(model, train, None, test, None, **options, **more)
        others = [result.per_class[name] for name in ("ant", "cat")]
        assert result.per_class["bee"] == 0 and result.classes == 2 and result.test_samples == 30
        assert result.accuracy == pytest.approx(sum(others) / 3) and set(result.predictions) <= {"ant", "cat"}
    few = ["--epochs", "1", "--seeds", "0"]
    for command in (["linear", *few, "--save", saved], ["finetune", *few, "--labels", "100%"], ["transfer", *few]):
        with pytest.warns(UserWarning, match=says):
            assert main([command[0], run, str(train), str(test), *command[1:]]) == 0
        printed = capsys.readouterr().out
        assert "  bee" in printed and "of 2 classes" in printed
    classifier = carl.Classifier.load(saved)
    right = np.mean(classifier.predict(test) == np.repeat(["ant", "bee", "cat"], 10))
    with pytest.warns(UserWarning, match="labels: bee not in the training set"):
        assert classifier.score(test) == right
    shutil.rmtree(test / "bee")
    assert classifier.score(test) == classifier.score(str(test), ["ant"] * 10 + ["cat"] * 10) > 0
    shutil.rmtree(test / "ant")
    shutil.rmtree(test / "cat")
    with pytest.raises(carl.InvalidArgumentError, match="no label of it is a class of the training set"):
        classifier.score(photos(tmp_path / "other", ["dog", "eel"]))
    with pytest.raises(carl.InvalidArgumentError, match="no label of it is a class of the training set"):
        evaluate.linear_probe(model, train, None, tmp_path / "other", None, **options)


def test_features_with_a_class_that_training_lacks():
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    numbers = np.arange(30) % 3
    features = (random.standard_normal((30, 5)) + 4 * numbers[:, None]).astype(np.float32)
    known = numbers < 2
    with pytest.warns(UserWarning, match="test_labels: 2 not in the training set"):
        result = evaluate.linear_probe(
            None, features[known], numbers[known], features, numbers, method="logistic", progress=False
        )
    assert result.per_class[2] == 0 and result.accuracy <= 2 / 3


@pytest.mark.parametrize("kind", [np.str_, object, bool])
def test_labels_of_text_and_bools(kind):
    random = np.random.default_rng(0)
    numbers = np.arange(30) % 2
    features = (random.standard_normal((30, 5)) + 2 * numbers[:, None]).astype(np.float32)
    labels = numbers.astype(bool) if kind is bool else np.array(["ant", "bee"])[numbers].astype(kind)
    found = evaluate.knn(features[:20], labels[:20], features[20:], labels[20:], k=[1, 3])
    wanted = evaluate.knn(features[:20], numbers[:20], features[20:], numbers[20:], k=[1, 3])
    assert found.accuracies == wanted.accuracies
    assert found.predictions.tolist() == np.array(sorted(set(labels.tolist())))[wanted.predictions].tolist()
    assert evaluate.retrieval(features, labels, k=3).map == evaluate.retrieval(features, numbers, k=3).map
    pair = (features[:20], labels[:20], features[20:], labels[20:])
    assert evaluate.retrieval(*pair, 3).map == evaluate.retrieval(pair[0], numbers[:20], pair[2], numbers[20:], 3).map
    if kind is not bool:
        with pytest.raises(carl.InvalidArgumentError, match="got labels such as 0, train_y has such as 'ant'"):
            evaluate.knn(features[:20], labels[:20], features[20:], numbers[20:])


def test_clusters_against_text():
    pytest.importorskip("sklearn")
    numbers = np.arange(30) % 3
    found = evaluate.cluster(numbers, np.array(["a", "b", "c"])[numbers])
    assert found.nmi == pytest.approx(1) and found.labels == 3


class Mine(carl.sources.ImageSource):
    """A source of one's own, image 7 of which is broken."""

    def __init__(self, seed):
        self.labels = np.arange(42) % 2
        random = np.random.default_rng(seed)
        self._pixels = (random.integers(0, 80, (42, 16, 16, 3)) + 60 * self.labels[:, None, None, None]).astype(
            np.uint8
        )

    def __len__(self):
        return 42

    def read(self, indices):
        if 7 in indices:
            raise carl.FileError("the network is away")
        return self._pixels[indices]

    def describe(self):
        return "mine"


@pytest.mark.parametrize("wrapped", [lambda source: source, lambda source: SubsetSource(source, np.arange(42))])
def test_a_broken_image_of_a_source_of_ones_own(model, wrapped):
    train, test = wrapped(Mine(0)), wrapped(Mine(1))
    options = {"method": "logistic", "progress": False}
    result = evaluate.linear_probe(model, train, None, test, None, on_error="skip", **options)
    assert result.test_samples == 41
    with pytest.raises(carl.FileError, match="the network is away"):
        evaluate.linear_probe(model, train, None, test, None, on_error="raise", **options)


def test_arrays_are_not_read_for_broken_images(monkeypatch):
    source = carl.as_source(np.zeros((4, 8, 8, 3), np.uint8))
    monkeypatch.setattr(type(source), "read", lambda self, indices: pytest.fail("was read"))
    assert readable(source, "train_images") == (source, None)
    part = SubsetSource(source, np.arange(2))
    assert readable(part, "train_images") == (part, None)


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (lambda y: y.astype(float), None),
        (lambda y: np.array([b"ant", b"bee", b"caf\xc3\xa9"])[y], None),
        (lambda y: y - 1, [-1, 0, 1]),
        (lambda y: y + 1541815603606036480, None),  # as doubles all the same
        (lambda y: (y + 2**53).astype(np.uint64), None),
        (lambda y: y == 0, None),
        (lambda y: y.astype(np.float16), None),
        (lambda y: (y * 1.0).astype(object), None),
        (lambda y: np.array([b"ant", b"bee", b"cat"], object)[y], None),
    ],
)
def test_labels_of_every_kind_come_back_from_a_file(kind, classes, model, images, tmp_path):
    y = kind(np.arange(len(images)) % 3)
    classifier = carl.Classifier(model, classes, freeze_encoder=True, epochs=1, progress=False).fit(images, y)
    classifier.save(tmp_path / "classifier.carl")
    loaded = carl.Classifier.load(tmp_path / "classifier.carl")
    assert loaded.classes_.tolist() == classifier.classes_.tolist() == sorted(set(classifier.classes_.tolist()))
    right = classifier.predict(images) == classifier.classes_[np.unique(y, return_inverse=True)[1]]
    assert loaded.score(images, y) == classifier.score(images, y) == pytest.approx(right.mean())


def test_labels_that_no_number_holds_are_refused(model, images):
    with pytest.raises(carl.InvalidArgumentError, match=r"labels: got 9223372036854775808, want numbers below 2\^63"):
        carl.Classifier(model, epochs=1).fit(images, np.array([2**63, 1], np.uint64)[np.arange(len(images)) % 2])


def test_names_and_numbers_are_compared_only_where_names_are_numbers(tmp_path, model, images, capsys):
    """Labels of one set that are names and of the other numbers are no places in a list: nobody said which list."""
    run, named = str(tmp_path / "run"), photos(tmp_path / "named", ["ant", "bee", "cat"])
    files = {"names": "ant bee cat", "numbers": "0 1 2"}
    for name, words in files.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(np.repeat(words.split(), 10)))
    for command in (["knn"], ["linear", "--epochs", "1"], ["finetune", "--labels", "100%", "--epochs", "1"]):
        for given in (["--test-labels", "numbers.txt"], ["--train-labels", "numbers.txt"]):
            labels = [given[0], str(tmp_path / given[1])]
            assert main([command[0], run, str(named), str(named), *command[1:], *labels]) == 1
            assert "names" in capsys.readouterr().err
    y = np.arange(len(images)) % 3 + 8
    numbered = photos(tmp_path / "numbered", ["8", "9", "10"])  # in order of text: 10, 8, 9

    def judged(*eval_set):
        return {
            key: value for key, value in evaluate.OnlineEvaluation(eval_set, 3).judge(model).items() if key[0] != "s"
        }

    same = judged(images, y, images, y)
    assert same == judged(images, y, images, y.astype(str)) == judged(images, y.astype(str), images, y)
    numbers = np.repeat([10, 8, 9], 10)
    assert judged(numbered, None, numbered, numbers) == judged(numbered, None, numbered, None)
    with pytest.raises(carl.InvalidArgumentError, match="names, ant, bee, cat, and numbers"):
        evaluate.OnlineEvaluation((named, None, images, y), 3)


@pytest.mark.parametrize("protocol", [evaluate.linear_probe, evaluate.finetune, evaluate.transfer])
def test_image_files_are_read_with_the_channels_of_the_model(protocol, model, tmp_path):
    gray = photos(tmp_path / "gray", "ab")
    for file in gray.glob("*/*.png"):
        Image.open(file).convert("L").save(file)
    options = {"label_fraction": 1.0} if protocol is evaluate.finetune else {}
    assert protocol(model, gray, None, gray, None, epochs=1, seeds=0, progress=False, **options).test_samples == 20


def test_numbers_as_tables_write_them(tmp_path, model, images):
    y = np.arange(len(images)) % 3
    np.savetxt(tmp_path / "saved.txt", y)
    (tmp_path / "table.csv").write_text("label\n" + "\n".join(f"{label}.0" for label in y))
    for file in ("saved.txt", "table.csv"):
        eval_set = (images, y, images, str(tmp_path / file))
        assert (
            evaluate.OnlineEvaluation(eval_set, 3).judge(model)["knn"]
            == evaluate.OnlineEvaluation((images, y, images, y), 3).judge(model)["knn"]
        )
    truths = evaluate.OnlineEvaluation((images, y == 0, images, (y == 0).astype(int)), 3).judge(model)
    assert truths["knn"] == evaluate.OnlineEvaluation((images, y == 0, images, y == 0), 3).judge(model)["knn"]


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], ["0", "1", "2"]])
def test_no_label_is_a_class_of_its_own(tmp_path, model, images, names):
    """-1 marks images without a label: never a place from the end."""
    y = np.arange(len(images)) % 3
    marked = np.where(y == 2, -1, y)

    class Set:
        classes = names
        targets = marked.tolist()

        def __len__(self):
            return len(images)

        def __getitem__(self, place):
            return images[place], int(marked[place])

    for eval_set in ((images, y, Set(), None), (images, np.array(names)[y], images, marked)):
        with pytest.raises(carl.InvalidArgumentError, match="-1|names"):
            evaluate.OnlineEvaluation(eval_set, 3)


def test_many_classes_are_aligned_in_no_time():
    from carl.sources.labelled import aligned

    names = [f"{number}" for number in range(100_000)]
    labels, joint = aligned(names, None, np.arange(100_000), "sets")
    assert labels[99_999] == 99_999 and joint == names
    with pytest.raises(carl.InvalidArgumentError, match="names"):
        aligned([str(10**20)], None, np.arange(3), "sets")


# ---- What a model of other values than bytes leaves to classifiers


@pytest.fixture
def deep(tmp_path):
    """Images of 12 bits of three brightnesses, their labels, a model of them, and its run."""
    random, labels = np.random.default_rng(0), np.arange(30) % 3
    images = (random.integers(0, 1500, (30, 12, 12, 3)) + 1000 * labels[:, None, None, None]).astype(np.uint16)
    model = small_model(epochs=1, value_range=(0, 4095), run_dir=tmp_path / "run").fit(images)
    return images, labels, model, tmp_path / "run"


@pytest.mark.parametrize("way", ["path", "encoder", "model", "weights", "another model first"])
@pytest.mark.parametrize("protocol", [evaluate.linear_probe, evaluate.finetune])
def test_a_classifier_has_the_value_range_of_whatever_it_was_made_of(deep, tmp_path, way, protocol):
    images, labels, model, run = deep
    given = {
        "path": lambda: run,
        "encoder": lambda: carl.Encoder(run / "checkpoints" / "last.carl"),
        "model": lambda: model,
        "another model first": lambda: model,
        "weights": lambda: carl.CARL(
            encoder="resnet18",
            stem="small",
            width=0.125,
            view_size=12,
            weights=run / "exported" / "encoder.safetensors",
            value_range=(0, 4095),
        ),
    }[way]()
    options = {"seeds": 0, **({"label_fraction": 1.0} if protocol is evaluate.finetune else {})}
    result = protocol(given, images, labels, images, labels, epochs=2, batch_size=10, save=tmp_path / "c", **options)
    loaded = carl.Classifier.load(tmp_path / "c")
    assert loaded.value_range == (0, 4095)
    assert np.mean(loaded.predict(images) == labels) == pytest.approx(result.accuracy)
    own = carl.Classifier(given, freeze_encoder=True, epochs=1, progress=False).fit(images, labels)
    expected = own.predict_proba(images)
    if way == "another model first":
        other = small_model(epochs=1, seed=5).fit((images >> 4).astype(np.uint8))
        own = carl.Classifier(other, freeze_encoder=True, epochs=1, progress=False).fit(images, labels)
        own.set_params(model=model).fit(images, labels)
        assert np.array_equal(own.predict_proba(images), expected)
    own.save(tmp_path / "own")
    for again in (carl.Classifier.load(tmp_path / "own"), pickle.loads(pickle.dumps(own))):
        assert np.array_equal(again.predict_proba(images), expected)


def test_the_command_line_keeps_it_too(deep, tmp_path, capsys):
    images, labels, _, run = deep
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    data = str(tmp_path / "x.npz")
    for command in (["linear", "--method", "logistic"], ["linear", "--epochs", "2"], ["finetune", "--labels", "100%"]):
        name, *options = command
        if "--epochs" in options or name == "finetune":
            options += ["--batch-size", "10"]
        saved = str(tmp_path / "c.carl")
        assert main([name, str(run), data, data, *options, "--save", saved, "--json"]) == 0
        accuracy = json.loads(capsys.readouterr().out)["accuracy"]
        assert np.mean(carl.Classifier.load(saved).predict(images) == labels) == pytest.approx(accuracy)
        os.unlink(saved)


def test_a_loaded_classifier_is_fitted_again_as_it_was(deep, tmp_path):
    images, labels, model, _ = deep
    for settings in (
        dict(freeze_encoder=True, label_smoothing=0.1, seed=5, weight_decay=0.01),
        dict(learning_rate=0.003, head_learning_rate=0.03, momentum=0.5),
        dict(schedule="constant", warmup_steps=2, view={"size": 16, "flip": 0.0}, from_scratch=True),
        dict(),
    ):
        first = carl.Classifier(model, epochs=1, progress=False, **settings).fit(images, labels)
        first.save(tmp_path / "c")
        again = carl.Classifier.load(tmp_path / "c").set_params(model=model, epochs=1, progress=False)
        again.fit(images, labels)
        assert again.config == first.config
        assert np.array_equal(again.predict_proba(images), first.predict_proba(images))
        given = first.get_params()
        assert {key: again.get_params()[key] for key in settings} == {key: given[key] for key in settings}
    frozen = carl.Classifier.load(tmp_path / "c", threads=1).set_params(model=model, freeze_encoder=True, epochs=1)
    assert frozen.fit(images, labels).config["freeze_encoder"] and frozen.threads == 1


@pytest.mark.parametrize("classes", [np.int64(3), np.array(3), range(3), 3, [0, 1, 2], np.arange(3), (0, 1, 2)])
def test_classes_are_a_number_or_several(deep, classes):
    images, labels, model, _ = deep
    found = carl.Classifier(model, classes, freeze_encoder=True, epochs=1, progress=False).fit(images, labels)
    assert found.classes_.tolist() == [0, 1, 2]
    with carl.Classifier(model, classes, freeze_encoder=True) as made:
        assert made.step(images.astype(np.uint8), labels).accuracy >= 0


@pytest.mark.parametrize("labels", [["a", float("nan"), "b"], [1, "a", 2], ["a", None, "b"], ["a", True, "b"]])
def test_labels_of_several_kinds_are_told(deep, labels):
    images, _, model, _ = deep
    for function in (
        lambda: carl.Classifier(model, freeze_encoder=True, epochs=1).fit(images, labels * 10),
        lambda: evaluate.knn(images.reshape(30, -1), labels * 10, images.reshape(30, -1)),
        lambda: evaluate.cluster(images.reshape(30, -1).astype(float), labels * 10),
    ):
        with pytest.raises(carl.InvalidArgumentError, match=r"\[[01]\]: .*"):
            function()


@pytest.mark.parametrize(
    ("mode", "key", "value"),
    [("frozen", "label_fraction", 0.5), ("frozen", "from_scratch", True), ("finetuned", "method", "logistic")],
)
def test_options_of_the_other_mode_are_told(deep, mode, key, value):
    images, labels, model, _ = deep
    with pytest.raises(carl.InvalidArgumentError, match=f"{key}: is no option of mode='{mode}'"):
        evaluate.transfer(model, images, labels, images, labels, mode=mode, **{key: value})
