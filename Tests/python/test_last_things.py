"""Small things on the way: data frames, runs inside of their images, full disks, nonsense in the environment, globs."""

from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest

import carl
from carl.cli import main
from carl.sources import as_source
from conftest import small_model
from test_names import KEYS

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(tmp_path, images):
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images[:12]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02d}.png")
    return tmp_path / "photos"


def test_set_output(images):
    model = small_model(epochs=1).fit(images)
    plain = model.transform(images)
    with pytest.raises(carl.InvalidArgumentError, match="transform: got 'frames'"):
        model.set_output(transform="frames")
    assert model.set_output(transform=None) is model and isinstance(model.transform(images), np.ndarray)
    pandas = pytest.importorskip("pandas")
    frame = model.set_output(transform="pandas").transform(images)
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == list(model.get_feature_names_out())
    assert np.array_equal(frame.to_numpy(), plain)
    assert list(model.transform(images, "probabilities").columns[:2]) == ["probability0", "probability1"]
    assert isinstance(model.predict_proba(images), np.ndarray)
    assert isinstance(model.fit_transform(images), pandas.DataFrame)
    assert isinstance(model.set_output(transform="default").transform(images), np.ndarray)


def test_set_output_needs_pandas_only_where_it_is_wanted(images, monkeypatch):
    import sys

    model = small_model(epochs=1).fit(images).set_output(transform="pandas")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(carl.MissingPackageError, match="pip install pandas"):
        model.transform(images)


def test_a_run_inside_of_its_images_is_none_of_them(photos):
    run = photos / "runs" / "first"
    small_model(epochs=1, run_dir=run).fit(photos)
    (run / "plots").mkdir(exist_ok=True)
    shutil.copy(photos / "00.png", run / "plots" / "views.png")
    assert len(as_source(photos)) == 12
    small_model(epochs=2, run_dir=run).fit(photos, resume=True)
    (photos / "other").mkdir()
    (photos / "other" / "config.json").write_text("{}")  # of somebody else's
    shutil.copy(photos / "00.png", photos / "other")
    assert len(as_source(photos)) == 13


def test_a_disk_without_room_for_a_checkpoint_is_told_before_the_first_step(tmp_path, images, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 100_000))
    model = small_model(run_dir=tmp_path / "run")
    with pytest.raises(carl.FileError, match=r"run: a checkpoint takes \d+ bytes, its disk has 100000 left"):
        model.fit(images)
    assert model.trainer_.step_count == 0
    small_model(epochs=1).fit(images)  # without a folder nothing is written


@pytest.mark.parametrize("value", ["many", "0", "-2", "1.5", "2 4"])
def test_nonsense_in_the_environment(images, monkeypatch, value):
    model = small_model(epochs=1).fit(images)
    features = model.transform(images)
    monkeypatch.setenv("CARL_NUM_THREADS", value)
    with pytest.raises(carl.InvalidArgumentError, match=f"CARL_NUM_THREADS: got '{value}', want a whole number"):
        small_model(epochs=1).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="CARL_NUM_THREADS"):
        carl.evaluate.nearest_neighbours(features, features, 2)
    for good in ("", "1"):
        monkeypatch.setenv("CARL_NUM_THREADS", good)
        carl.evaluate.nearest_neighbours(features, features, 2)


def test_train_takes_the_files_of_a_pattern(photos, tmp_path):
    files = sorted(map(str, photos.glob("*.png")))
    assert main(["train", *files, *KEYS, "--quiet", "--out", str(tmp_path / "a")]) == 0
    assert main(["train", str(photos), *KEYS, "--quiet", "--out", str(tmp_path / "b")]) == 0
    assert np.array_equal(carl.load(tmp_path / "a").transform(files), carl.load(tmp_path / "b").transform(files))
