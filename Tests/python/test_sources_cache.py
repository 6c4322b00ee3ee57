"""The cache: what it holds, how it is made, completed and made anew, and what it says when it cannot be."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import carl
from carl.sources import as_source
from carl.sources import cache as module
from carl.sources.cache import CachedSource
from conftest import run_python, same_state, small_model
from test_sources_kinds import MapStyle, encoded, write_tar

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(tmp_path):
    """12 photos of differing sizes in two classes, the last one of them broken."""
    random = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "photos" / ("cats" if number < 5 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(small).resize((70 + number, 50), Image.BICUBIC).save(folder / f"{number:02d}.png")
    (tmp_path / "photos" / "dogs" / "11.png").write_bytes(b"broken")
    return tmp_path / "photos"


def opened(photos, folder, size=20, **arguments):
    said = []
    source = CachedSource(as_source(photos), folder, size, say=said.append, **arguments)
    return source, said


def test_images_are_those_of_pillow_at_the_smaller_size(photos, tmp_path):
    source, said = opened(photos, tmp_path / "cache")
    plain = as_source(photos)
    assert len(source) == 12 and source.class_names == ["cats", "dogs"] and np.array_equal(source.labels, plain.labels)
    for place in (3, 0, 10):
        picture = Image.fromarray(plain.read(np.array([place]))[0])
        wanted = np.asarray(picture.reduce(1).resize((round(picture.width * 20 / 50), 20), Image.Resampling.BICUBIC))
        found = source.read(np.array([place]))[0]
        assert found.shape == wanted.shape and np.array_equal(found, wanted)
    assert (source.channels, source.side) == (3, 20) and "12 images" in said[-1]
    with pytest.raises(carl.FileError, match="cannot read .*11.png: cannot identify"):
        source.read(np.arange(12))
    # Smaller images than the cache's stay as they are.
    large, _ = opened(photos, tmp_path / "large", 64)
    assert np.array_equal(large.read(np.array([2]))[0], plain.read(np.array([2]))[0])


def test_it_is_made_once(photos, tmp_path):
    opened(photos, tmp_path / "cache")
    before = {name: (tmp_path / "cache" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "cache")}
    assert set(before) == {"cache.json", "pixels.bin", "images.bin", "broken.jsonl", "lock"}
    source, said = opened(photos, tmp_path / "cache", progress=lambda done, count: pytest.fail("made again"))
    assert said == [] and {name: (tmp_path / "cache" / name).stat().st_mtime_ns for name in before} == before


def test_training_from_a_cache(photos, tmp_path):
    arguments = {"batch_size": 4, "max_broken": 0.1, "cache": tmp_path / "cache"}
    first = small_model(**arguments, cache_size=12, run_dir=tmp_path / "run").fit(photos)
    assert list(first.broken_images_) == [str(photos / "dogs" / "11.png")]
    assert "cannot identify" in first.broken_images_[str(photos / "dogs" / "11.png")]
    again = small_model(**arguments, cache_size=12).fit(photos)
    assert same_state(first.trainer_, again.trainer_)
    # It is as if the reduced images had been given.
    source, _ = opened(photos, tmp_path / "cache", 12)
    reduced = source.read_each(np.arange(12))
    reduced[11] = reduced[0]  # what stands in for the broken one
    assert same_state(
        small_model(batch_size=4, view_size=50).fit(reduced).trainer_,
        small_model(**arguments, cache_size=12, view_size=50).fit(photos).trainer_,
    )
    assert carl.load(tmp_path / "run").cache == str(tmp_path / "cache")
    resumed = small_model(**arguments, cache_size=12, run_dir=tmp_path / "run", epochs=3).fit(photos, resume=True)
    assert resumed.trainer_.step_count == 9


def test_the_standard_size_is_a_little_above_the_largest_view(photos, tmp_path):
    small_model(batch_size=4, max_broken=0.1, view_size=14, cache=tmp_path / "cache").fit(photos)
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["size"] == 16


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("damage", ["none", "pixels", "records", "reasons"])
def test_an_unfinished_cache_is_completed(photos, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(module, "_CHUNK", 3)
    whole, _ = opened(photos, tmp_path / "whole")
    loads = []
    for after in (3, 9, 12):

        def interrupt(done, count, after=after):
            if done >= after:
                raise Interrupted

        folder = tmp_path / f"cut{after}"
        with pytest.raises(Interrupted):
            opened(photos, folder, progress=interrupt)
        assert not (folder / "cache.json").exists()
        partial = {
            "pixels": "pixels.bin.partial",
            "records": "images.bin.partial",
            "reasons": "broken.jsonl.partial",
        }.get(damage)
        if partial:
            size = (folder / partial).stat().st_size
            os.truncate(folder / partial, max(0, size - 5))
        begun = []
        source, said = opened(photos, folder, progress=lambda done, count: begun.append(done))
        loads.append(begun)
        for name in ("pixels.bin", "images.bin", "broken.jsonl"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (name, after)
        assert set(os.listdir(folder)) == set(os.listdir(tmp_path / "whole"))
        assert any("are there already" in line for line in said)
    if damage == "none":
        assert loads == [[6, 9, 12], [12], []]


def test_a_cache_of_other_images_or_another_size_is_made_anew(photos, tmp_path):
    opened(photos, tmp_path / "cache")
    source, said = opened(photos, tmp_path / "cache", 24)
    assert source.side == 24 and "made anew" in said[0]
    Image.fromarray(np.full((50, 50, 3), 200, np.uint8)).save(photos / "cats" / "00.png")
    source, said = opened(photos, tmp_path / "cache", 24)
    assert "made anew" in said[0] and (source.read(np.array([0]))[0] == 200).all()
    Image.fromarray(np.full((50, 50, 3), 9, np.uint8)).save(photos / "cats" / "00a.png")
    assert len(opened(photos, tmp_path / "cache", 24)[0]) == 13
    gray = CachedSource(as_source(photos, 1), tmp_path / "cache", 24)
    assert gray.channels == 1 and gray.read(np.array([1]))[0].shape == (24, 24, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pixels.bin", None),
        ("images.bin", b"x" * 7),
        ("images.bin", b""),
        ("cache.json", b"{"),
        ("cache.json", b"[]"),
        ("pixels.bin", b"x"),
    ],
)
def test_a_damaged_cache_is_made_anew(photos, tmp_path, name, content):
    whole = opened(photos, tmp_path / "cache")[0].read(np.arange(11))
    if content is None:
        (tmp_path / "cache" / name).unlink()
    else:
        (tmp_path / "cache" / name).write_bytes(content)
    found = opened(photos, tmp_path / "cache")[0].read(np.arange(11))
    assert all(np.array_equal(a, b) for a, b in zip(whole, found))


def test_what_is_no_cache_is_left_alone(photos, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(carl.FileError, match="cache: .*mine holds letter.txt"):
        opened(photos, tmp_path / "mine")
    with pytest.raises(carl.FileError, match="cache: .*letter.txt is a file, want a folder"):
        opened(photos, tmp_path / "mine" / "letter.txt")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear" and os.listdir(tmp_path / "mine") == ["letter.txt"]


def test_a_disk_that_will_be_full(photos, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module, "_CHUNK", 3)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(10, 9, 1000))
    with pytest.raises(carl.FileError, match="needs about 0.00 GB more, its disk has 0.00 GB left"):
        opened(photos, tmp_path / "cache")
    monkeypatch.undo()
    source, said = opened(photos, tmp_path / "cache")  # what is there is used
    assert "3 of 12 images are there already" in said[0] and len(source.read(np.arange(11))) == 11


def test_a_disk_that_is_full(photos, tmp_path):
    """The size of files is limited in a process of its own: its writes fail in the middle."""
    code = f"""
import resource, sys, carl
from carl.sources import as_source
from carl.sources.cache import CachedSource
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    CachedSource(as_source({str(photos)!r}), {str(tmp_path / "cache")!r}, 20)
except carl.FileError as error:
    print("told:", error)
"""
    done = run_python(code)
    assert "told: cache: the disk of" in done.stdout and "is full" in done.stdout, done.stdout + done.stderr
    source, _ = opened(photos, tmp_path / "cache")
    whole, _ = opened(photos, tmp_path / "whole")
    assert (tmp_path / "cache" / "pixels.bin").read_bytes() == (tmp_path / "whole" / "pixels.bin").read_bytes()


def test_other_write_errors_are_told(photos, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(carl.FileError, match="cache: cannot write .*disk on fire"):
        opened(photos, tmp_path / "cache")


def test_two_processes_do_not_make_it_at_once(photos, tmp_path):
    (tmp_path / "cache").mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache" / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(carl.FileError, match="another process is making"):
            opened(photos, tmp_path / "cache")
        other.stdin.close()
    assert len(opened(photos, tmp_path / "cache")[0]) == 12


def test_what_can_be_cached(images, photos, tmp_path):
    archive = write_tar(tmp_path / "x.tar", {f"{n}.png": encoded(image) for n, image in enumerate(images)})
    assert len(small_model(cache=tmp_path / "a").fit(archive).history_) == 10
    for given, words in (
        (images, "40 images of 12 x 12 x 3 cannot be told from others"),
        (MapStyle(list(images)), "cannot be told from others"),
        ([images[:8], images[8:]], "a stream of batches cannot be cached"),
    ):
        with pytest.raises(carl.InvalidArgumentError, match=words):
            small_model(cache=tmp_path / "b").fit(given)
    for size in (0, -3, 2.5, "large"):
        with pytest.raises(carl.InvalidArgumentError, match="cache_size"):
            small_model(cache=tmp_path / "b", cache_size=size, max_broken=0.1, batch_size=4).fit(photos)
