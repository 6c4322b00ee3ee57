"""carl.CARL: training in one call, scikit-learn's rules, resume, saving."""

from __future__ import annotations

import copy
import inspect
import io
import json
import pickle
import warnings

import numpy as np
import pytest

import carl
from carl.runs import read_metrics
from conftest import same_state, small_model


def test_fit_and_use(images):
    model = small_model()
    assert model.fit(images) is model
    assert len(model.history_) == 10 and model.epoch_ == 2 and model.in_channels_ == 3
    assert model.config_.total_steps == 10 and model.config_.view_size == 12 and model.config_.stem == "small"
    features = model.transform(images)
    assert features.shape == (40, model.n_features_out_) and features.dtype == np.float32
    assert list(model.get_feature_names_out()[:2]) == ["carl0", "carl1"]
    clusters = model.predict(images)
    assert clusters.shape == (40,) and clusters.dtype == np.int64 and set(clusters) <= set(range(6))
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (40, 6)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert np.array_equal(probabilities.argmax(1), clusters)
    assert model.transform(images, output="projection").shape == (40, 8)
    assert np.array_equal(small_model().fit_transform(images), features)
    assert np.array_equal(small_model().fit_predict(images), clusters)


def test_learning_rate_falls_at_the_end_of_all_epochs(images):
    rates = [metrics.learning_rate for metrics in small_model(epochs=3).fit(images).history_]
    kept = len(rates) - len(rates) // 5
    assert rates[:kept] == pytest.approx([0.01] * kept)
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(0.01 / (len(rates) // 5))
    rates = [metrics.learning_rate for metrics in small_model(epochs=3, schedule="cosine").fit(images).history_]
    assert rates[0] == pytest.approx(0.01) and rates == sorted(rates, reverse=True) and rates[-1] < 0.001


def test_same_seed_same_model_and_another_seed_another(images):
    a, b, c = (small_model(seed=seed).fit(images) for seed in (1, 1, 2))
    assert same_state(a.trainer_, b.trainer_) and not same_state(a.trainer_, c.trainer_)


def test_views_of_a_list_and_an_array_are_the_same(images):
    assert same_state(small_model().fit(images).trainer_, small_model().fit(list(images)).trainer_)


def test_small_sets_and_incomplete_batches(images):
    assert len(small_model(batch_size=16).fit(images).history_) == 4
    model = small_model(batch_size=256, epochs=3).fit(images[:5])
    assert len(model.history_) == 3 and model.config_.batch_size == 5
    with pytest.raises(carl.InvalidArgumentError, match="at least 2"):
        small_model().fit(images[:1])


@pytest.mark.parametrize(("size", "stem"), [(20, "small"), (64, "imagenet")])
def test_view_size_and_stem_follow_the_images(size, stem):
    images = np.random.default_rng(0).integers(0, 256, (4, size, size + 6), dtype=np.uint8)
    model = small_model(epochs=1, stem=None).fit(images)
    assert (model.config_.view_size, model.config_.stem, model.config_.in_channels) == (size, stem, 1)


def test_too_little_memory_names_what_decides_it(images, monkeypatch):
    def step(*arguments):
        raise carl.OutOfMemoryError("1000 float32 values would take 4 GiB of memory")

    monkeypatch.setattr(carl.Trainer, "step", step)
    with pytest.raises(carl.OutOfMemoryError, match=r"4 GiB.*8 images a step with views of \d+ pixels.*batch_size"):
        small_model().fit(images)


def test_large_images_are_seen_at_224():
    from carl._fit import trainer_config
    from carl.sources import as_source

    images = np.zeros((2, 300, 400, 3), np.uint8)
    assert trainer_config(small_model(stem=None), as_source(images)).view_size == 224


def test_partial_fit(images):
    model = small_model()
    model.partial_fit(images)
    assert len(model.history_) == 5 and model.epoch_ == 1
    assert model.partial_fit(images) is model
    assert len(model.history_) == 10 and model.epoch_ == 2 and model.trainer_.step_count == 10
    assert {metrics.learning_rate for metrics in model.history_} == {0.01}


@pytest.mark.parametrize("loaded", [False, True])
def test_partial_fit_after_fit_goes_on_learning(images, tmp_path, loaded):
    model = small_model(epochs=4).fit(images)
    if loaded:
        model.save(tmp_path / "m.carl")
        model = carl.load(tmp_path / "m.carl")
    before = model.trainer_.state_dict()
    model.partial_fit(images).partial_fit(images)
    assert {metrics.learning_rate for metrics in list(model.history_)[-10:]} == {0.01}
    assert model.config_.schedule == "constant" and model.config_.total_steps is None
    after = model.trainer_.state_dict()
    assert not np.array_equal(before["encoder.conv1.weight"], after["encoder.conv1.weight"])
    # A schedule that is asked for stays.
    model = small_model(epochs=2, total_steps=100).fit(images)
    assert model.partial_fit(images).config_.total_steps == 100


def test_history_and_callbacks(images):
    seen = []

    class Watcher(carl.Callback):
        def on_start(self, model):
            seen.append(("start", model.trainer_.step_count))

        def on_epoch(self, model, epoch):
            seen.append(("epoch", epoch))

        def on_end(self, model):
            seen.append(("end", model.trainer_.step_count))

    steps = []
    model = small_model(callbacks=[Watcher(), lambda model, metrics: steps.append(metrics.step)]).fit(images)
    assert seen == [("start", 0), ("epoch", 0), ("epoch", 1), ("end", 10)]
    assert steps == [metrics.step for metrics in model.history_] == list(range(1, 11))
    assert all(0 <= metrics.data_wait <= 1 for metrics in model.history_)
    with pytest.raises(carl.InvalidArgumentError, match="callbacks"):
        small_model(callbacks=[3]).fit(images)
    for wrong, words in ((3, "int"), (object(), "object"), (carl.Callback, "the class Callback")):
        with pytest.raises(carl.InvalidArgumentError, match=f"callbacks: got {words}, want carl.Callback objects"):
            small_model(callbacks=wrong).fit(images)


def test_a_callback_can_stop(images, tmp_path):
    def stop(model, metrics):
        if metrics.step == 7:
            raise carl.StopTraining("enough")

    model = small_model(callbacks=stop, run_dir=tmp_path).fit(images)
    assert model.trainer_.step_count == 7 and model.transform(images).shape[0] == 40
    assert "enough" in (tmp_path / "train.log").read_text()
    resumed = small_model(run_dir=tmp_path).fit(images, resume=True)
    assert same_state(resumed.trainer_, small_model().fit(images).trainer_)


def test_an_error_in_a_callback_comes_through(images):
    def fail(model, metrics):
        raise ZeroDivisionError

    model = small_model(callbacks=fail)
    with pytest.raises(ZeroDivisionError):
        model.fit(images)
    assert model.predict(images).shape == (40,)


def test_progress_bar_shows_the_figures(images, capsys):
    small_model(progress=True).fit(images)
    shown = capsys.readouterr().err
    for word in ("loss", "consistency", "prior", "effective prototypes", "views/s", "10/10"):
        assert word in shown
    small_model(progress=False).fit(images)
    assert capsys.readouterr().err == ""


# ---- Runs and resume


def test_run_folder(images, tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.numpy import load_file

    model = small_model(run_dir=tmp_path / "run").fit(images)
    run = tmp_path / "run"
    config = json.loads((run / "config.json").read_text())
    assert config["prototypes"] == 6 and config["batch_size"] == 8
    rows = read_metrics(run)
    assert [row["step"] for row in rows] == list(range(1, 11)) and [row["epoch"] for row in rows] == [0] * 5 + [1] * 5
    assert rows[-1]["loss"] == model.history_[-1].loss and "data_wait" in rows[0]
    log = (run / "train.log").read_text()
    assert "epoch 2/2" in log and "finished at step 10" in log
    exported, state = load_file(run / "exported" / "encoder.safetensors"), model.trainer_.state_dict()
    assert set(exported) == {key[8:] for key in state if key.startswith("encoder.")}
    assert np.array_equal(exported["layer1.0.conv1.weight"], state["encoder.layer1.0.conv1.weight"])
    assert (run / "plots").is_dir()
    assert same_state(carl.load(run).trainer_, model.trainer_)


@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 9, 14])
def test_resume_is_exact_also_within_an_epoch(images, tmp_path, stop_at):
    whole = small_model(epochs=3).fit(images)

    def stop(model, metrics):
        if metrics.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_model(epochs=3, run_dir=tmp_path, callbacks=stop).fit(images)
    resumed = small_model(epochs=3, run_dir=tmp_path).fit(images, resume=True)
    assert same_state(whole.trainer_, resumed.trainer_)
    assert [metrics.step for metrics in resumed.history_] == list(range(1, 16))
    assert [m.loss for m in resumed.history_] == [m.loss for m in whole.history_]
    over = small_model(epochs=3, run_dir=tmp_path).fit(images, resume=True)
    assert over.history_ == resumed.history_
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 16))


def test_an_error_of_a_callback_leaves_a_checkpoint(images, tmp_path):
    def fail(model, *metrics):
        if model.trainer_.step_count == 8:
            raise OSError("a server is down")

    with pytest.raises(OSError, match="a server is down"):
        small_model(run_dir=tmp_path, callbacks=fail).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 8
    log = (tmp_path / "train.log").read_text()
    assert "stopped by an error at step 8" in log and "failed: OSError: a server is down" in log
    resumed = small_model(run_dir=tmp_path).fit(images, resume=True)
    assert same_state(resumed.trainer_, small_model().fit(images).trainer_)

    class Ends(carl.Callback):
        def on_epoch(self, model, epoch):
            raise OSError("a server is down")

    with pytest.raises(OSError, match="a server is down"):
        small_model(run_dir=tmp_path / "epoch", callbacks=[Ends()]).fit(images)
    assert carl.load(tmp_path / "epoch").epoch_ == 1


def test_a_model_that_is_not_finite_takes_no_checkpoints_place(images, tmp_path):
    def fail(model, metrics):
        if metrics.step == 8:
            raise carl.NotFiniteError("the loss is NaN")

    with pytest.raises(carl.NotFiniteError):
        small_model(run_dir=tmp_path, callbacks=fail, checkpoint_every=3).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 6


def test_resume_after_a_crash_goes_back_to_the_last_checkpoint(images, tmp_path, monkeypatch):
    monkeypatch.setattr("carl._training.TrainingLoop._save_after", lambda loop, error: None)

    def crash(model, metrics):
        if metrics.step == 8:
            raise OSError("the machine went down")

    with pytest.raises(OSError):
        small_model(run_dir=tmp_path, callbacks=crash, checkpoint_every=3).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 6
    assert len(read_metrics(tmp_path)) == 8
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "lo')
    resumed = small_model(run_dir=tmp_path).fit(images, resume=True)
    assert same_state(resumed.trainer_, small_model().fit(images).trainer_)
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 11))


def test_resume_forms(images, tmp_path):
    model = small_model(run_dir=tmp_path / "a").fit(images, resume=True)
    assert model.epoch_ == 2  # there was nothing to resume from
    longer = small_model(epochs=4).fit(images, resume=tmp_path / "a")
    assert longer.trainer_.step_count == 20 and len(longer.history_) == 10 and longer.config_.total_steps == 20
    again = small_model(epochs=2).fit(images, resume=tmp_path / "a" / "checkpoints" / "last.carl")
    assert again.trainer_.step_count == 10 and again.history_ == []  # whose run folder this is not
    with pytest.raises(carl.InvalidArgumentError, match="run_dir"):
        small_model().fit(images, resume=True)
    with pytest.raises(carl.InvalidArgumentError, match="made with 40"):
        small_model().fit(images[:20], resume=tmp_path / "a")
    with pytest.raises(carl.FileError):
        small_model().fit(images, resume=tmp_path / "nothing.carl")
    model.trainer_.save(tmp_path / "plain.carl", notes={})
    with pytest.raises(carl.InvalidStateError, match="place in the data"):
        small_model().fit(images, resume=tmp_path / "plain.carl")


@pytest.mark.parametrize(
    "change",
    [{"prototypes": 9}, {"learning_rate": 0.5}, {"seed": 12345}, {"projector": (9, 8)}, {"optimizer": "adamw"}],
)
def test_a_run_that_goes_on_stays_as_it_was_started(images, tmp_path, change):
    small_model(run_dir=tmp_path).fit(images)
    (key,) = change
    with pytest.raises(carl.InvalidArgumentError, match=f"{key}: got .* which stays"):
        small_model(run_dir=tmp_path, **change).fit(images, resume=True)
    # What says the same in another way is no change, and neither is what may change.
    model = small_model(run_dir=tmp_path, epochs=3, threads=1, projector=(16, 8), callbacks=[])
    assert model.fit(images, resume=True).trainer_.step_count == 15


@pytest.mark.parametrize(
    "first, second",
    [
        ({"temperature": 1.0}, {"temperature": 1.0}),
        ({"temperature": 1}, {"temperature": 1.0}),
        (
            {"prior_weight": {"start": 4.0, "end": 1.0, "steps": 5}},
            {"prior_weight": {"start": 4, "end": 1, "steps": 5}},
        ),
        ({"mean": [0.0], "std": (1.0,)}, {"mean": np.zeros(1, np.float32), "std": np.ones(1)}),
        (
            {"views": [{"size": 12, "count": 2, "scale": [0.5, 1.0]}]},
            {"views": [{"size": 12, "count": 2, "scale": (0.5, 1)}]},
        ),
        ({"learning_rate": np.float32(0.1)}, {"learning_rate": np.float32(0.1)}),
    ],
)
def test_the_same_parameters_go_on_however_they_are_written(images, tmp_path, first, second):
    small_model(run_dir=tmp_path, epochs=1, **first).fit(images)
    assert small_model(run_dir=tmp_path, epochs=2, **second).fit(images, resume=True).trainer_.step_count == 10


def test_unwritable_run_folder(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(carl.FileError, match="run_dir"):
        small_model(run_dir=tmp_path / "file").fit(images)


def test_save_and_load(images, tmp_path):
    model = small_model(temperature=0.2, projector=[12, 8]).fit(images)
    model.save(tmp_path / "model.carl")
    for again in (carl.load(tmp_path / "model.carl"), carl.CARL.load(tmp_path / "model.carl", threads=1)):
        assert again.get_params() == model.get_params()
        np.testing.assert_allclose(again.transform(images), model.transform(images), rtol=1e-4, atol=1e-5)
        assert again.epoch_ == 2
    again.partial_fit(images)
    assert again.trainer_.step_count == 15


def test_load_takes_a_trainer_s_file(images, tmp_path, trainer):
    trainer.step(images)
    trainer.save(tmp_path / "t.carl")
    model = carl.load(tmp_path / "t.carl")
    assert isinstance(model, carl.CARL) and model.prototypes == 6
    assert np.array_equal(model.transform(images), trainer.embed_images(images))
    with pytest.raises(carl.FileError):
        carl.load(tmp_path / "none")


# ---- Bad input


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"epochs": 0}, carl.InvalidArgumentError),
        ({"epochs": 1.5}, carl.InvalidArgumentError),
        ({"batch_size": 1}, carl.InvalidArgumentError),
        ({"batch_size": "8"}, carl.InvalidArgumentError),
        ({"checkpoint_every": 0}, carl.InvalidArgumentError),
        ({"in_channels": 1}, carl.InvalidArgumentError),
        ({"encoder": "vgg"}, carl.ConfigurationError),
        ({"prototypes": -1}, carl.ConfigurationError),
        ({"run_dir": 3}, carl.InvalidArgumentError),
        ({"temperature": float("nan")}, carl.ConfigurationError),
    ],
)
def test_bad_parameters(images, changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        small_model(**changes).fit(images)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((4, 12, 12, 3)),
        np.zeros((4, 12, 12, 3), np.float32),
        np.zeros((4, 144), np.uint8),
        [],
        3,
        None,
        {"a": 1},
        np.zeros((0, 12, 12), np.uint8),
        b"123",
        [np.zeros((4, 4)), 3],
    ],
)
def test_bad_images(data):
    with pytest.raises(carl.InvalidArgumentError, match="images"):
        small_model().fit(data)


def test_wrong_channels_at_transform(images):
    model = small_model(epochs=1).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="1 channel"):
        model.transform(images[..., 0])
    with pytest.raises(carl.InvalidArgumentError, match="output"):
        model.transform(images, output="nothing")


def test_constructor_checks_names():
    with pytest.raises(TypeError, match="prototypez"):
        carl.CARL(prototypez=3)
    with pytest.raises(carl.InvalidArgumentError, match="did you mean 'prototypes'"):
        carl.CARL().set_params(prototipes=3)


# ---- scikit-learn's rules


def test_init_only_stores():
    for name in inspect.signature(carl.CARL.__init__).parameters:
        if name != "self":
            marker = object()
            assert getattr(carl.CARL(**{name: marker}), name) is marker


def test_params_go_round_and_repr_is_short():
    model = small_model()
    assert carl.CARL(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(epochs=7) is model and model.epochs == 7
    assert repr(carl.CARL(prototypes=5)) == "CARL(prototypes=5)"


def test_not_fitted_errors(images):
    for call in (
        lambda m: m.transform(images),
        lambda m: m.predict(images),
        lambda m: m.predict_proba(images),
        lambda m: m.save("x"),
        lambda m: m.epoch_,
        lambda m: m.get_feature_names_out(),
    ):
        with pytest.raises(carl.NotFittedError, match="fit"):
            call(small_model())
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError):
        small_model().transform(images)


def test_clone_and_pipeline(images):
    sklearn_base = pytest.importorskip("sklearn.base")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    model = small_model(projector=[16, 8], prior_weight={"start": 3, "end": 1, "steps": 5}).fit(images)
    cloned = sklearn_base.clone(model)
    assert cloned.get_params() == model.get_params() and not hasattr(cloned, "trainer_")
    check_is_fitted(model)
    labels = (images[:, 0].mean((1, 2)) > images[:, -1].mean((1, 2))).astype(int)
    pipeline = make_pipeline(small_model(), StandardScaler(), LogisticRegression())
    pipeline.fit(images, labels)
    assert pipeline.predict(images).shape == (40,)
    assert pipeline.score(images, labels) > 0.5
    sklearn_base.clone(pipeline)
    repr(pipeline)


def test_pickle_copy_and_joblib(images):
    fresh = pickle.loads(pickle.dumps(small_model()))
    assert fresh.get_params() == small_model().get_params() and not hasattr(fresh, "trainer_")
    model = small_model().fit(images)
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    joblib = pytest.importorskip("joblib")
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    copies.append(joblib.load(stream))
    for copied in copies:
        assert np.array_equal(copied.transform(images), model.transform(images))
        assert copied.history_ == model.history_ and copied.epoch_ == 2 and copied.get_params() == model.get_params()
        copied.partial_fit(images)
    model.partial_fit(images)
    assert same_state(model.trainer_, copies[0].trainer_)


# ---- Streams


def test_an_iterable_of_batches(images):
    batches = [images[:16], list(images[16:32]), images[32:]]
    model = small_model().fit(batches)
    assert len(model.history_) == 6 and model.config_.total_steps == 6
    assert model.transform(batches).shape[0] == 40
    np.testing.assert_allclose(model.transform(batches), model.transform(images), rtol=1e-4, atol=1e-6)


def test_a_generator_lasts_one_epoch(images):
    with pytest.warns(UserWarning, match="learning rate stays constant"):
        model = small_model(epochs=1, batch_size=10).fit(images[start : start + 10] for start in range(0, 40, 10))
    assert len(model.history_) == 4
    with pytest.raises(carl.InvalidArgumentError, match="epochs: got 2"):
        small_model(epochs=2).fit(images[start : start + 10] for start in range(0, 40, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = (images[start : start + 10] for start in range(0, 40, 10))
        small_model(epochs=1, batch_size=10, total_steps=4).fit(batches)


def test_streams_resume_within_an_epoch(images, tmp_path):
    class Batches:
        def __iter__(self):
            return (images[start : start + 8] for start in range(0, 40, 8))

        def __len__(self):
            return 5

    whole = small_model().fit(Batches())

    def stop(model, metrics):
        if metrics.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=stop).fit(Batches())
    assert same_state(whole.trainer_, small_model(run_dir=tmp_path).fit(Batches(), resume=True).trainer_)


def test_empty_streams_and_errors_in_them(images):
    with pytest.raises(carl.InvalidArgumentError, match="no batches"):
        small_model(epochs=1).fit(iter([]))

    def broken():
        yield images[:8]
        raise ZeroDivisionError("in the data")

    with pytest.warns(UserWarning), pytest.raises(ZeroDivisionError):
        small_model(epochs=1).fit(broken())


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("prototype", "prototypes"),
        ("learning_rat", "learning_rate"),
        ("batchsize", "batch_size"),
        ("lr", "learning_rate"),
        ("random_state", "seed"),
        ("n_clusters", "prototypes"),
        ("n_components", "prototypes"),
        ("n_jobs", "threads"),
        ("num_workers", "threads"),
        ("max_iter", "epochs"),
        ("verbose", "progress"),
    ],
)
def test_a_misspelt_parameter_of_the_constructor_names_the_nearest(given, meant):
    with pytest.raises(TypeError, match=f"{given!r}; did you mean {meant!r}"):
        carl.CARL(**{given: 20})
    with pytest.raises(carl.InvalidArgumentError, match=f"{given!r} of CARL; did you mean {meant!r}"):
        carl.CARL().set_params(**{given: 20})
    assert str(inspect.signature(carl.CARL)).startswith("(encoder: 'str | None' = None, stem:")
    with pytest.raises(TypeError, match="positional"):
        carl.CARL("resnet18", None, 1.0, 20)
