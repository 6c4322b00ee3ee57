"""Which row is which image: names that travel with features, and sources that say what they are."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

import carl
from carl import _features
from carl.cli import main
from carl.cli._outputs import write_csv
from conftest import small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """model.carl, and photos/ of 6 images."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("names")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 12, 3)).astype(np.uint8)
    (folder / "photos").mkdir()
    for number, values in enumerate(pixels[:6]):
        image.fromarray(values).save(folder / "photos" / f"{number}.png")
    small_model(epochs=1).fit(pixels).save(folder / "model.carl")
    return folder


def test_npy_has_the_names_beside_it(place, tmp_path, capsys):
    out = tmp_path / "f.npy"
    assert main(["embed", str(place / "model.carl"), str(place / "photos"), "--out", str(out), "--json"]) == 0
    names = (tmp_path / "f.paths.txt").read_text(encoding="utf-8").splitlines()
    assert names == [str(place / "photos" / f"{number}.png") for number in range(6)]
    assert json.loads(capsys.readouterr().out)["names"] == str(tmp_path / "f.paths.txt")
    model = carl.load(place / "model.carl")
    for row, name in zip(np.load(out), names):
        np.testing.assert_allclose(row, model.transform(name)[0], rtol=1e-3, atol=1e-6)


def test_a_name_stays_on_its_line(tmp_path):
    names = ["a\nb.png", "c\u2028d.png", os.fsdecode(b"cl\xe9.png"), "é\\.png"]
    _features.write_features(tmp_path / "f.npy", np.zeros((4, 2), np.float32), names)
    lines = (tmp_path / "f.paths.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["a\\nb.png", "c\\u2028d.png", "cl\\udce9.png", "é\\.png"]


def test_the_names_are_never_written_onto_an_input(place, tmp_path, capsys):
    (tmp_path / "f.paths.txt").symlink_to(place / "model.carl")
    before = (place / "model.carl").read_bytes()
    arguments = ["embed", str(place / "model.carl"), str(place / "photos"), "--out", str(tmp_path / "f.npy")]
    assert main(arguments) == 1 and "choose another name" in capsys.readouterr().err
    assert (place / "model.carl").read_bytes() == before and not (tmp_path / "f.npy").exists()


@pytest.mark.parametrize("kind", ["folder", "list", "array", "stream"])
def test_transform_returns_paths(place, kind):
    model = carl.load(place / "model.carl")
    paths = [str(place / "photos" / f"{number}.png") for number in range(6)]
    pixels = carl.as_source(place / "photos").read(np.arange(6))
    given = {
        "folder": place / "photos",
        "list": paths[::-1],
        "array": np.stack(pixels),
        "stream": iter([np.stack(pixels[:4]), np.stack(pixels[4:])]),
    }[kind]
    values, names = model.transform(given, return_paths=True)
    expected = {"folder": paths, "list": paths[::-1]}.get(kind, [f"image {number}" for number in range(6)])
    assert names == expected
    order = [5, 4, 3, 2, 1, 0] if kind == "list" else list(range(6))
    np.testing.assert_allclose(values, model.transform(np.stack(pixels))[order], rtol=1e-3, atol=1e-6)


def test_one_image(place, tmp_path):
    model, path = carl.load(place / "model.carl"), place / "photos" / "3.png"
    assert model.transform(path).shape == model.transform(str(path)).shape == (1, model.n_features_out_)
    np.testing.assert_array_equal(model.predict(path), model.predict(place / "photos")[3:4])
    assert main(["embed", str(place / "model.carl"), str(path), "--out", str(tmp_path / "one.csv")]) == 0
    assert (tmp_path / "one.csv").read_text().splitlines()[1].startswith(f"{path},")
    with pytest.raises(carl.InvalidArgumentError, match="got 1, want at least 2"):
        small_model().fit(path)


@pytest.mark.parametrize("kind", ["folder", "array", "stream"])
def test_a_source_says_what_it_is(place, kind):
    given = {"folder": place / "photos", "array": np.zeros((4, 8, 8, 3), np.uint8), "stream": iter([])}[kind]
    words = {
        "folder": "FileSource(6 image files below ",
        "array": "ArraySource(4 images of 8 x 8 x 3)",
        "stream": "BatchStream(batches from ",
    }
    assert repr(carl.as_source(given)).startswith(words[kind])


def test_tables_quote_every_end_of_a_line(tmp_path):
    names = ["a\rb.png", "c\nd.png", "e\r\nf.png", "plain.png"]
    _features.write_features(tmp_path / "f.csv", np.zeros((4, 1), np.float32), names)
    write_csv(str(tmp_path / "g.csv"), ["name", "carl0"], ([name, "0.0"] for name in names))
    assert (tmp_path / "f.csv").read_bytes() == (tmp_path / "g.csv").read_bytes()
    assert (tmp_path / "f.csv").read_bytes().endswith(b"\nplain.png,0.0\n")
    with open(tmp_path / "f.csv", encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == names
