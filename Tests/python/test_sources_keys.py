"""Names within archives, and paths in whatever holds them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.sources import BatchStream, FileSource, TarSource, as_source
from test_sources_kinds import Table, all_of, encoded, write_tar

Image = pytest.importorskip("PIL.Image")

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3)).astype(np.uint8)
PNG = [encoded(image) for image in PIXELS]


def told(caplog) -> list[str]:
    return [record.message for record in caplog.records]


# ---- .npz


@pytest.mark.parametrize(
    "labels, wanted, names",
    [
        (np.array([[3], [1], [3], [0]]), [3, 1, 3, 0], None),
        (np.array(["b", "a", "b", "é"]), [1, 0, 1, 2], ["a", "b", "é"]),
        (np.array([["b"], ["a"], ["b"], ["c"]]), [1, 0, 1, 2], ["a", "b", "c"]),
        (np.array([b"b", b"a", b"b", b"a"]), [1, 0, 1, 0], ["a", "b"]),
        (np.array([True, False, False, True]), [1, 0, 0, 1], ["False", "True"]),
        (np.arange(4, dtype=np.uint8), [0, 1, 2, 3], None),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_labels_of_npz_archives(tmp_path, labels, wanted, names, save):
    save(tmp_path / "x.npz", images=PIXELS, labels=labels)
    source = as_source(tmp_path / "x.npz")
    assert source.labels.tolist() == wanted and source.class_names == names


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.arange(3), "got 3 labels, want 4"),
        (np.zeros((4, 2), int), r"shape \(4, 2\).*argmax"),
        (np.arange(4) / 2, "got 0.5: the labels are continuous"),
        ([float("nan"), 1.0, 0.0, 1.0], r"\[0\]: got nan, a missing label"),
    ],
)
def test_labels_that_cannot_be_used_are_told(tmp_path, caplog, labels, words):
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=labels)
    with caplog.at_level(logging.WARNING, "carl"):
        assert as_source(tmp_path / "x.npz").labels is None
    assert len(told(caplog)) == 1 and told(caplog)[0].startswith("labels are left out: ")
    with pytest.raises(carl.InvalidArgumentError, match=words):
        as_source(tmp_path / "x.npz", label_key="labels")


def test_arrays_of_npz_archives_can_be_named(tmp_path):
    np.savez(tmp_path / "x.npz", scans=PIXELS, images=PIXELS[:, ::2], kind=np.arange(4), labels=np.arange(4)[::-1])
    source = as_source(tmp_path / "x.npz", image_key="scans", label_key="kind")
    assert np.array_equal(all_of(source), PIXELS) and source.labels.tolist() == [0, 1, 2, 3]
    assert as_source(tmp_path / "x.npz").labels.tolist() == [3, 2, 1, 0]
    joined = as_source([tmp_path / "x.npz"] * 2, image_key="scans", label_key="kind")
    assert len(joined) == 8 and joined.labels.tolist() == [0, 1, 2, 3] * 2
    for key in ("image_key", "label_key"):
        with pytest.raises(
            carl.InvalidArgumentError, match=f"{key}: got 'x', but .* holds scans, images, kind, labels"
        ):
            as_source(tmp_path / "x.npz", **{key: "x"})


def test_columns_can_be_named():
    table = Table({"image": list(PIXELS), "b": list(PIXELS[::-1]), "label": [0] * 4, "kind": ["u", "v", "v", "u"]})
    source = as_source(table, image_key="b", label_key="kind")
    assert np.array_equal(all_of(source), PIXELS[::-1])
    assert source.labels.tolist() == [0, 1, 1, 0] and source.class_names == ["u", "v"]
    with pytest.raises(carl.InvalidArgumentError, match="label_key: got 'x'"):
        as_source(table, label_key="x")


def test_what_has_no_names_refuses_them(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    (tmp_path / "a.png").write_bytes(PNG[0])
    for given in (PIXELS, list(PIXELS), tmp_path / "x.npy", tmp_path, [tmp_path / "a.png"], iter([PIXELS])):
        with pytest.raises(carl.InvalidArgumentError, match="label_key: got 'y', but .* no names to choose by"):
            as_source(given, label_key="y")


# ---- .tar


def test_further_images_of_a_sample_are_no_images(tmp_path, caplog):
    members = {}
    for number in range(2):
        members |= {
            f"d/{number}.png": PNG[number],
            f"d/{number}.seg.png": PNG[number + 2],
            f"d/{number}.cls": b"%d" % number,
        }
    path = write_tar(tmp_path / "x.tar", members)
    with caplog.at_level(logging.WARNING, "carl"):
        source = as_source(path)
    assert np.array_equal(all_of(source), PIXELS[:2]) and source.labels.tolist() == [0, 1]
    assert "left out 2 image(s)" in told(caplog)[0] and "image_key='seg.png'" in told(caplog)[0]
    for key in ("seg.png", ".seg.png"):
        source = as_source(path, image_key=key)
        assert np.array_equal(all_of(source), PIXELS[2:]) and source.labels.tolist() == [0, 1]
    with pytest.raises(carl.FileError, match=r"no image files named \*.jpg in"):
        as_source(path, image_key="jpg")


def test_keys_with_dots(tmp_path, caplog):
    members = {}
    for number in range(4):
        members |= {f"scan.2024.{number}.png": PNG[number], f"scan.2024.{number}.cls": b"%d\n" % (number % 2)}
    with caplog.at_level(logging.WARNING, "carl"):
        source = as_source(write_tar(tmp_path / "x.tar", members))
    assert np.array_equal(all_of(source), PIXELS) and source.labels.tolist() == [0, 1, 0, 1] and not told(caplog)


def test_labels_of_tar_archives(tmp_path, caplog):
    members = {f"{number}.png": PNG[number] for number in range(4)}
    text = write_tar(tmp_path / "a.tar", members | {f"{n}.cls": b"cat" if n % 2 else b"dog" for n in range(4)})
    source = as_source(text)
    assert source.labels.tolist() == [1, 0, 1, 0] and source.class_names == ["cat", "dog"]
    other = write_tar(tmp_path / "b.tar", members | {f"{n}.kind.txt": b"%d" % n for n in range(4)})
    assert as_source(other, label_key="kind.txt").labels.tolist() == [0, 1, 2, 3]
    assert as_source(other).labels is None
    some = write_tar(tmp_path / "c.tar", members | {"1.cls": b"3"})
    with caplog.at_level(logging.WARNING, "carl"):
        assert as_source(some).labels is None
    assert told(caplog) == [f"labels are left out: {some}: 0.cls is missing"]
    with pytest.raises(carl.FileError, match="0.cls is missing"):
        as_source(some, label_key="cls")


# ---- Paths


class Series:
    """What the package asks of a pandas Series."""

    ndim = 1

    def __init__(self, values):
        self._values = np.array(values, object)

    def to_numpy(self):
        return self._values

    def __array__(self, dtype=None, copy=None):
        return self._values

    def __iter__(self):
        return iter(self._values)


@pytest.mark.parametrize(
    "holder",
    [
        np.array,
        lambda paths: np.array(paths, object),
        lambda paths: np.array([Path(path) for path in paths]),
        Series,
        iter,
        lambda paths: (Path(path) for path in paths),
        tuple,
    ],
)
def test_paths_in_anything(tmp_path, holder):
    paths = [str(tmp_path / f"{number}.png") for number in range(4)]
    for path, content in zip(paths, PNG):
        Path(path).write_bytes(content)
    source = as_source(holder(paths))
    assert isinstance(source, FileSource) and source.paths == paths and np.array_equal(all_of(source), PIXELS)
    assert all(type(path) is str for path in source.paths)


def test_a_glob_of_paths(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(PNG[number])
    write_tar(tmp_path / "x.tar", {"a.png": PNG[0]})
    assert len(as_source(tmp_path.glob("*.png"))) == 4
    assert isinstance(as_source(tmp_path.glob("*.tar")), TarSource)


def test_an_iterator_of_images_loses_none():
    stream = as_source(iter(list(PIXELS)))
    assert isinstance(stream, BatchStream)
    assert np.array_equal(np.stack([image for batch in stream.batches_of(2) for image in batch]), PIXELS)


@pytest.mark.parametrize("name", ["scan-idx-001.png", "a.idx.png", "x-idx3-ubyte.png"])
def test_images_named_like_idx_files(tmp_path, name):
    (tmp_path / name).write_bytes(PNG[0])
    assert np.array_equal(all_of(as_source([tmp_path / name])), PIXELS[:1])
