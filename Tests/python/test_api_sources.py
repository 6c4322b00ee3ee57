"""Where images come from: arrays, lists, folders, files, and the order of an epoch."""

from __future__ import annotations

import gzip
import struct
import time
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.sources import BatchStream, as_source, epoch_order, read_idx
from carl.sources.loader import BatchReader
from carl.sources.stored import StoredSource
from conftest import small_model


def write_idx(path: Path, array: np.ndarray) -> Path:
    codes = {"uint8": 8, "int8": 9, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
    header = bytes([0, 0, codes[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def epoch_batches(source, batch_size, seed, epoch, skip=0):
    with BatchReader(source, batch_size, seed, epoch, skip) as reader:
        yield from reader.epoch()


def all_of(source) -> list[np.ndarray]:
    return list(source.read(np.arange(len(source))))


# ---- Arrays and lists


def test_arrays_of_any_strides(images):
    source = as_source(images[::-2, :, ::-1])
    assert np.array_equal(source.read(np.array([3, 0])), images[::-2, :, ::-1][[3, 0]])
    assert (len(source), source.channels, source.side) == (20, 3, 12)
    assert as_source(images[..., 0]).channels == 1
    assert as_source(source) is source


def test_a_single_image_is_told_how_to_be_passed(images):
    Image = pytest.importorskip("PIL.Image")
    for single in (images[0], images[0, ..., 0], Image.fromarray(images[0]), Image.fromarray(images[0, ..., 0])):
        with pytest.raises(carl.InvalidArgumentError, match=r"pass one image as image\[None\], of Pillow as \[image\]"):
            as_source(single)
        assert len(as_source([single])) == 1


def test_lists_of_differing_sizes(images):
    source = as_source([images[0], images[1, :5], images[2, :, :7]])
    assert [image.shape for image in source.read(np.array([2, 1]))] == [(12, 7, 3), (5, 12, 3)]
    with pytest.raises(carl.InvalidArgumentError, match=r"images\[1\]"):
        as_source([images[0], images[0, ..., :2]])


def test_pillow_images_in_a_list(images):
    Image = pytest.importorskip("PIL.Image")
    source = as_source([Image.fromarray(images[0]), images[1]])
    assert np.array_equal(source.read(np.array([0]))[0], images[0])


# ---- Files that hold a set


def test_npy_is_read_in_batches(images, tmp_path):
    np.save(tmp_path / "x.npy", images)
    source = as_source(tmp_path / "x.npy")
    assert isinstance(source, StoredSource)
    assert np.array_equal(source.read(np.array([5, 3])), images[[5, 3]])


def test_npz_with_labels(images, tmp_path):
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(40))
    source = as_source(str(tmp_path / "x.npz"))
    assert np.array_equal(source.labels, np.arange(40)) and len(source) == 40
    np.savez_compressed(tmp_path / "y.npz", anything=images)
    assert len(as_source(tmp_path / "y.npz")) == 40
    np.savez(tmp_path / "z.npz", a=images, b=images)
    with pytest.raises(carl.InvalidArgumentError, match="a, b"):
        as_source(tmp_path / "z.npz")


@pytest.mark.parametrize(
    "name, beside",
    [
        ("t-images.idx3-ubyte", "t-labels.idx1-ubyte"),
        ("t-images.idx3-ubyte.gz", "t-labels.idx1-ubyte"),
        ("t-images-idx3-ubyte.gz", "t-labels-idx1-ubyte"),
        ("t-images-idx3-ubyte", "t-labels-idx1-ubyte.gz"),
    ],
)
def test_labels_beside_idx_files(images, tmp_path, name, beside):
    write_idx(tmp_path / beside, np.arange(40, dtype=np.uint8))
    source = as_source(write_idx(tmp_path / name, images[..., 0]))
    assert list(source.labels) == list(range(40))


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte", "other.idx"])
def test_idx(images, tmp_path, name):
    path = write_idx(tmp_path / name, images[..., 0])
    source = as_source(path)
    assert np.array_equal(np.stack(all_of(source))[..., 0], images[..., 0]) and source.labels is None
    if "images" in name:
        write_idx(tmp_path / name.replace("images-idx3", "labels-idx1"), np.arange(40, dtype=np.uint8))
        assert np.array_equal(as_source(path).labels, np.arange(40))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_idx_types_come_in_native_order(tmp_path, dtype):
    array = np.arange(-6, 6).astype(dtype).reshape(3, 4)
    found = read_idx(write_idx(tmp_path / "a.idx", array))
    assert np.array_equal(found, array) and found.dtype == np.dtype(dtype) and found.dtype.isnative


def test_damaged_files(images, tmp_path):
    good = write_idx(tmp_path / "good.idx", images[..., 0]).read_bytes()
    packed = gzip.compress(good)
    for name, data in {
        "a.idx": b"",
        "b.idx": good[:-1],
        "c.idx": good + b"x",
        "d.idx": b"abcdefgh",
        "e.idx": good[:6],
        "f.idx": packed[: len(packed) // 2],
        "g.npy": b"nothing",
        "h.npz": b"PK nothing",
        "i.idx": good[:4] + b"\xff" * 12 + good[16:],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(carl.FileError, match=name):
            as_source(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(carl.FileError, match="objects.npy"):
        as_source(tmp_path / "objects.npy")
    np.save(tmp_path / "floats.npy", np.zeros((3, 4, 4)))
    with pytest.raises(carl.InvalidArgumentError, match="float64"):
        as_source(tmp_path / "floats.npy")
    with pytest.raises(carl.FileError, match="no such"):
        as_source(tmp_path / "missing")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(carl.FileError, match="text.txt"):
        as_source(tmp_path / "text.txt")


# ---- Image files


@pytest.fixture
def folder(images, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for place, name in enumerate(["b", "a"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(images[6 * place + number]).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"x")
    (tmp_path / "photos" / "a" / "notes.txt").write_text("x")
    return tmp_path / "photos"


def test_class_folder(folder, images):
    source = as_source(folder)
    assert len(source) == 12 and source.class_names == ["a", "b"] and list(source.labels) == [0] * 6 + [1] * 6
    assert np.array_equal(np.stack(all_of(source)), images[[*range(6, 12), *range(6)]])
    assert source.identity(0).endswith("a/0.png")
    model = small_model(batch_size=4).fit(folder)
    assert len(model.history_) == 6
    assert np.array_equal(model.transform(folder), model.transform(images[[*range(6, 12), *range(6)]]))
    paths = [folder / "b" / "0.png", str(folder / "a" / "1.png")]
    np.testing.assert_allclose(model.transform(paths), model.transform(images[[0, 7]]), rtol=1e-5, atol=1e-6)


def test_flat_folder(folder):
    source = as_source(str(folder / "a"))
    assert len(source) == 6 and source.labels is None and source.channels == 3
    assert as_source(folder / "a", channels=1).read(np.array([0]))[0].shape == (12, 12, 1)


def test_empty_folder(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(carl.FileError, match="no images below"):
        as_source(tmp_path)


def test_a_broken_image_is_named(folder):
    (folder / "a" / "3.png").write_bytes((folder / "a" / "3.png").read_bytes()[:60])
    with pytest.raises(carl.FileError, match="a/3.png"):
        small_model(batch_size=4).fit(folder)


def test_kinds_of_image_files(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    gray16 = random.integers(0, 65536, (6, 8)).astype(np.uint16)
    transparent = np.dstack([rgb, np.zeros((6, 8), np.uint8)])
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(rgb[..., 0] > 128).save(tmp_path / "bits.png")
    Image.fromarray(gray16).save(tmp_path / "gray16.png")
    Image.fromarray(transparent, "RGBA").save(tmp_path / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)

    def read(name, channels=None):
        return as_source([tmp_path / name], channels).read(np.array([0]))[0]

    assert np.array_equal(read("rgb.png"), rgb)
    assert read("palette.png").shape == read("cmyk.tif").shape == (6, 8, 3)
    assert np.abs(read("cmyk.tif").astype(int) - rgb).max() <= 2
    assert np.array_equal(read("gray.png")[..., 0], rgb[..., 0])
    assert np.array_equal(read("gray.png", 3), np.repeat(rgb[..., :1], 3, 2))
    assert np.array_equal(read("bits.png")[..., 0], (rgb[..., 0] > 128) * np.uint8(255))
    assert np.array_equal(read("gray16.png")[..., 0], (gray16 >> 8).astype(np.uint8))
    assert (read("alpha.png") == 255).all()
    assert np.array_equal(read("turned.png"), np.rot90(rgb, -1))
    mixed = as_source([tmp_path / "gray.png", tmp_path / "rgb.png"])
    assert {image.shape[2] for image in all_of(mixed)} == {3}


# ---- Order and reading ahead


def test_epoch_order_is_a_fixed_permutation():
    assert sorted(epoch_order(1000, 5, 2)) == list(range(1000))
    assert np.array_equal(epoch_order(50, 5, 2), epoch_order(50, 5, 2))
    assert not np.array_equal(epoch_order(50, 5, 2), epoch_order(50, 5, 3))
    assert not np.array_equal(epoch_order(50, 5, 2), epoch_order(50, 6, 2))
    # A checkpoint of an older release must find the same order.
    assert epoch_order(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]


@pytest.mark.parametrize("count", [1, 65_535, 131_072, 300_001])
def test_an_order_in_stretches_is_the_sorted_one(count):
    keys = np.random.Philox(key=np.array([9, 4], np.uint64)).random_raw(count)
    assert np.array_equal(epoch_order(count, 9, 4), np.argsort(keys, kind="stable"))


def test_batches_over_stretches_and_from_the_middle():
    source = as_source(np.zeros((200_000, 1, 1), np.uint8))
    order = epoch_order(200_000, 3, 1)
    for skip in (0, 1, 21, 43, 64):
        with BatchReader(source, 3001, 3, epoch=1, skip=skip, epochs=3) as reader:
            found = [batch.indices for batch in reader.epoch()]
            following = next(reader.epoch()).indices
        assert len(found) == 66 - skip
        assert np.array_equal(np.concatenate(found), order[3001 * skip : 3001 * 66])
        assert np.array_equal(following, epoch_order(200_000, 3, 2)[:3001])


def test_first_places_are_uniform():
    counts = np.bincount([epoch_order(5, 1, epoch)[0] for epoch in range(5000)], minlength=5)
    assert abs(counts - 1000).max() < 150


def test_batches_of_an_epoch(images):
    source = as_source(images)
    whole = list(epoch_batches(source, 12, 7, 1))
    assert [len(batch.indices) for batch in whole] == [12, 12, 12]
    assert np.array_equal(np.concatenate([batch.indices for batch in whole]), epoch_order(40, 7, 1)[:36])
    assert all(np.array_equal(batch.images, images[batch.indices]) for batch in whole)
    rest = list(epoch_batches(source, 12, 7, 1, skip=2))
    assert len(rest) == 1 and np.array_equal(rest[0].indices, whole[2].indices)


def test_the_next_batch_is_read_ahead_and_waiting_is_measured(images):
    class Slow(type(as_source(images))):
        def read(self, indices):
            time.sleep(0.05)
            return super().read(indices)

    source = Slow(images)
    waits = [batch.waited for batch in epoch_batches(source, 8, 0, 0)]
    assert all(wait > 0.01 for wait in waits)
    begun = []
    for batch in epoch_batches(source, 8, 0, 0):
        time.sleep(0.08)  # training
        begun.append(batch.waited)
    assert all(wait < 0.04 for wait in begun[1:])
    history = small_model(epochs=1).fit(source).history_
    assert any(metrics.data_wait > 0.1 for metrics in history)


def test_stream_probe_loses_nothing(images):
    stream = as_source(images[start : start + 8] for start in range(0, 40, 8))
    assert isinstance(stream, BatchStream) and stream.once and stream.steps(8) is None
    assert np.array_equal(stream.probe(), images[:8])
    assert np.array_equal(np.concatenate(list(stream)), images)
    listed = as_source([images[:8], images[8:]])
    assert listed.steps(8) == 2 and not listed.once
    assert [len(batch.images) for batch in epoch_batches(listed, 1, 0, 0)] == [8, 32]
    assert [batch.indices[0] for batch in epoch_batches(listed, 1, 0, 0, skip=1)] == [8]
