"""Folders as they are found on disks, and how their files are decoded."""

from __future__ import annotations

import json
import os
import tarfile

import numpy as np
import pytest

import carl
from carl.sources import as_source
from carl.sources.loader import WaitClock
from carl.view_specs import expand_views, least_side
from conftest import same_state, small_model

Image = pytest.importorskip("PIL.Image")


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def photos(images, tmp_path):
    for number in range(16):
        save(tmp_path / "photos" / f"{number:02d}.png", images[number])
    return tmp_path / "photos"


def test_a_folder_among_other_things(photos, images):
    (photos / "readme.md").write_text("x")
    (photos / "movie.mp4").write_bytes(b"x" * 100)
    (photos / ".thumbnails").mkdir()
    save(photos / ".thumbnails" / "a.png", images[20])
    save(photos / "SHOUTED.PNG", images[16])
    os.mkfifo(photos / "pipe.png")  # opened, it would wait for ever
    (photos / "a folder.png").mkdir()
    save(photos / "a folder.png" / "inside.png", images[17])
    source = as_source(photos)
    assert len(source) == 18 and source.labels is None
    assert np.array_equal(np.stack(source.read(np.arange(16))), images[:16])
    assert [os.path.basename(path) for path in source.paths[16:]] == ["SHOUTED.PNG", "inside.png"]


def test_several_folders_and_files(photos, images, tmp_path):
    np.save(tmp_path / "x.npy", images[20:23])
    for number in range(3):
        save(tmp_path / "gray" / f"{number}.png", images[number, ..., 0])
    joined = as_source([photos, tmp_path / "x.npy"])
    assert len(joined) == 19 and "19 images" in joined.describe() and joined.labels is None
    found = joined.read(np.array([18, 2, 16]))
    assert all(np.array_equal(a, b) for a, b in zip(found, images[[22, 2, 20]]))
    assert joined.identity(1).endswith("01.png") and joined.identity(17) == "image 1"
    assert as_source([photos, tmp_path / "gray"]).read(np.array([16]))[0].shape == (12, 12, 3)
    np.save(tmp_path / "y.npy", images[..., 0])
    gray = as_source([photos, tmp_path / "y.npy"])
    assert gray.channels == 3 and np.array_equal(gray.read(np.array([16]))[0], np.repeat(images[0, ..., :1], 3, 2))
    np.save(tmp_path / "y.npy", images[..., :2])
    with pytest.raises(carl.InvalidArgumentError, match="40 images of 12 x 12 x 2 have 2 channel"):
        as_source([photos, tmp_path / "y.npy"])
    assert len(small_model(batch_size=8).fit([photos, tmp_path / "x.npy"]).history_) == 4


def test_names_that_are_not_utf8(images, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr")
    os.mkdir(folder)
    for number in range(40):
        name = os.fsdecode(b"bild \xe9%02d.png" % number)
        Image.fromarray(images[number]).save(os.path.join(folder, name))
    with open(os.path.join(folder, os.fsdecode(b"bild \xe941.png")), "wb") as file:
        file.write(b"no image")
    assert np.array_equal(
        np.stack(as_source(os.fsencode(folder).decode("utf-8", "surrogateescape")).read(np.arange(40))), images
    )
    run = tmp_path / "run"
    model = small_model(run_dir=run, callbacks=stop_at(3)).fit(folder)
    assert len(model.broken_images_) == 1 and "bild" in (run / "train.log").read_text()
    assert carl.load(run)._given.images == folder
    assert same_state(small_model(run_dir=run).fit(folder, resume=True).trainer_, small_model().fit(folder).trainer_)
    cached = small_model(cache=tmp_path / "cache", cache_size=12).fit(folder)
    assert same_state(cached.trainer_, small_model().fit(folder).trainer_)


def test_links(photos, images, tmp_path):
    (photos / "again").symlink_to(photos)  # a loop
    (photos / "self.png").symlink_to("self.png")
    save(tmp_path / "elsewhere" / "deep" / "x.png", images[30])
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (photos / "more").symlink_to(tmp_path / "elsewhere")
    (photos / "one.png").symlink_to(tmp_path / "elsewhere" / "deep" / "x.png")
    source = as_source(photos)
    names = [os.path.relpath(path, photos) for path in source.paths]
    assert names == [*(f"{number:02d}.png" for number in range(16)), "more/deep/x.png", "one.png", "self.png"]
    images_and_errors = source.read_each(np.arange(len(source)))
    assert [isinstance(image, carl.FileError) for image in images_and_errors] == [False] * 18 + [True]
    assert np.array_equal(images_and_errors[17], images[30])


def test_a_folder_that_cannot_be_read(photos):
    if os.geteuid() == 0:
        pytest.skip("everything can be read by root")
    (photos / "locked").mkdir(mode=0)
    with pytest.raises(carl.FileError, match="cannot read the folder .*locked"):
        as_source(photos)


def test_file_channels_are_one_or_three(photos):
    for channels, words in ((2, "image files give 1"), (0, "image files give 1")):
        with pytest.raises(carl.InvalidArgumentError, match=words):
            as_source(photos, channels)


def stop_at(step):
    def stop(model, metrics):
        if metrics.step == step:
            raise carl.StopTraining

    return stop


# ---- Decoding at a smaller size


def smooth(height, width, seed=0):
    random = np.random.default_rng(seed)
    return np.asarray(
        Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    )


@pytest.mark.parametrize(("form", "difference"), [("jpg", 3), ("png", 0)])
def test_large_images_are_halved_while_they_stay_large_enough(tmp_path, form, difference):
    image = smooth(480, 640)
    Image.fromarray(image).save(tmp_path / f"x.{form}", quality=95)
    source = as_source([tmp_path / f"x.{form}"])
    for least, shape in (
        (481, (480, 640)),
        (241, (480, 640)),
        (240, (240, 320)),
        (100, (120, 160)),
        (60, (60, 80)),
        (1, (1, 1)),
    ):
        found = source.read_each(np.array([0]), least)[0]
        assert found.shape[:2] == shape or least == 1, least
        assert min(found.shape[:2]) >= least or least > 480
        assert np.array_equal(found, source.read_each(np.array([0]), least)[0])
        if found.shape[0] in (240, 120, 60):
            factor = 480 // found.shape[0]
            mean = image.reshape(480 // factor, factor, 640 // factor, factor, 3).mean(axis=(1, 3))
            assert np.abs(found - mean).mean() <= difference + 0.5  # the mean of the pixels, but for JPEG's own error
    assert carl.sources.FileSource([tmp_path / f"x.{form}"], halve=False).read_each(np.array([0]), 60)[0].shape == (
        480,
        640,
        3,
    )


def test_a_turned_photo_is_halved_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(480, 640)).save(tmp_path / "x.jpg", exif=exif)
    source = as_source([tmp_path / "x.jpg"])
    assert source.read(np.array([0]))[0].shape == (640, 480, 3)
    assert source.read_each(np.array([0]), 240)[0].shape == (320, 240, 3)


def test_the_least_side_keeps_the_pixels_of_the_smallest_crop():
    one = expand_views({"size": 60, "scale": [0.25, 1], "ratio": [1, 1]})
    assert least_side(one) == 120
    assert least_side(expand_views({"size": 60, "scale": [0.25, 1], "ratio": [0.25, 1]})) == 240
    assert least_side(expand_views([{"size": 10}, *one])) == 120
    image = smooth(40, 40)[None]
    for name in ("simclr", "byol", "weak", "multicrop"):  # a preset is what it comes to
        pairs = zip(carl.make_views(image, name, 3), carl.make_views(image, expand_views(name, 3, 32), 3))
        assert all(np.array_equal(a, b) for a, b in pairs), name
    named = expand_views("simclr", 3, 96)
    assert [spec["size"] for spec in named] == [96] and named[0]["count"] == 2 and len(named[0]["mean"]) == 3
    assert len(expand_views("gray", 1)[0]["mean"]) == 1
    for arguments, words in (
        (("simclr", 0), "channels"),
        (("simclr", 3, 0), "view_size"),
        (("none",), "simclr"),
        ((5,), "spec"),
        (({"sise": 3},), "size"),
        (([],), "list of 1"),
        (({"size": float("nan")},), "spec.size: got nan"),
    ):
        with pytest.raises((carl.ConfigurationError, carl.InvalidArgumentError), match=words):
            expand_views(*arguments)


@pytest.mark.parametrize("form", ["webp", "bmp", "gif", "tif", "ppm", "jpg"])
def test_forms_of_files(tmp_path, form):
    image = smooth(20, 30)
    Image.fromarray(image).save(tmp_path / f"x.{form}", **({"lossless": True} if form == "webp" else {}))
    found = as_source(tmp_path).read(np.array([0]))[0]
    assert found.shape == (20, 30, 3) and np.abs(found.astype(int) - image).mean() < {"gif": 40, "jpg": 20}.get(
        form, 0.01
    )


def test_modes_of_files(tmp_path):
    image = smooth(20, 30)
    Image.fromarray(image).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(image).convert("L").save(tmp_path / "gray.webp", lossless=True)
    Image.fromarray(np.where(image[..., 0] > 9, np.nan, 300).astype(np.float32)).save(tmp_path / "nan.tif")
    see_through = np.dstack([image[..., 0], np.zeros((20, 30), np.uint8)])
    Image.fromarray(see_through, "LA").save(tmp_path / "la.png")
    Image.fromarray(image).convert("P").save(tmp_path / "p.gif", transparency=3)
    read = {
        name: as_source([tmp_path / name], value_range=(0, 255)).read(np.array([0]))[0] for name in os.listdir(tmp_path)
    }
    assert np.abs(read["cmyk.jpg"].astype(int) - image).mean() < 6
    assert set(np.unique(read["nan.tif"])) <= {0, 255}  # NaN is black, what is too bright is white
    assert (read["la.png"] == 255).all() and read["p.gif"].shape == (20, 30, 3)


def test_training_waits_are_in_the_metrics_and_the_log(photos, tmp_path):
    model = small_model(run_dir=tmp_path / "run", batch_size=4).fit(photos)
    shares = [json.loads(line)["data_wait"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(shares) == 8 and all(0 <= share < 1 for share in shares)
    assert min(shares) <= model.data_wait_ <= max(shares)
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("waiting for images") == 3 and f"{model.data_wait_:.1%} of the time spent waiting" in log


def test_the_share_of_several_steps_is_that_of_their_time():
    clock = WaitClock()
    assert clock.share == 0
    clock.add(waited=1, seconds=1)
    clock.add(waited=0, seconds=6)
    assert clock.share == 1 / 8


def test_the_callers_pillow_images_stay_as_they_are(images, tmp_path):
    for number in range(32):  # more than are looked at to learn their size
        save(tmp_path / f"{number}.jpg", np.kron(images[number], np.ones((8, 8, 1), np.uint8)))
    pairs = [(Image.open(tmp_path / f"{number}.jpg"), number % 2) for number in range(32)]
    model = small_model(view_size=12, epochs=1).fit(pairs)
    assert {image.size for image, _ in pairs} == {(96, 96)}
    fresh = [(Image.open(tmp_path / f"{number}.jpg"), number % 2) for number in range(32)]
    assert np.array_equal(model.transform(pairs), model.transform(fresh))


def test_patterns_of_any_depth_and_in_lists(images, tmp_path):
    for number, place in enumerate(["a.png", "x/b.png", "x/y/c.png"]):
        save(tmp_path / "deep" / place, images[number])
    np.save(tmp_path / "u.npy", images[:4])
    with tarfile.open(tmp_path / "u.tar", "w") as archive:
        archive.add(tmp_path / "deep" / "a.png", "a.png")
    deep = str(tmp_path / "deep" / "**" / "*.png")
    for given in (deep, [deep], tmp_path / "deep" / "**"):
        source = as_source(given)
        assert np.array_equal(np.stack(source.read(np.arange(len(source)))), images[:3])
    assert len(as_source([str(tmp_path / "u*.tar")])) == 1
    assert len(as_source([str(tmp_path / "u*.npy"), str(tmp_path / "deep" / "*.png")])) == 5
    save(tmp_path / "deep" / "[1].png", images[5])  # a file is no pattern
    assert as_source([tmp_path / "deep" / "[1].png"]).paths == [str(tmp_path / "deep" / "[1].png")]
    with pytest.raises(carl.FileError, match=r"none\*\.png"):
        as_source([str(tmp_path / "none*.png")])


def test_folders_of_different_classes_are_joined_by_their_names(images, tmp_path):
    for number, place in enumerate(["x/b", "x/c", "y/a", "y/c", "z/d", "z/e"]):
        save(tmp_path / place / "0.png", images[number])
    joined = as_source([tmp_path / "x", tmp_path / "y"])
    assert joined.class_names == ["a", "b", "c"] and joined.labels.tolist() == [1, 2, 0, 2]
    again = as_source([tmp_path / "x", tmp_path / "x"])
    assert again.class_names == ["b", "c"] and again.labels.tolist() == [0, 1, 0, 1]
    np.savez(tmp_path / "n.npz", images=images[:2], labels=[3, 1])  # numbers, which are no names
    assert as_source([tmp_path / "x", tmp_path / "n.npz"]).labels is None
