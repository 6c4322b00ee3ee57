"""train_encoder "none": features of several views are computed once, and head and prototypes train on them."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

import carl
from carl._feature_file import FeatureFile
from carl._frozen import FrozenFeatures, FrozenReader, rounds_of, training_specs
from carl.runs import read_metrics, read_usage
from conftest import same_state, small_model

FROZEN = {"train_encoder": "none", "view_size": 12}


def frozen_model(**changes):
    return small_model(**{**FROZEN, **changes})


@pytest.fixture
def photos(tmp_path, images):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(images):
        image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02}.png")
    return tmp_path / "photos"


def close_states(a, b):
    first, second = a.trainer_.state_dict(), b.trainer_.state_dict()
    return all(np.allclose(first[name], second[name], rtol=1e-4, atol=1e-5) for name in first)


@pytest.mark.parametrize(
    "views",
    ["auto", [{"size": 12, "count": 2, "mean": [0.3], "std": [0.4]}, {"size": 8, "count": 2, "scale": [0.1, 0.4]}]],
)
def test_first_epochs_are_those_of_the_ordinary_path(images, views):
    """Up to the rounding of batches of another size, and mean and std of the configuration included."""
    keys = {"views": views, "view_size": 12 if views == "auto" else None, "mean": [0.4, 0.5, 0.6], "std": [0.2]}
    kept = frozen_model(**keys, epochs=2, feature_views=8, teacher_momentum=0.9).fit(images)
    ordinary = frozen_model(**keys, epochs=2, feature_views=0, teacher_momentum=0.9).fit(images)
    assert [m.loss for m in kept.history_] == pytest.approx([m.loss for m in ordinary.history_], rel=1e-4)
    assert close_states(kept, ordinary)


def test_loss_falls_and_the_encoder_stays(images):
    before = frozen_model(learning_rate=0.0, epochs=1).fit(images).trainer_.state_dict()
    model = frozen_model(epochs=40, learning_rate=0.1).fit(images)
    losses = [m.loss for m in model.history_]
    assert len(losses) == 200 and np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.3
    after = model.trainer_.state_dict()
    for name in after:
        if name.startswith("encoder."):
            assert np.array_equal(after[name], before[name]), name
    assert not np.array_equal(after["prototypes.weight"], before["prototypes.weight"])


def test_images_are_read_once(images):
    class Counting(carl.sources.ImageSource):
        seen = 0

        def __len__(self):
            return len(images)

        def read(self, indices):
            type(self).seen += len(indices)
            return images[indices]

        def describe(self):
            return "counted images"

    frozen_model(epochs=5).fit(Counting())
    probed = min(16, len(images))
    assert Counting.seen == len(images) + probed


def test_draws_of_later_epochs():
    """From all rounds, of the same specification, none twice, and by (seed, epoch, batch) alone."""
    specs = [{"count": 2, "size": 8}, {"count": 3, "size": 4}]
    values = np.arange(6 * 4 * 5, dtype=np.float32).reshape(6, 4, 5, 1)
    features = FrozenFeatures(values, specs, 7)
    assert features.views == 20
    indices = np.array([4, 1, 2])
    for epoch in range(4):
        assert np.array_equal(features.batch(indices, epoch, 0), values[indices, epoch].transpose(1, 0, 2))
    seen = set()
    for epoch in range(4, 40):
        found = features.batch(indices, epoch, 1)[..., 0]
        assert found.shape == (5, 3) and np.array_equal(found, features.batch(indices, epoch, 1)[..., 0])
        for slot, place in enumerate(indices):
            own = values[place, ..., 0]
            assert set(found[:2, slot]) <= set(own[:, :2].ravel()) and len(set(found[:2, slot])) == 2
            assert set(found[2:, slot]) <= set(own[:, 2:].ravel()) and len(set(found[2:, slot])) == 3
        seen.update(found[:2, 0].tolist())
    assert seen == set(values[4, :, :2, 0].ravel())
    assert not np.array_equal(features.batch(indices, 9, 1), features.batch(indices, 9, 2))
    with FrozenReader(features, 2, 5, 1) as reader:
        first, second = list(reader.epoch()), list(reader.epoch())
    assert len(first) == 2 and len(second) == 3 and first[0].images.shape == (5, 2, 1)
    with FrozenReader(features, 2, 6, 0) as reader:
        again = list(reader.epoch())
    assert all(np.array_equal(a.images, b.images) for a, b in zip(second, again))


def test_how_many_rounds():
    assert [rounds_of(8, views, 100) for views in (2, 3, 8, 12)] == [4, 3, 1, 1]
    assert rounds_of(8, 2, 3) == 3 and rounds_of(1, 2, 3) == 1


def test_local_views_are_no_targets():
    specs = training_specs(carl.TrainerConfig(views="multicrop", view_size=28, mean=[0.1], std=[0.2]))
    assert specs[0]["size"] == 28 > specs[1]["size"] and specs[1]["mean"] == [0.1]
    sizes = FrozenFeatures(np.zeros((4, 1, 8, 2), np.float32), specs, 0)
    assert sizes._global_views == 2


@pytest.mark.parametrize("given", [-1, 1025, 1.5, "x"])
def test_feature_views_is_checked(images, given):
    with pytest.raises(carl.InvalidArgumentError, match="feature_views"):
        frozen_model(feature_views=given).fit(images)


def test_memory_is_checked_before(images, monkeypatch):
    monkeypatch.setattr("carl._frozen.available_memory", lambda: 1000)
    with pytest.raises(carl.OutOfMemoryError, match="features of 8 views of 40 images take .*run_dir"):
        frozen_model(epochs=8).fit(images)


def test_interrupted_runs_go_on(photos, images, tmp_path):
    whole = frozen_model(epochs=6).fit(photos)
    run = tmp_path / "run"

    def stop(model, metrics):
        if metrics.step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen_model(epochs=6, run_dir=run, callbacks=stop).fit(photos)
    kept = json.loads((run / "features.json").read_text())
    assert kept["shape"] == [40, 4, 2, 64] and (run / "features.npy").stat().st_size > 40 * 8 * 64 * 4
    going = frozen_model(epochs=6, run_dir=run)
    going.fit(photos, resume=True)
    assert same_state(going.trainer_, whole.trainer_)
    assert "are there already" in (run / "train.log").read_text()
    # A run that is over leaves none.
    assert not (run / "features.json").exists() and not (run / "features.npy").exists()
    assert [row["step"] for row in read_metrics(run)] == list(range(1, 31))
    assert [m.loss for m in going.history_] == [m.loss for m in whole.history_]
    usage = read_usage(run)
    assert usage[0]["step"] == 0 and usage[-1]["step"] == 30


def test_a_run_that_is_interrupted_before_its_first_step_goes_on(photos, tmp_path, monkeypatch):
    whole = frozen_model(epochs=2).fit(photos)
    made = []

    def interrupted(*arguments, **options):
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return carl.make_views(*arguments, **options)

    monkeypatch.setattr("carl._frozen.make_views", interrupted)
    with pytest.raises(KeyboardInterrupt):
        frozen_model(epochs=2, run_dir=tmp_path / "run").fit(photos)
    model = frozen_model(epochs=2, run_dir=tmp_path / "run").fit(photos, resume=True)
    assert same_state(model.trainer_, whole.trainer_) and len(made) > 3


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(photos, tmp_path):
    """A mapped file would end the process with SIGBUS."""
    run = tmp_path / "run"

    def cut(model, metrics):
        os.truncate(run / "features.npy", 200)

    with pytest.raises(carl.FileError, match=r"features\.npy became shorter"):
        frozen_model(epochs=3, run_dir=run, callbacks=cut).fit(photos)


def test_a_disk_that_is_full_is_an_error_before_the_first_image(photos, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(carl.FileError, match=r"cannot write .*features\.npy: No space left"):
        frozen_model(epochs=3, run_dir=tmp_path / "run").fit(photos)


def test_features_in_a_file_are_those_in_memory(tmp_path):
    shape = (7, 3, 2, 5)
    values = np.random.default_rng(0).random(shape, np.float32)
    file = FeatureFile(tmp_path / "features.npy", shape, made=True)
    for number in range(3):
        for view in range(2):
            for images in ([4, 0], [6], [1, 2, 3, 5]):
                file[np.array(images), number, view] = values[images, number, view]
    file.complete()
    assert np.array_equal(np.load(file.path), values)
    for found in (file, FeatureFile(file.path, shape)):
        for indices in ([], [3], [5, 1, 1, 6], range(7)):
            assert np.array_equal(found[np.array(indices, np.uint64)], values[list(indices)])
    for other in ((7, 3, 2, 4), (8, 3, 2, 5)):
        with pytest.raises(carl.FileError, match="want float32"):
            FeatureFile(file.path, other)
    os.truncate(file.path, 500)
    with pytest.raises(carl.FileError, match="cut short"):
        FeatureFile(file.path, shape)


def test_features_of_other_images_or_damaged_ones_are_made_anew(photos, images, tmp_path):
    run = tmp_path / "run"

    def stop(model, metrics):
        if metrics.step == 7:
            raise carl.StopTraining

    def start():
        frozen_model(epochs=4, run_dir=run, callbacks=stop).fit(photos, resume=True)

    start()
    image = pytest.importorskip("PIL.Image")
    image.fromarray(images[0, ::-1]).resize((20, 20)).save(photos / "39.png")
    whole = frozen_model(epochs=4, run_dir=run).fit(photos, resume=True)
    assert "are there already" not in (run / "train.log").read_text()
    assert whole.trainer_.step_count == 20
    for damage in ("features.npy", "features.json"):
        other = tmp_path / damage.replace(".", "-")
        run = other
        start()
        (other / damage).write_bytes(b"damaged")
        frozen_model(epochs=4, run_dir=other).fit(photos, resume=True)
        assert "are there already" not in (other / "train.log").read_text()


def test_broken_images_are_replaced_as_in_ordinary_training(photos):
    for number in (3, 4, 39):
        (photos / f"{number:02}.png").write_bytes(b"no image")
    kept = frozen_model(epochs=2, max_broken=0.1).fit(photos)
    ordinary = frozen_model(epochs=2, max_broken=0.1, feature_views=0).fit(photos)
    assert len(kept.broken_images_) == 3 and kept.broken_images_ == ordinary.broken_images_
    assert [m.loss for m in kept.history_] == pytest.approx([m.loss for m in ordinary.history_], rel=1e-4)
    with pytest.raises(carl.BrokenImagesError):
        frozen_model(epochs=2, max_broken=0.05).fit(photos)
    with pytest.raises(carl.FileError, match="03.png"):
        frozen_model(epochs=2, on_error="raise").fit(photos)


def test_callbacks_evaluations_and_files(images, tmp_path):
    calls = []

    class Listener(carl.Callback):
        def on_epoch(self, model, epoch):
            calls.append(("epoch", epoch))

        def on_step(self, model, metrics):
            calls.append(("step", metrics.step))

    labels = np.arange(40) % 2
    model = frozen_model(epochs=3, run_dir=tmp_path / "run", callbacks=Listener())
    model.fit(images, eval_set=(images, labels))
    assert [what for what, _ in calls].count("step") == 15 and [n for what, n in calls if what == "epoch"] == [0, 1, 2]
    assert [row["step"] for row in model.evaluations_] == [0, 5, 10, 15]
    assert len({row["knn"] for row in model.evaluations_}) == 1  # the features are the same
    expected = frozen_model(epochs=3).fit(images)
    assert same_state(carl.load(tmp_path / "run").trainer_, expected.trainer_)
    assert model.predict(images).shape == (40,)


@pytest.mark.parametrize("apart, written", [(1e9, 1), (-1.0, 6)])
def test_checkpoints_of_short_epochs(images, tmp_path, monkeypatch, apart, written):
    """One at the end, and those of epochs only so many seconds apart: writing one may take longer than an epoch."""
    monkeypatch.setattr("carl._training._SAVED", apart)
    saves = []
    save = carl.runs.RunFolder.save
    monkeypatch.setattr("carl.runs.RunFolder.save", lambda run, *rest: saves.append(1) or save(run, *rest))
    frozen_model(epochs=5, run_dir=tmp_path / "run").fit(images)
    assert len(saves) == written
    saves.clear()
    frozen_model(epochs=5, run_dir=tmp_path / "other", feature_views=0).fit(images)
    assert len(saves) == 6


def test_streams_and_partial_fit_take_the_ordinary_path(images):
    stream = [images[:8], images[8:16]]
    assert frozen_model(epochs=1, total_steps=2).fit(stream).trainer_.step_count == 2
    model = frozen_model().partial_fit(images)
    assert model.partial_fit(images).trainer_.step_count == 10
