"""The estimators in scikit-learn: pipelines, searches, processes, copies, names of features; pickles."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import carl
from carl._classifier_parameters import CONFIG_KEYS
from carl.inspection import Inspection
from conftest import small_model


@pytest.fixture
def labels(images):
    return np.where(images.mean(axis=(1, 2, 3)) > np.median(images.mean(axis=(1, 2, 3))), "light", "dark")


@pytest.fixture
def model(images):
    return small_model(epochs=1).fit(images)


def classifier_of(model, **changes):
    return carl.Classifier(model, **{"epochs": 4, "batch_size": 20, "progress": False, "seed": 1, **changes})


# ---- The classifier as an estimator


@pytest.mark.parametrize("freeze", [True, False])
def test_fit_learns(model, images, labels, freeze):
    classifier = classifier_of(model, freeze_encoder=freeze, epochs=20, learning_rate=None if freeze else 0.02)
    assert classifier.fit(images, labels) is classifier
    assert classifier.classes_.tolist() == ["dark", "light"] and classifier.score(images, labels) > 0.85
    assert classifier.config["total_steps"] == 40 and classifier.config["freeze_encoder"] is freeze
    assert classifier.predict_proba(images).shape == (40, 2) and classifier.in_channels_ == 3
    features = classifier.transform(images)
    assert features.shape == (40, classifier.n_features_out_)
    assert len(classifier.get_feature_names_out()) == classifier.n_features_out_
    if freeze:
        np.testing.assert_allclose(features, model.transform(images), rtol=1e-4, atol=1e-5)
        assert classifier.state_dict()["classifier.feature_deviation"].std() > 0  # standardised


def test_fit_begins_anew_and_depends_on_the_seed_alone(model, images, labels):
    classifier = classifier_of(model).fit(images, labels)
    first = classifier.transform(images, "logits")
    assert np.array_equal(classifier.fit(images, labels).transform(images, "logits"), first)
    assert not np.array_equal(classifier.set_params(seed=2).fit(images, labels).transform(images, "logits"), first)


def test_a_model_that_is_not_fitted_is_fitted_to_the_images(model, images, labels):
    given = small_model(epochs=1)
    classifier = classifier_of(given, freeze_encoder=True).fit(images, labels)
    assert not hasattr(given, "trainer_") and classifier.model is given
    assert np.array_equal(classifier.transform(images), model.transform(images))
    assert np.array_equal(classifier.model_.transform(images), model.transform(images))
    assert classifier.get_params()["model__epochs"] == 1
    assert classifier.set_params(model__epochs=2).model.epochs == 2
    with pytest.raises(carl.InvalidArgumentError, match="unknown parameter 'modell__epochs'.*did you mean 'model'"):
        classifier.set_params(modell__epochs=2)
    with pytest.raises(carl.InvalidArgumentError, match="unknown parameter 'seed__epochs'"):
        classifier.set_params(seed__epochs=2)


def test_labels_that_fit_takes(model, images, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    numbers = np.arange(40) % 2
    wanted = classifier_of(model).fit(images, numbers)
    for each in (numbers.tolist(), numbers.astype(np.float64), numbers.astype(np.uint8), numbers.astype(object)):
        found = classifier_of(model).fit(images, each)
        assert found.classes_.tolist() == [0, 1]
        assert np.array_equal(found.predict(images), wanted.predict(images))
    for number, image in zip(numbers, images):
        (tmp_path / "ab"[number]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "ab"[number] / f"{len(list(tmp_path.rglob('*.png'))):02}.png")
    folders = classifier_of(model).fit(tmp_path)
    assert folders.classes_.tolist() == ["a", "b"] and set(folders.predict(tmp_path)) <= {"a", "b"}
    signs = classifier_of(model, classes=[1, -1]).fit(images, np.where(numbers == 1, 1, -1))
    assert signs.classes_.tolist() == [-1, 1] and set(signs.predict(images)) <= {1, -1}
    assert classifier_of(model, classes=3).fit(images, numbers).predict_proba(images).shape == (40, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda n: np.linspace(0, 1, n), r"labels\[1\]: got .*continuous"),
        (lambda n: np.full(n, np.nan), r"labels\[0\]: got nan"),
        (lambda n: np.zeros(n, int), "all are the same"),
        (lambda n: np.arange(n - 1), "39 labels for 40 images"),
        (lambda n: np.arange(n) - 1, r"labels\[0\]: got -1"),
        (lambda n: None, "bring no labels"),
        (lambda n: [["a"]] * n, "one label an image"),
    ],
)
def test_labels_that_fit_refuses(model, images, make, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        classifier_of(model).fit(images, make(len(images)))


def test_what_fit_refuses(model, images, labels):
    with pytest.raises(carl.InvalidArgumentError, match="labels: light not in classes, bright, dark"):
        classifier_of(model, classes=["dark", "bright"]).fit(images, labels)
    for changes, words in [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": "8"}, "batch_size"),
        ({"on_error": 3}, "on_error"),
    ]:
        with pytest.raises(carl.InvalidArgumentError, match=words):
            classifier_of(model, **changes).fit(images, labels)
    for changes, words in [({"learning_rate": -1}, "learning_rate"), ({"view": {"count": 3}}, "count")]:
        with pytest.raises(carl.ConfigurationError, match=words):
            classifier_of(model, **changes).fit(images, labels)
    with pytest.raises(carl.InvalidArgumentError, match="model: got None; a classifier needs one"):
        classifier_of(None).fit(images, labels)
    with pytest.raises(carl.InvalidArgumentError, match="any order"):
        classifier_of(model).fit((images[:20] for _ in range(2)), labels)


def test_a_classifier_that_is_not_fitted(model, images):
    classifier = classifier_of(model)
    assert classifier.closed and repr(classifier).startswith("Classifier(model=CARL(")
    for call in (
        lambda: classifier.predict(images),
        lambda: classifier.transform(images),
        lambda: classifier.step(images, [0] * 40),
        lambda: classifier.save("x"),
        lambda: classifier.get_feature_names_out(),
    ):
        with pytest.raises(
            carl.NotFittedError, match=r"is not fitted yet: call fit\(\) before (it is used|get_\w+\(\))$"
        ):
            call()


def test_the_parameters_are_the_configuration_s_keys(model):
    keys = [key["name"] for key in carl.config_schema()["classifier"]]
    assert sorted(keys) == sorted([*CONFIG_KEYS, "classes"])
    with pytest.raises(TypeError, match="'n_clusters'$"):  # of which a classifier has none
        carl.Classifier(model, n_clusters=3)
    with pytest.raises(TypeError, match="'momentun'; did you mean 'momentum'"):
        carl.Classifier(model, momentun=0.9)


# ---- scikit-learn


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn")


def test_tags(model):
    sklearn = pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.utils import get_tags

    for estimator, kind in ((model, None), (classifier_of(model), "classifier")):
        tags = get_tags(estimator)
        assert tags.estimator_type == kind and tags.input_tags.three_d_array and not tags.input_tags.two_d_array
        assert not hasattr(estimator, "n_features_in_")
    assert sklearn.base.is_classifier(classifier_of(model)) and get_tags(classifier_of(model)).target_tags.required


def test_clones(sklearn, model, images, labels):
    fitted = classifier_of(model).set_output(transform="default").fit(images, labels)
    cloned = sklearn.base.clone(fitted)
    assert cloned.closed and cloned.model is model  # which is fitted, and kept
    assert cloned.get_params(deep=False) == fitted.get_params(deep=False)
    of_new = sklearn.base.clone(classifier_of(given := small_model()))
    assert of_new.model is not given and of_new.model.get_params() == given.get_params()


def test_named_classes_are_in_order(sklearn, model, images, labels):
    """However they are given: scores and calibrations of scikit-learn take a sorted classes_ for granted."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.metrics import get_scorer

    classifier = classifier_of(model, classes=["light", "dark"], freeze_encoder=True, epochs=20).fit(images, labels)
    assert classifier.classes_.tolist() == ["dark", "light"]
    assert get_scorer("roc_auc")(classifier, images, labels) > 0.9
    assert CalibratedClassifierCV(classifier, cv=2).fit(images, labels).score(images, labels) > 0.8
    with carl.Classifier(model, ["light", "dark"]) as stepped:
        stepped.step(images[:4], [0, 1, 0, 1])
        assert stepped.classes_.tolist() == ["light", "dark"]  # outputs by number, as labels are given


def test_threads_share_a_model(model, images, labels, tmp_path):
    """What only reads waits for its turn: copies of the encoder, classifiers of it, files, pickles, features."""
    from concurrent.futures import ThreadPoolExecutor

    with carl.Encoder.from_trainer(model.trainer_) as encoder, ThreadPoolExecutor(4) as pool:
        calls = [
            lambda: model.transform(images),
            lambda: carl.Encoder.from_trainer(model.trainer_).close(),
            lambda: carl.Classifier(model, 2).close(),
            lambda: carl.Classifier(encoder, 2).close(),
            lambda: encoder.transform(images),
            lambda: pickle.dumps(model),
            lambda: model.trainer_.state_dict(),
            lambda: carl.export.export_model(model, tmp_path / "weights.safetensors"),
        ]
        for done in [pool.submit(call) for _ in range(6) for call in calls]:
            done.result()


class Noted(carl.CARL):
    """A model with a parameter of its own."""

    def __init__(self, note="", width=None, view_size=None, epochs=None, batch_size=None, progress=False):
        super().__init__(
            width=width,
            view_size=view_size,
            epochs=epochs,
            batch_size=batch_size,
            encoder="resnet18",
            stem="small",
            prototypes=4,
            projector=[8],
            progress=progress,
        )
        self.note = note


def test_subclasses_have_parameters_of_their_own(sklearn, images):
    noted = sklearn.base.clone(Noted("kept", width=0.125, view_size=8, epochs=1, batch_size=8))
    assert noted.fit(images).note == "kept" and noted.get_params()["note"] == "kept"
    assert noted.config_.prototypes == 4 and noted.transform(images).shape[0] == len(images)


def flat_to_images(table):
    return np.asarray(table, np.uint8).reshape(-1, 12, 12, 3)


def test_pipelines_of_tables(sklearn, images, labels):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    table = images.reshape(40, -1)
    with pytest.raises(
        carl.InvalidArgumentError, match=r"pass one image as image\[None\].*; reshape rows of pixels to images"
    ):
        small_model().fit(table)
    pipeline = make_pipeline(FunctionTransformer(flat_to_images), small_model(), LogisticRegression())
    pipeline.fit(table, labels)
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.predict(table), pipeline.predict(table))
    assert len(pipeline[1:2].get_feature_names_out()) == 64
    ending = make_pipeline(FunctionTransformer(flat_to_images), classifier_of(small_model(epochs=1)))
    assert ending.fit(table, labels).score(table, labels) > 0.4
    assert list(ending.classes_) == ["dark", "light"]


def test_searches_and_fitted_models_in_processes(sklearn, model, images, labels, tmp_path, monkeypatch):
    from pathlib import Path

    from joblib import Parallel, delayed
    from sklearn.model_selection import GridSearchCV

    monkeypatch.setenv("PYTHONPATH", str(Path(carl.__file__).parents[1]))  # of the processes
    fresh = classifier_of(small_model(epochs=1, run_dir=tmp_path / "run", threads=1), freeze_encoder=True, threads=1)
    grid = {"model__prototypes": [4, 6], "head_learning_rate": [0.1]}
    search = GridSearchCV(fresh, grid, cv=2, n_jobs=2, error_score="raise").fit(images, labels)
    assert search.best_params_["model__prototypes"] in (4, 6)
    assert search.best_estimator_.model_.prototypes == search.best_params_["model__prototypes"]
    assert set(search.predict(list(images))) <= {"dark", "light"}
    assert np.all(search.cv_results_["mean_test_score"] > 0)
    found = Parallel(n_jobs=2)(delayed(carl.CARL.transform)(model, part) for part in (images[:20], images[20:]))
    np.testing.assert_allclose(np.concatenate(found), model.transform(images), rtol=1e-4, atol=1e-5)


def test_cross_validation_of_paths(sklearn, images, labels, tmp_path):
    from sklearn.model_selection import cross_val_score

    Image = pytest.importorskip("PIL.Image")
    paths = [str(tmp_path / f"{place:02}.png") for place in range(40)]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    model = classifier_of(small_model(epochs=1).fit(paths), freeze_encoder=True, epochs=20)
    scores = cross_val_score(model, paths, labels, cv=2, error_score="raise")
    assert scores.mean() > 0.6


def test_output_by_configuration(sklearn, model, images):
    pandas = pytest.importorskip("pandas")
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(model.transform(images), pandas.DataFrame)
        model.set_output(transform="default")
        assert isinstance(model.transform(images), np.ndarray)


def test_reports_under_a_configuration_for_tables(sklearn, images, labels, tmp_path):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    trained = small_model(run_dir=tmp_path / "run").fit(str(tmp_path / "data.npz"))
    classifier_of(trained).fit(images, labels).save(tmp_path / "c.carl")
    with sklearn.config_context(transform_output="pandas"):
        for path in (tmp_path / "run", tmp_path / "c.carl"):
            seen = Inspection(path, str(tmp_path / "data.npz"))
            for values in (seen.features, seen.logits, seen.probabilities, seen.assignments):
                assert type(values) is np.ndarray and len(values) == len(images)
        carl.report.write(tmp_path / "run")


def test_output_of_the_classifier(model, images, labels):
    pandas = pytest.importorskip("pandas")
    classifier = classifier_of(model).set_output(transform="pandas").fit(images, labels)
    frame = classifier.transform(images, "probabilities")
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == ["probability0", "probability1"]
    assert isinstance(classifier.predict_proba(images), np.ndarray) and classifier.score(images, labels) > 0.4
    assert isinstance(pickle.loads(pickle.dumps(classifier)).transform(images), pandas.DataFrame)


def test_output_of_polars(model, images):
    polars = pytest.importorskip("polars")
    frame = model.set_output(transform="polars").transform(images)
    assert isinstance(frame, polars.DataFrame) and frame.columns == list(model.get_feature_names_out())
    assert np.array_equal(frame.to_numpy(), model.set_output(transform="default").transform(images))


@pytest.mark.parametrize("selector", ["path", ["path"]])
def test_a_column_of_paths_among_others(sklearn, images, labels, tmp_path, selector):
    pandas = pytest.importorskip("pandas")
    Image = pytest.importorskip("PIL.Image")
    from sklearn.compose import ColumnTransformer

    paths = [str(tmp_path / f"{place:02}.png") for place in range(40)]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    table = pandas.DataFrame({"path": paths, "weight": np.arange(40.0)}, index=np.arange(40) * 3)
    columns = ColumnTransformer([("image", small_model(epochs=1), selector), ("rest", "passthrough", ["weight"])])
    frame = columns.set_output(transform="pandas").fit_transform(table, labels)
    assert list(frame.columns[:2]) == ["image__carl0", "image__carl1"] and frame.columns[-1] == "rest__weight"
    assert list(frame.index) == list(table.index) and frame.shape == (40, 65)


# ---- Pickles


def test_a_pickle_holds_the_bytes_of_the_checkpoint(model, images, labels, tmp_path):
    for name, fitted in {"model": model, "classifier": classifier_of(model).fit(images, labels)}.items():
        fitted.save(tmp_path / name)
        written = (tmp_path / name).read_bytes()
        assert fitted.__getstate__()["checkpoint"] == written and written in pickle.dumps(fitted)
        assert fitted.__getstate__()["version"] == carl.__version__


def test_copies_of_a_classifier(model, images, labels):
    fitted = classifier_of(model, freeze_encoder=True).fit(images, labels)
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted), copy.copy(fitted)):
        assert np.array_equal(copied.transform(images, "logits"), fitted.transform(images, "logits"))
        assert copied.classes_.tolist() == ["dark", "light"] and copied.classes is None and copied.epochs == 4
        assert copied.fit(images, labels).score(images, labels) == fitted.score(images, labels)
    fresh = pickle.loads(pickle.dumps(classifier_of(small_model())))
    assert fresh.closed and fresh.model.get_params() == small_model().get_params()
    with carl.Classifier(model, ["a", "b"]) as classifier:
        classifier.step(images, np.arange(40) % 2)
        copied = pickle.loads(pickle.dumps(classifier))
    assert copied.step(images, np.arange(40) % 2).step == 2
    own = classifier_of(small_model(epochs=1)).fit(images, labels)
    assert np.array_equal(pickle.loads(pickle.dumps(own)).model_.transform(images), own.model_.transform(images))


def test_a_classifier_of_an_encoder(trainer, images, labels):
    with carl.Encoder.from_trainer(trainer) as encoder:
        classifier = classifier_of(encoder, freeze_encoder=True)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(classifier)
        copied = pickle.loads(pickle.dumps(classifier.fit(images, labels)))
        assert np.array_equal(copied.predict(images), classifier.predict(images)) and copied.model is None
        with pytest.raises(carl.InvalidArgumentError, match="model: got None; a classifier needs one"):
            copied.fit(images, labels)
        again = copied.set_params(model=encoder).fit(images, labels)
        assert np.array_equal(again.predict_proba(images), classifier.predict_proba(images))
        if sklearn := pytest.importorskip("sklearn.base"):
            assert sklearn.clone(classifier).model is encoder


@pytest.mark.parametrize("kind", [carl.CARL, carl.Classifier])
def test_labels_are_called_y(kind):
    for method in ("fit", "fit_transform"):
        assert list(inspect.signature(getattr(kind, method)).parameters)[2] == "y"


@pytest.mark.parametrize("kind", ["model", "classifier"])
def test_a_pickle_of_another_version(model, images, labels, kind):
    fitted = model if kind == "model" else classifier_of(model).fit(images, labels)
    name = type(fitted).__name__
    state = fitted.__getstate__()
    empty = lambda: type(fitted).__new__(type(fitted))
    words = rf"pickle of a carl.{name} was written by carl 9.9, in format 7; this is carl {carl.__version__}"
    with pytest.raises(carl.FileError, match=words):
        empty().__setstate__({**state, "version": "9.9", "format": 7})
    with pytest.raises(carl.FileError, match="written by carl 9.9, and this is carl .*not"):
        empty().__setstate__({**state, "version": "9.9", "checkpoint": b"x" * 64})
    for damaged in ({}, None, {"format": 2}, {"params": 3}):
        with pytest.raises(carl.FileError, match=f"holds no carl.{name}"):
            empty().__setstate__(damaged)
    older = {**state, "params": {**state["params"], "gone": 1}}
    again = empty()
    again.__setstate__(older)
    assert np.array_equal(again.transform(images), fitted.transform(images)) and not hasattr(again, "gone")


def test_pickles_of_other_objects(trainer, images, views, tmp_path):
    trainer.step(images)
    for copied in (pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)):
        assert np.array_equal(copied.embed_images(images), trainer.embed_images(images)) and copied.step_count == 1
    rebuild, (cls, data, version) = trainer.__reduce__()
    trainer.save(tmp_path / "t.carl")
    assert data == (tmp_path / "t.carl").read_bytes() and version == carl.__version__
    with pytest.raises(carl.FileError, match="written by carl 9.9, and this is carl"):
        rebuild(cls, b"x" * 64, "9.9")
    loss = carl.assignment_loss([view.reshape(16, -1) for view in views], np.ones((3, 432), np.float32))
    assert pickle.loads(pickle.dumps(loss)).loss == loss.loss
    with carl.Encoder.from_trainer(trainer) as encoder, pytest.raises(TypeError, match="cannot be pickled: pickle the"):
        pickle.dumps(encoder)
