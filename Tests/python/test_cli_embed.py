"""``carl embed``: what each ending holds, and what is refused before any work."""

from __future__ import annotations

import csv
import json
import os
import sys

import numpy as np
import pytest

import carl
from carl import _features
from carl.cli import main
from conftest import run_python, small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """model.carl, photos/ of two classes, some names of which need quotes, and x.npy without labels."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("embed")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 12, 3)).astype(np.uint8)
    np.save(folder / "x.npy", pixels)
    for number, values in enumerate(pixels):
        (folder / "photos" / ("cat" if number % 2 else "dog")).mkdir(parents=True, exist_ok=True)
        image.fromarray(values).save(folder / "photos" / ("cat" if number % 2 else "dog") / f'a, "{number:02}".png')
    small_model(epochs=1).fit(pixels).save(folder / "model.carl")
    return folder


def embed(place, out, *more, data="photos"):
    return main(["embed", str(place / "model.carl"), str(place / data), "--out", str(out), *more])


def expected(place, output="features"):
    source = carl.as_source(place / "photos")
    values = carl.load(place / "model.carl").transform(source, output)
    return values, [source.identity(number) for number in range(len(source))], source.labels


def test_csv(place, tmp_path):
    assert embed(place, tmp_path / "f.CSV") == 0
    with open(tmp_path / "f.CSV", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    values, names, labels = expected(place)
    assert head == ["name", "label", *(f"carl{number}" for number in range(values.shape[1]))]
    assert [row[0] for row in rows] == names and [row[1] for row in rows] == ["cat"] * 6 + ["dog"] * 6
    assert np.array_equal(np.array([row[2:] for row in rows]).astype(np.float32), values)


@pytest.mark.parametrize("output", ["features", "probabilities"])
def test_npz(place, tmp_path, output):
    assert embed(place, tmp_path / "f.npz", "--output", output) == 0
    values, names, labels = expected(place, output)
    with np.load(tmp_path / "f.npz") as file:
        assert set(file) == {output, "names", "labels", "class_names"}
        assert np.array_equal(file[output], values) and file[output].dtype == np.float32
        assert (
            file["names"].tolist() == names
            and np.array_equal(file["labels"], labels)
            and file["class_names"].tolist() == ["cat", "dog"]
        )


def test_without_labels(place, tmp_path):
    assert embed(place, tmp_path / "f.npz", data="x.npy") == 0 and embed(place, tmp_path / "f.csv", data="x.npy") == 0
    with np.load(tmp_path / "f.npz") as file:
        assert set(file) == {"features", "names"} and file["names"][3] == "image 3"
    assert (tmp_path / "f.csv").read_text().startswith("name,carl0,")


def test_npy_has_the_values_alone(place, tmp_path):
    assert embed(place, tmp_path / "f.npy") == 0
    assert np.array_equal(np.load(tmp_path / "f.npy"), expected(place)[0])


def test_parquet(place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert embed(place, tmp_path / "f.parquet") == 0
    table = parquet.read_table(tmp_path / "f.parquet")
    values, names, _ = expected(place)
    assert table["name"].to_pylist() == names and table["label"].to_pylist() == ["cat"] * 6 + ["dog"] * 6
    assert np.array_equal(np.stack([table[f"carl{number}"].to_numpy() for number in range(values.shape[1])], 1), values)


def test_names_that_are_not_utf8_and_rows_of_nan(tmp_path):
    names = [os.fsdecode(b"cl\xe9.png"), "é.png"]
    values = np.array([[0.1, np.nan], [1e-30, -3]], np.float32)
    _features.write_features(tmp_path / "f.csv", values, names)
    assert (tmp_path / "f.csv").read_text(
        encoding="utf-8"
    ) == "name,carl0,carl1\ncl\\udce9.png,0.1,nan\né.png,1e-30,-3.0\n"
    _features.write_features(tmp_path / "f.npz", values, names)
    assert np.load(tmp_path / "f.npz")["names"].tolist() == names


@pytest.fixture
def no_work(monkeypatch):
    """Fails if a model is loaded or an image read."""

    def refuse(*arguments, **options):
        raise AssertionError("the work began")

    for name in (
        "estimator.load",
        "sources.labelled.open_source",
        "trainer.Trainer.resume",
        "encoder.Encoder.__init__",
    ):
        monkeypatch.setattr(f"carl.{name}", refuse)


def refused(arguments, capsys, *words):
    assert main([str(item) for item in arguments]) == 1
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f.xlsx", [".xlsx", ".csv, .npz, .npy, .parquet"]),
        ("f", ["no ending", ".csv"]),
        ("f.csv.gz", [".gz"]),
        ("x.npy/f.npy", ["x.npy is a file, want a folder"]),
        ("x.npy/such/f.npy", ["x.npy is a file, want a folder"]),
        ("folder.npy", ["it is a folder"]),
    ],
)
def test_refused_before_any_work(place, tmp_path, no_work, capsys, name, words):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "x.npy").touch()
    refused(["embed", place / "model.carl", place / "x.npy", "--out", tmp_path / name], capsys, *words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(place, tmp_path, no_work, capsys):
    (tmp_path / "sealed").mkdir(mode=0o500)
    refused(
        ["embed", place / "model.carl", place / "x.npy", "--out", tmp_path / "sealed" / "f.npy"],
        capsys,
        "cannot be written to",
    )


def test_the_folder_is_asked_whether_it_can_be_written_to(place, tmp_path, no_work, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(tmp_path))  # root may write anywhere
    refused(
        ["embed", place / "model.carl", place / "x.npy", "--out", tmp_path / "f.npy"], capsys, "cannot be written to"
    )


def test_parquet_without_pyarrow(place, tmp_path, no_work, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(
        ["embed", place / "model.carl", place / "x.npy", "--out", tmp_path / "f.parquet"], capsys, "pip install pyarrow"
    )


@pytest.mark.parametrize(
    "link",
    [
        "itself",
        "symbolic",
        "hard",
        "of the checkpoint",
        "of an image in the folder",
        "of a pattern",
        "of a pattern of any depth",
    ],
)
def test_what_is_read_is_never_written(place, tmp_path, no_work, capsys, link):
    images, out, data = place / "x.npy", tmp_path / "f.npy", place / "x.npy"
    if link == "itself":
        out = images
    elif link == "symbolic":
        out.symlink_to(images)
    elif link == "hard":
        out.hardlink_to(images)
    elif link == "of the checkpoint":
        images = place / "model.carl"
        out.symlink_to(images)
    elif link == "of an image in the folder":
        data, images = place / "photos", next((place / "photos" / "cat").iterdir())
        out.symlink_to(images)
    elif link == "of a pattern of any depth":
        data, images = place / "**" / "*.png", next((place / "photos" / "cat").iterdir())
        out.symlink_to(images)
    else:
        data = place / "x*.npy"
        out.symlink_to(images)
    before = images.read_bytes()
    refused(["embed", place / "model.carl", data, "--out", out], capsys, "choose another name", str(images))
    assert images.read_bytes() == before


def test_no_command_overwrites_what_it_reads(place, tmp_path, capsys, no_work):
    pytest.importorskip("matplotlib")
    model, photos, image = place / "model.carl", place / "photos", next((place / "photos" / "dog").iterdir())
    before = model.read_bytes(), image.read_bytes()
    labels = tmp_path / "y.npy"
    np.save(labels, np.zeros(12, np.int64))
    refused(["export", model, "--out", model], capsys, "choose another name")
    refused(["finetune", model, photos, photos, "--save", model, "--quiet"], capsys, "--save", "choose another name")
    refused(["plot", "counts", model, "--data", photos, "--out", image], capsys, "choose another name")
    refused(
        ["plot", "counts", model, "--data", place / "x.npy", "--labels", labels, "--out", labels],
        capsys,
        "choose another name",
    )
    refused(["plot", "views", photos, "--out", image], capsys, "choose another name")
    refused(["report", place, "--data", photos, "--out", image], capsys, "choose another name")
    assert (model.read_bytes(), image.read_bytes()) == before


def test_results_of_an_earlier_call_are_replaced(place, tmp_path, monkeypatch):
    """Also where they lie in the folder of the images, which are told by their endings."""
    for name in ("cat", "dog"):
        (tmp_path / name).symlink_to(place / "photos" / name)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["embed", str(place / "model.carl"), ".", "--out", "f.csv"]) == 0
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 13


def test_an_old_result_stays_when_the_new_one_fails(place, tmp_path, monkeypatch):
    (tmp_path / "f.npz").write_bytes(b"old")

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert embed(place, tmp_path / "f.npz") == 1
    assert (tmp_path / "f.npz").read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_a_warning_is_one_line_without_code(place, tmp_path):
    (tmp_path / "photos").mkdir()
    for image in (place / "photos" / "cat").iterdir():
        (tmp_path / "photos" / image.name).write_bytes(image.read_bytes())
    (tmp_path / "photos" / "z.png").write_bytes(b"broken")
    arguments = ["embed", str(place / "model.carl"), str(tmp_path / "photos")]
    arguments += ["--out", str(tmp_path / "f.npy"), "--on-error", "nan"]
    done = run_python(f"import sys; from carl.cli import main; sys.exit(main({arguments!r}))")
    assert done.returncode == 0 and np.isnan(np.load(tmp_path / "f.npy")[-1]).all()
    (line,) = done.stderr.splitlines()
    assert line.startswith("carl: warning: a row of NaN") and "z.png" in line


def test_json(place, tmp_path, capsys):
    assert embed(place, tmp_path / "f.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["labels"] is True
