"""What a run that goes on takes from its checkpoint, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

import carl
from carl._early_views import UNDECIDED
from conftest import same_state, small_model


def stop_at(step):
    def callback(model, metrics):
        if metrics.step == step:
            raise carl.StopTraining

    return callback


def resumed(run, images, **changes):
    """A model that gives nothing but `changes`, resumed."""
    return carl.CARL(run_dir=run, progress=False, **changes).fit(images, resume=True)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def deep(images):
    """uint16."""
    return images.astype(np.uint16) * 16


# ---- Values of the images


@pytest.mark.parametrize("key, value, other", [("value_range", (0, 4095), (0, 100)), ("cache_size", 9, 10)])
def test_what_is_read_of_the_images_stays(deep, images, tmp_path, run, png_files, key, value, other):
    ranged = key == "value_range"
    data = deep if ranged else str(tmp_path)
    given = {key: value} if ranged else {key: value, "cache": tmp_path / "cache"}
    settings = {**given, "epochs": 3}
    whole = small_model(**settings).fit(data)
    small_model(**settings, run_dir=run, callbacks=stop_at(2)).fit(data)
    with pytest.raises(carl.InvalidArgumentError, match=f"{key}: got .*, but .* was made with .*, which stays"):
        small_model(**{**settings, key: other}, run_dir=run).fit(data, resume=True)
    model = resumed(run, data)
    assert same_state(model.trainer_, whole.trainer_)
    assert (
        tuple(np.ravel(getattr(model, key))) == tuple(np.ravel(value)) == tuple(np.ravel(getattr(carl.load(run), key)))
    )


def test_a_range_or_a_cache_cannot_be_added(deep, images, tmp_path, run, png_files):
    small_model(run_dir=run, callbacks=stop_at(1)).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="value_range: got .* was made with None"):
        resumed(run, images, value_range=(0, 255))
    with pytest.raises(carl.InvalidArgumentError, match="cache: got .* was made with None"):
        resumed(run, images, cache=tmp_path / "cache")


def test_the_cache_may_be_another_folder(tmp_path, run, png_files):
    settings = {"cache": tmp_path / "one", "cache_size": 9, "epochs": 3}
    whole = small_model(**settings).fit(png_files)
    small_model(**settings, run_dir=run, callbacks=stop_at(2)).fit(png_files)
    assert same_state(resumed(run, png_files, cache=tmp_path / "two").trainer_, whole.trainer_)
    assert (tmp_path / "two").is_dir()


def test_views_of_a_frozen_encoder_stay(images, run):
    settings = {"train_encoder": "none", "epochs": 6, "feature_views": 4}
    whole = small_model(**settings).fit(images)
    small_model(**settings, run_dir=run, callbacks=stop_at(9)).fit(images)
    assert same_state(resumed(run, images).trainer_, whole.trainer_)


def test_a_key_left_out_once_can_be_given_again(images, run):
    views = [{"size": 8, "count": 2}]
    settings = {key: value for key, value in small_model(epochs=3).get_params().items() if key != "view_size"}
    settings["views"] = views
    carl.CARL(**{**settings, "run_dir": run, "callbacks": stop_at(2)}).fit(images)
    carl.CARL(run_dir=run, progress=False, callbacks=stop_at(4)).fit(images, resume=True)
    assert carl.CARL(**{**settings, "run_dir": run}).fit(images, resume=True).trainer_.step_count == 15


# ---- How long it is


@pytest.mark.parametrize(
    "settings, steps",
    [({"epochs": 2}, 10), ({"epochs": 50, "total_steps": 3}, 3), ({"epochs": None, "total_steps": 7}, 7)],
)
def test_its_length_is_that_of_the_run(images, run, settings, steps):
    whole = small_model(**settings).fit(images)
    small_model(**settings, run_dir=run, callbacks=stop_at(2)).fit(images)
    model = resumed(run, images)
    assert model.trainer_.step_count == steps and same_state(model.trainer_, whole.trainer_)


def test_another_length_takes_its_place(images, run):
    small_model(epochs=2, total_steps=8, run_dir=run, callbacks=stop_at(2)).fit(images)
    model = resumed(run, images, epochs=3)
    assert model.trainer_.step_count == model.config_.total_steps == 15 and model.total_steps is None


def test_a_shorter_length_than_is_done_changes_nothing(images, run):
    small_model(epochs=3, run_dir=run).fit(images)
    before = json.loads((run / "config.json").read_text())
    model = resumed(run, images, epochs=2)
    assert model.trainer_.step_count == 15 and (model.config_.epochs, model.config_.total_steps) == (3, 15)
    assert json.loads((run / "config.json").read_text()) == before


def test_a_run_that_was_stopped_behind_its_last_step_is_over(images, run):
    """The epoch counts as done once it goes on, callbacks are told, and the file is that of a run without the stop."""
    small_model(run_dir=run, callbacks=stop_at(10)).fit(images)
    assert carl.load(run).epoch_ == 1
    ended = []
    callback = carl.Callback()
    callback.on_epoch = lambda model, epoch: ended.append(epoch)
    model = resumed(run, images, callbacks=callback)
    assert model.epoch_ == carl.load(run).epoch_ == 2 and ended == [1] and model.trainer_.step_count == 10
    resumed(run, images, callbacks=callback)
    assert ended == [1]


# ---- Budgets


def test_an_undecided_budget_goes_on(images, run):
    settings = {"epochs": None, "early_view_size": 8, "budget": "20s"}
    small_model(**settings, run_dir=run, callbacks=stop_at(2)).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="epochs: got 5, but .* was made with budget='20s', which has"):
        resumed(run, images, epochs=5)
    stopped = resumed(run, images, callbacks=stop_at(4))
    assert stopped.budget == "20s" and carl.load(run).budget == "20s" and stopped._kept_budget is not None
    assert stopped.config_.early_steps in (UNDECIDED, 0, *range(1, 5))


def test_a_run_with_a_budget_is_repeated_from_its_file(images, run, tmp_path):
    """Of a frozen encoder too, whose features a budget does not keep, and with what is read of the images."""
    settings = {"epochs": None, "train_encoder": "none", "budget": "3s", "value_range": (0, 200)}
    model = small_model(**settings, run_dir=run).fit(images)
    config = json.loads((run / "config.json").read_text())
    assert config["feature_views"] == 0 and config["value_range"] == [0, 200]
    assert same_state(carl.CARL(**config, progress=False).fit(images).trainer_, model.trainer_)


@pytest.mark.parametrize("limit", [{"budget": "1m"}, {"memory": "4G"}])
def test_limits_with_one_image(images, limit):
    with pytest.raises(carl.InvalidArgumentError, match="images: got 1, want at least 2"):
        small_model(epochs=None, **limit).fit(images[:1])


def test_a_limit_of_memory_holds_for_what_is_read_to_measure(images, tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    for place, image in enumerate(images[:4]):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png")
    read = []
    monkeypatch.setattr("carl._calibration.read_batch", lambda *arguments: read.append(arguments))
    from carl._memory import resident_memory

    limit = resident_memory() + (150 << 20)
    with pytest.raises(carl.InvalidArgumentError, match="memory: got .*, but decoding the largest images takes"):
        small_model(memory=limit).fit(str(tmp_path))
    assert not read


# ---- The folder


@pytest.mark.parametrize("remove", [False, True], ids=["moved", "removed"])
def test_a_folder_that_another_run_took(images, run, tmp_path, remove):
    """The first run fails, and leaves the second one's files as they are."""
    second = []

    def replace(model, metrics):
        if metrics.step == 2:
            shutil.rmtree(run) if remove else os.rename(run, tmp_path / "elsewhere")
            second.append(small_model(seed=22, run_dir=run).fit(images))

    with pytest.raises(carl.FileError, match="moved, removed or replaced while the run went on"):
        small_model(seed=11, run_dir=run, callbacks=replace).fit(images)
    found = carl.load(run)
    assert found.config_.seed == 22 and same_state(found.trainer_, second[0].trainer_)
    assert {row["step"] for row in carl.runs.read_metrics(run)} == set(range(1, 11))
    assert json.loads((run / "config.json").read_text())["seed"] == 22
