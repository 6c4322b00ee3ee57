"""Images that cannot be read: left out by a rule that does not depend on what happened before, counted, listed, and too
many of them."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

import carl
from carl.runs import read_broken
from carl.sources import as_source
from carl.sources.broken import BrokenImages, read_batch
from conftest import same_state, small_model
from test_sources_kinds import MapStyle, encoded, iter_again, write_tar

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(images, tmp_path):
    """40 files of which 3 and 17 are broken: cut off, and empty."""
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(np.kron(image, np.ones((4, 4, 1), np.uint8))).save(tmp_path / "photos" / f"{number:02d}.jpg")
    whole = (tmp_path / "photos" / "03.jpg").read_bytes()
    (tmp_path / "photos" / "03.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "photos" / "17.jpg").write_bytes(b"")
    return tmp_path / "photos"


def model_of(**changes):
    return small_model(**{"max_broken": 0.1, "view_size": 12, **changes})


def test_the_next_readable_image_stands_in(photos):
    source = as_source(photos)
    broken = BrokenImages(40, max_broken=0.1)
    found = read_batch(source, np.array([17, 3, 5, 4]), broken)
    assert np.array_equal(found[0], source.read(np.array([18]))[0]) and np.array_equal(found[1], found[3])
    assert sorted(broken.reasons) == [str(photos / "03.jpg"), str(photos / "17.jpg")]
    assert "truncated" in broken.reasons[str(photos / "03.jpg")]
    # Known ones are not tried again, and the outcome is the same.
    source.load = lambda place, least: _never(place) if place in (3, 17) else type(source).load(source, place, least)
    again = read_batch(source, np.array([17, 3, 5, 4]), broken)
    assert all(np.array_equal(a, b) for a, b in zip(found, again)) and len(broken) == 2


def _never(place):
    raise AssertionError(place)


def test_behind_the_last_comes_the_first(photos, images):
    for number in (38, 39):
        (photos / f"{number}.jpg").write_bytes(b"")
    source = as_source(photos)
    found = read_batch(source, np.array([38]), BrokenImages(40, max_broken=0.5))
    assert np.array_equal(found[0], source.read(np.array([0]))[0])


def test_broken_images_are_counted_and_listed(photos, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "carl"):
        model = model_of(run_dir=tmp_path / "run").fit(photos)
    assert len(model.history_) == 10 and len(model.broken_images_) == 2
    rows = read_broken(tmp_path / "run")
    assert {row["image"]: row["reason"] for row in rows} == model.broken_images_
    assert len((tmp_path / "run" / "broken_images.jsonl").read_text().splitlines()) == 2
    assert sum("03.jpg" in record.message for record in caplog.records) == 1
    log = (tmp_path / "run" / "train.log").read_text()
    assert "images that could not be read: 2" in log and "17.jpg" in log
    # Without a broken image there is no list.
    good = photos.parent / "good"
    good.mkdir()
    for number in range(20, 40):
        (photos / f"{number}.jpg").rename(good / f"{number}.jpg")
    assert model_of(run_dir=tmp_path / "other").fit(good).broken_images_ == {}
    assert not (tmp_path / "other" / "broken_images.jsonl").exists() and read_broken(tmp_path / "other") == []


def test_a_resumed_run_equals_an_uninterrupted_one(photos, tmp_path):
    whole = model_of(epochs=3, run_dir=tmp_path / "whole").fit(photos)
    for stop in (2, 5, 9):

        def halt(model, metrics, stop=stop):
            if metrics.step == stop:
                raise carl.StopTraining

        run = tmp_path / f"cut{stop}"
        model_of(epochs=3, run_dir=run, callbacks=halt).fit(photos)
        resumed = model_of(epochs=3, run_dir=run).fit(photos, resume=True)
        assert resumed.trainer_.step_count == 15 and same_state(resumed.trainer_, whole.trainer_), stop
        losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert losses == [metrics.loss for metrics in whole.history_]
        assert sorted(row["image"] for row in read_broken(run)) == sorted(whole.broken_images_)


def test_raise_names_the_file(photos):
    with pytest.raises(carl.FileError, match="(03|17).jpg"):
        model_of(on_error="raise").fit(photos)


def test_too_many(photos, tmp_path):
    with pytest.raises(
        carl.BrokenImagesError, match=r"1 of 40 images cannot be read, more than max_broken = 0.02.*(03|17)\.jpg \("
    ):
        model_of(max_broken=0.02, run_dir=tmp_path / "run").fit(photos)
    assert (
        len(read_broken(tmp_path / "run")) == 1
        and "failed: BrokenImagesError" in (tmp_path / "run" / "train.log").read_text()
    )
    assert len(model_of(max_broken=0.05).fit(photos).broken_images_) == 2  # exactly the share is no more than it
    for number in range(39):
        (photos / f"{number:02d}.jpg").write_bytes(b"x")
    with pytest.raises(carl.BrokenImagesError, match="more than max_broken"):
        model_of().fit(photos)
    assert len(model_of(max_broken=1).fit(photos).broken_images_) == 39  # the one that is left stands in for all
    (photos / "39.jpg").write_bytes(b"x")
    with pytest.raises(carl.FileError, match="00.jpg"):
        model_of(max_broken=1).fit(photos)


def test_a_set_of_which_nothing_can_be_read_is_refused_early(images):
    tried = []

    class Hopeless(MapStyle):
        def __getitem__(self, place):
            tried.append(place)
            if place % 1000:
                raise OSError("bad sector")
            return images[0]

    with pytest.raises(carl.BrokenImagesError, match=r"of the first \d+ images cannot be read"):
        model_of(batch_size=16, max_broken=0.4).fit(Hopeless(range(100_000)))
    assert len(tried) < 2500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("on_error", "ignore"),
        ("on_error", None),
        ("max_broken", 1.5),
        ("max_broken", -1),
        ("max_broken", float("nan")),
        ("max_broken", "much"),
        ("max_broken", True),
    ],
)
def test_wrong_values(images, key, value):
    with pytest.raises(carl.InvalidArgumentError, match=key):
        small_model(**{key: value}).fit(images)


def test_broken_members_of_archives_and_data_sets(images, tmp_path):
    content = {f"{number:02d}.png": encoded(image) for number, image in enumerate(images)}
    content["07.png"] = content["07.png"][:40]
    archive = write_tar(tmp_path / "x.tar", content)
    model = model_of().fit(archive)
    assert list(model.broken_images_) == [f"{archive}: 07.png"]

    class Patchy(MapStyle):
        def __getitem__(self, place):
            if place == 7:
                raise RuntimeError("lost")
            return self.items[place]

    other = model_of().fit(Patchy(list(images)))
    assert other.broken_images_ == {"image 7 of Patchy": "lost"} and same_state(model.trainer_, other.trainer_)


def test_broken_items_of_streams_are_left_out(images, tmp_path):
    items = [{"__key__": f"k{number}", "png": encoded(image)} for number, image in enumerate(images)]
    items[5] = {"__key__": "bad", "png": b"nothing"}
    model = model_of(epochs=1).fit(iter_again(items))
    assert list(model.broken_images_) == ["bad"] and len(model.history_) == 4
    good = [item for item in items if item["__key__"] != "bad"]
    assert same_state(model.trainer_, model_of(epochs=1, total_steps=5).fit(iter_again(good)).trainer_)
    with pytest.raises(carl.FileError, match="cannot read bad"):
        model_of(on_error="raise").fit(iter_again(items))
    with pytest.raises(carl.BrokenImagesError, match="of the first"):
        model_of(epochs=1).fit(iter_again(items[:16] + [items[5] | {"__key__": f"b{n}"} for n in range(64)]))


def test_embedding_names_a_broken_image_or_leaves_its_row_empty(photos, images):
    model = small_model().fit(images)
    with pytest.raises(carl.FileError, match="03.jpg"):
        model.transform(photos)
    with pytest.raises(carl.FileError, match="03.jpg"):
        model.predict(photos)
    with pytest.warns(UserWarning, match="row of NaN"):
        rows = model.transform(photos, on_error="nan")
    assert list(np.flatnonzero(np.isnan(rows).any(axis=1))) == [3, 17] and np.isnan(rows[3]).all()
    good = [photos / f"{number:02d}.jpg" for number in range(40) if number not in (3, 17)]
    np.testing.assert_allclose(rows[~np.isnan(rows).any(axis=1)], model.transform(good), rtol=1e-5, atol=1e-6)
    with pytest.raises(carl.InvalidArgumentError, match="on_error"):
        model.transform(images, on_error="skip")


def test_a_source_of_ones_own(images):
    class Own(carl.sources.ImageSource):
        def __len__(self):
            return len(images)

        def read(self, indices):
            if 11 in indices:
                raise OSError("the network is away")
            return images[indices]

        def describe(self):
            return "mine"

    model = model_of().fit(Own())
    assert model.broken_images_ == {"image 11": "the network is away"} and len(model.history_) == 10


def test_an_image_with_a_side_that_is_too_long_is_a_broken_one(photos, images):
    wide = np.zeros((2, 70000, 3), np.uint8)
    Image.fromarray(wide).save(photos / "12.png")
    model = model_of(max_broken=0.2, epochs=1).fit(photos)
    assert model.broken_images_[str(photos / "12.png")] == "has 70000 x 2 pixels, want sides of at most 65535"
    with pytest.raises(carl.FileError, match=r"12\.png: has 70000 x 2 pixels"):
        as_source([photos / "12.png"]).read(np.arange(1))
    items = [{"image": image, "__key__": f"k{number}"} for number, image in enumerate([*images, wide])]
    fitted = model_of(epochs=1).fit(iter_again(items))
    assert fitted.broken_images_ == {"k40": "has 70000 x 2 pixels, want sides of at most 65535"}
    for given in (wide, Image.fromarray(wide)):
        with pytest.raises(carl.InvalidArgumentError, match=r"2 x 70000 pixels"):
            model.trainer_.step([images[0], given])


def test_broken_items_of_streams_leave_their_rows_empty(images):
    model = small_model(epochs=1).fit(images)
    items = [encoded(image) for image in images[:6]]
    items[3:3] = [b"junk"]
    items += [b"more junk"]
    with pytest.warns(UserWarning, match="row of NaN.*image [37] of the stream") as told:
        rows = model.transform(iter(items), on_error="nan")
    assert len(told) == 2 and list(np.flatnonzero(np.isnan(rows).all(axis=1))) == [3, 7]
    np.testing.assert_allclose(rows[~np.isnan(rows).any(axis=1)], model.transform(images[:6]), rtol=1e-5, atol=1e-6)
    batches = [images[:3], b"junk", list(images[3:5]), images[5]]
    with pytest.warns(UserWarning, match="row of NaN"):
        rows = model.transform(iter(batches), on_error="nan")
    assert list(np.flatnonzero(np.isnan(rows).any(axis=1))) == [3]
    np.testing.assert_allclose(rows[~np.isnan(rows).any(axis=1)], model.transform(images[:6]), rtol=1e-5, atol=1e-6)
    with pytest.raises(carl.FileError, match="image 3 of the stream"):
        model.transform(iter(items))


def test_an_empty_source_of_ones_own():
    class Empty(carl.sources.ImageSource):
        def __len__(self):
            return 0

        def read(self, indices):
            return []

        def describe(self):
            return "nothing"

    with pytest.raises(carl.InvalidArgumentError, match="images: got none from nothing, want images"):
        carl.CARL(progress=False).fit(Empty())
