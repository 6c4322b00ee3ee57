"""A run remembers which images it was given, be they a list of files or an array of an archive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.cli import main
from conftest import small_model

Image = pytest.importorskip("PIL.Image")

SMALL = ["batch_size=8", "view_size=12", "width=0.125", "projector=[16,8]", "prototypes=6", "--quiet"]


@pytest.fixture
def files(tmp_path, images):
    (tmp_path / "photos").mkdir()
    for place, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{place:02d}.png")
    return [str(path) for path in sorted((tmp_path / "photos").iterdir())]


def losses(run):
    return [json.loads(line)["loss"] for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("undrawn")
def test_a_run_on_files_goes_on(files, tmp_path, monkeypatch, capsys):
    whole, run = str(tmp_path / "whole"), str(tmp_path / "run")
    assert main(["train", *files, "--out", whole, "epochs=2", "total_steps=10", *SMALL]) == 0
    monkeypatch.chdir(tmp_path)
    names = [f"photos/{Path(file).name}" for file in files]
    assert main(["train", *names, "--out", run, "epochs=1", "total_steps=10", *SMALL]) == 0
    monkeypatch.chdir("/")  # the paths were relative to where the run began
    assert main(["train", run, "--resume", "epochs=2", "--quiet"]) == 0
    assert losses(run) == losses(whole) and len(losses(run)) == 10
    assert carl.load(run)._given.images == files
    capsys.readouterr()
    assert main(["info", run]) == 0
    assert "40 files" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    assert main(["plot", "counts", run]) == 0 and main(["report", run, "--images", "6"]) == 0


def test_a_run_folder_that_images_lie_in_is_refused(files, tmp_path, capsys):
    photos = tmp_path / "photos"
    (tmp_path / "link").symlink_to(photos)
    (photos / "cats").mkdir()
    Path(files[0]).rename(photos / "cats" / "00.png")
    for data, out in (
        ([photos], photos),
        ([photos], tmp_path / "link"),
        ([photos], photos / "cats"),
        (files[1:], photos),
    ):
        assert main(["train", *map(str, data), "--out", str(out), "epochs=1", *SMALL]) == 1
        error = capsys.readouterr().err
        assert f"--out: {out} is a folder of the images" in error and "such as runs/" in error
    assert sorted(path.name for path in photos.iterdir() if path.suffix != ".png") == ["cats"]
    # A folder of its own below them is none of theirs.
    assert main(["train", str(photos), "--out", str(photos / "runs"), "epochs=1", *SMALL]) == 0
    assert main(["train", str(photos), "--out", str(photos / "runs"), "--resume", "epochs=2", "--quiet"]) == 0


def test_a_run_among_its_images_says_how_they_are_parted(files, tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "config.json").write_text("{}")
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *SMALL]) == 1
    assert "photos is a run folder: it goes on in place" in (error := capsys.readouterr().err)
    assert "If it holds images too, to train on: move what the run has written" in error


def test_files_that_are_gone(files, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", *files, "--out", run, "epochs=1", *SMALL]) == 0
    for file in files[3:8]:
        Path(file).unlink()
    before = losses(run)
    capsys.readouterr()
    for command in (["train", run, "--resume", "epochs=2", "--quiet"], ["plot", "counts", run]):
        assert main(command) == 1
        error = capsys.readouterr().err
        assert f"of the 40 files it was trained on, 5 are gone: {', '.join(files[3:6])} and 2 more" in error
    assert losses(run) == before


@pytest.mark.parametrize("form", ["list", "array", "iterator", "source", "patterns"])
def test_in_python(form, files, tmp_path):
    given = {
        "list": files,
        "array": np.array(files),
        "iterator": (Path(file) for file in files),
        "source": carl.as_source(files),
        "patterns": [str(tmp_path / "photos" / f"{ten}*.png") for ten in range(4)],
    }[form]
    small_model(epochs=1, run_dir=tmp_path / "run").fit(given)
    assert carl.load(tmp_path / "run")._given.images == files
    # Other images in the same folder of a run are not taken for those of before.
    small_model(epochs=2, run_dir=tmp_path / "run").fit(
        np.stack([np.asarray(Image.open(f)) for f in files]), resume=True
    )
    assert carl.load(tmp_path / "run")._given.images is None and not (tmp_path / "run" / "images.json").exists()


@pytest.mark.usefixtures("undrawn")
def test_an_array_of_an_archive(images, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", pictures=images, others=images[:, :4])
    data, run = str(tmp_path / "x.npz"), str(tmp_path / "run")
    assert main(["train", data, "--out", run, "epochs=1", *SMALL]) == 1
    assert main(["train", data, "--image-key", "pictures", "--out", run, "epochs=1", *SMALL]) == 0
    assert main(["train", run, "--resume", "epochs=2", "--quiet"]) == 0
    assert len(losses(run)) == 10
    pytest.importorskip("matplotlib")
    assert main(["plot", "counts", run]) == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3, "image_key": null}', '{"images": ["a"], "image_key": 3}'])
def test_a_list_that_is_damaged(text, files, tmp_path):
    small_model(epochs=1, run_dir=tmp_path / "run").fit(files)
    (tmp_path / "run" / "images.json").write_text(text)
    with pytest.raises(carl.FileError, match=r"images\.json is damaged"):
        carl.load(tmp_path / "run")


def test_names_that_are_not_utf8(images, tmp_path):
    import os

    (tmp_path / "photos").mkdir()
    files = [os.fsencode(tmp_path / "photos") + b"/r\xe9n%02d.png" % place for place in range(8)]
    for file, image in zip(files, images):
        with open(file, "wb") as stream:
            Image.fromarray(image).save(stream, "PNG")
    small_model(epochs=1, run_dir=tmp_path / "run").fit([os.fsdecode(file) for file in files])
    assert [os.fsencode(path) for path in carl.load(tmp_path / "run")._given.images] == files
