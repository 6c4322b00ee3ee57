"""Archives, CIFAR, data sets of other packages and streams: every kind of source, and what is said of those that cannot
be used."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest

import carl
from carl.sources import BatchStream, JoinedSource, MapStyleSource, TableSource, as_source
from carl.sources.stored import StoredSource
from conftest import same_state, small_model

Image = pytest.importorskip("PIL.Image")


def encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form)
    return file.getvalue()


def write_tar(path, members: dict[str, bytes], mode: str = "w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def all_of(source):
    return np.stack(list(source.read(np.arange(len(source)))))


class Tensor:
    """What the package asks of a torch tensor."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self._array


@pytest.fixture
def trained(images):
    """What training on the plain array gives."""
    return small_model().fit(images).trainer_


# ---- Arrays


def test_arrays_of_any_layout_train_alike(images, trained):
    wide = np.zeros((80, 24, 12, 3), np.uint8)
    wide[1::2, ::2] = images
    layouts = {
        "fortran": np.asfortranarray(images),
        "every other": wide[1::2, ::2],
        "backwards": images[::-1, :, ::-1].copy()[::-1, :, ::-1],
        "channels first": np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
        "list": list(images),
        "objects": _objects(images),
        "read only": _locked(images),
    }
    for name, array in layouts.items():
        assert same_state(small_model().fit(array).trainer_, trained), name


def _objects(images):
    array = np.empty(len(images), object)
    array[:] = list(images)
    return array


def _locked(images):
    copy = images.copy()
    copy.flags.writeable = False
    return copy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((4, 8, 8)), "float64, want uint8"),
        (np.full((4, 8, 8, 3), np.nan, np.float32), "float32, want uint8"),
        ([np.full((8, 8), np.nan)], r"images\[0\]: got dtype float64"),
        (np.zeros((4, 8, 8), np.int16), "int16"),
        (np.zeros((0, 8, 8), np.uint8), "empty"),
        (np.zeros((4, 8), np.uint8), "reshape"),
        ([], "empty list"),
        (7, "int"),
        ({"a": 1}, "dict"),
        (b"abc", "bytes"),
        (np.zeros((4, 3, 8, 8), np.uint8), "channels last"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.uint8)], r"images\[1\]: got 2 channel"),
        (np.array(["a", 7], object), r"images\[1\]: got int in a list that begins with paths"),
        ([object(), object()], r"images\[0\]"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_named(value, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        as_source(value)


def test_labels_of_another_number(images, tmp_path):
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(39))
    assert as_source(tmp_path / "x.npz").labels is None
    with pytest.raises(carl.InvalidArgumentError, match="39 labels, want 40"):
        carl.sources.ArraySource(images, labels=np.arange(39))


def test_uncompressed_files_are_read_in_batches(images, tmp_path):
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(40))
    np.savez_compressed(tmp_path / "y.npz", images=images)
    np.savez(tmp_path / "z.npz", images=np.asfortranarray(images))
    (tmp_path / "a.idx").write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 12, 0, 0, 0, 12]) + images[..., 0].tobytes()
    )
    for name, in_batches, wanted in (
        ("x.npz", True, images),
        ("y.npz", False, images),
        ("z.npz", False, images),
        ("a.idx", True, images[..., :1]),
    ):
        source = as_source(tmp_path / name)
        assert isinstance(source, StoredSource) == in_batches, name
        assert np.array_equal(all_of(source), wanted), name


# ---- Tar archives


def test_tar_archives(images, trained, tmp_path):
    names = [f"{number:03d}" for number in range(40)]
    for shard, part in (("a-0.tar", slice(0, 25)), ("a-1.tar", slice(25, 40))):
        members = {}
        for name, image in zip(names[part], images[part]):
            members |= {
                f"{name}.png": encoded(image),
                f"{name}.cls": str(int(name) % 3).encode(),
                f"{name}.json": b"{}",
            }
        write_tar(tmp_path / shard, members)
    for given in (tmp_path, str(tmp_path / "a-*.tar"), [tmp_path / "a-0.tar", tmp_path / "a-1.tar"]):
        source = as_source(given)
        assert np.array_equal(all_of(source), images) and list(source.labels) == [number % 3 for number in range(40)]
        source.close()
    assert same_state(small_model().fit(tmp_path).trainer_, trained)
    assert as_source(tmp_path / "a-1.tar").identity(0).endswith("a-1.tar: 025.png")
    assert np.array_equal(small_model().fit(tmp_path).transform(tmp_path), small_model().fit(images).transform(images))


def test_tar_with_folders_and_other_members(images, tmp_path):
    members = {
        "./b/1.png": encoded(images[0]),
        "./a/2.png": encoded(images[1]),
        "./a/.hidden.png": b"x",
        "./notes.txt": b"y",
    }
    source = as_source(write_tar(tmp_path / "x.tar", members))
    assert list(source.labels) == [1, 0] and source.class_names == ["a", "b"] and len(source) == 2
    # Images without a label, or with one that is no number, have none.
    source = as_source(
        write_tar(tmp_path / "y.tar", {"1.png": encoded(images[0]), "1.cls": b"cat", "2.png": encoded(images[1])})
    )
    assert source.labels is None


def test_hard_links_in_tars(images, tmp_path, caplog):
    for name, image in (("a/1.png", images[0]), ("a/2.png", images[1])):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(encoded(image))
    (tmp_path / "set" / "b").mkdir()
    for link, name in (("b/3.png", "a/2.png"), ("b/4.png", "b/3.png")):
        os.link(tmp_path / "set" / name, tmp_path / "set" / link)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
            archive.add(tmp_path / "set" / name, name)
        assert [member.islnk() for member in archive.getmembers()] == [False, False, True, True]
        lost = tarfile.TarInfo("b/5.png")
        lost.type, lost.linkname = tarfile.LNKTYPE, "elsewhere.png"
        archive.addfile(lost)
    source = as_source(tmp_path / "x.tar")
    assert list(source.labels) == [0, 0, 1, 1] and source.class_names == ["a", "b"]
    assert np.array_equal(all_of(source), images[[0, 1, 1, 1]])
    assert "b/5.png, a link to elsewhere.png" in caplog.text


def test_damaged_tars(images, tmp_path):
    whole = write_tar(tmp_path / "whole.tar", {"1.png": encoded(images[0]), "2.png": encoded(images[1])}).read_bytes()
    cases = {"empty.tar": b"", "garbage.tar": b"x" * 4096, "cut.tar": whole[:1800]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(carl.FileError, match=name):
            as_source(tmp_path / name)
    write_tar(tmp_path / "packed.tar.gz", {"1.png": encoded(images[0])}, "w:gz")
    with pytest.raises(carl.FileError, match="packed.tar.gz: is compressed"):
        as_source(tmp_path / "packed.tar.gz")
    with pytest.raises(carl.FileError, match="no image files in"):
        as_source(write_tar(tmp_path / "none.tar", {"a.txt": b"x"}))
    with pytest.raises(carl.FileError, match="no such"):
        as_source(str(tmp_path / "none-*.tar"))
    source = as_source(write_tar(tmp_path / "one.tar", {"1.png": encoded(images[0]), "2.png": encoded(images[1])[:50]}))
    with pytest.raises(carl.FileError, match="one.tar: 2.png"):
        source.read(np.arange(2))


# ---- CIFAR


def write_cifar(path, pixels, *labels):
    records = np.concatenate([np.stack(labels, 1), pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)], axis=1)
    records.astype(np.uint8).tofile(path)


def test_cifar(tmp_path):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    fine, coarse = random.integers(10, 100, 20), random.integers(0, 20, 20)
    (tmp_path / "ten").mkdir()
    write_cifar(tmp_path / "ten" / "data_batch_1.bin", pixels[:12], np.arange(12) % 10)
    write_cifar(tmp_path / "ten" / "data_batch_2.bin", pixels[12:], np.arange(8))
    write_cifar(tmp_path / "ten" / "test_batch.bin", pixels[:3], np.arange(3))
    (tmp_path / "ten" / "batches.meta.txt").write_text("".join(f"class{n}\n" for n in range(10)) + "\n")
    source = as_source(tmp_path / "ten")
    assert isinstance(source, JoinedSource) and np.array_equal(all_of(source), pixels)
    assert list(source.labels) == [*(np.arange(12) % 10), *range(8)] and source.class_names[9] == "class9"
    assert np.array_equal(np.stack(source.read(np.array([19, 0, 12]))), pixels[[19, 0, 12]])
    assert "image 1" in source.identity(13)
    single = as_source(tmp_path / "ten" / "test_batch.bin")
    assert np.array_equal(all_of(single), pixels[:3]) and (single.channels, single.side) == (3, 32)
    write_cifar(tmp_path / "train.bin", pixels, coarse, fine)
    hundred = as_source(tmp_path / "train.bin")
    assert (
        np.array_equal(all_of(hundred), pixels) and np.array_equal(hundred.labels, fine) and hundred.class_names is None
    )


def test_what_is_no_cifar_file(tmp_path):
    for name, content in {"a.bin": b"", "b.bin": b"x" * 3072, "c.bin": b"\xff" * 3073, "d.bin": b"\xff" * 3074}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(carl.FileError, match=f"{name} is not a CIFAR file"):
            as_source(tmp_path / name)


# ---- Data sets of other packages, by what they can do


class Names:
    """A ClassLabel feature."""

    names = ["even", "odd"]


class Table:
    """What the package asks of a Hugging Face data set."""

    def __init__(self, columns, features=None):
        self._columns, self.features = columns, features or {}

    @property
    def column_names(self):
        return list(self._columns)

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self._columns[key]
        return {name: values[key] for name, values in self._columns.items()}

    def select_columns(self, names):
        return Table({name: self._columns[name] for name in names}, self.features)


@pytest.mark.parametrize("kind", ["pillow", "bytes", "array"])
def test_tables(images, trained, kind, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    column = {
        "pillow": [Image.fromarray(image) for image in images],
        "array": list(images),
        "bytes": [
            {"bytes": None, "path": str(tmp_path / "0.png")},
            *({"bytes": encoded(image), "path": None} for image in images[1:]),
        ],
    }[kind]
    table = Table(
        {"label": [number % 2 for number in range(40)], "id": list(range(40)), "img": column}, {"label": Names()}
    )
    source = as_source(table)
    assert isinstance(source, TableSource) and np.array_equal(all_of(source), images)
    assert list(source.labels[:3]) == [0, 1, 0] and source.class_names == ["even", "odd"]
    assert same_state(small_model().fit(table).trainer_, trained)
    if kind != "array":
        assert as_source(table, 1).channels == 1


def test_tables_that_cannot_be_used(images):
    with pytest.raises(carl.InvalidArgumentError, match="id, words"):
        as_source(Table({"id": [1, 2], "words": ["a", "b"]}))
    with pytest.raises(carl.InvalidArgumentError, match="no rows"):
        as_source(Table({"image": []}))
    with pytest.raises(carl.InvalidArgumentError, match="column: got 'x'"):
        TableSource(Table({"image": list(images)}), column="x")
    with pytest.raises(carl.InvalidArgumentError, match=r"images\['train'\]"):
        as_source({"train": Table({"image": list(images)}), "test": Table({"image": list(images)})})
    broken = as_source(Table({"image": [Image.fromarray(images[0]), None]}))
    with pytest.raises(carl.FileError, match="row 1 of the data set: the row has no image"):
        broken.read(np.arange(2))


class MapStyle:
    def __init__(self, items, **attributes):
        self.items = items
        vars(self).update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


@pytest.mark.parametrize("kind", ["pairs", "dicts", "tensors", "alone", "list of pairs"])
def test_map_style_data_sets(images, trained, kind):
    items = {
        "pairs": [(Image.fromarray(image), number % 4) for number, image in enumerate(images)],
        "dicts": [{"picture": image, "caption": "x"} for image in images],
        "tensors": [(Tensor(image.transpose(2, 0, 1)), 3) for image in images],
        "alone": [(image,) for image in images],
        "list of pairs": [(image, 1) for image in images],
    }[kind]
    given = (
        items if kind == "list of pairs" else MapStyle(items, targets=[n % 4 for n in range(40)], classes=list("abcd"))
    )
    source = as_source(given)
    assert isinstance(source, MapStyleSource) and np.array_equal(all_of(source), images)
    if given is not items:
        assert list(source.labels[:5]) == [0, 1, 2, 3, 0] and source.class_names == list("abcd")
    assert same_state(small_model().fit(given).trainer_, trained)


def test_map_style_data_sets_that_cannot_be_used(images):
    floats = MapStyle([(Tensor(np.full((3, 12, 12), np.nan, np.float32)), 0)] * 4)
    with pytest.raises(carl.InvalidArgumentError, match="leave out what makes floats, such as ToTensor"):
        small_model().fit(floats)
    with pytest.raises(carl.InvalidArgumentError, match="MapStyle is empty"):
        as_source(MapStyle([]))
    mixed = as_source(MapStyle([(images[0], 0), (images[1, ..., :2], 0)]))
    with pytest.raises(carl.InvalidArgumentError, match=r"images\[1\]: got 2 channel"):
        mixed.read(np.arange(2))

    class Raises(MapStyle):
        def __getitem__(self, place):
            raise KeyError("no such image")

    with pytest.raises(carl.FileError, match="image 0 of Raises.*no such image"):
        small_model().fit(Raises(list(images)))


def test_gray_among_colour(images):
    gray = Image.fromarray(images[0, ..., 0])
    source = as_source(MapStyle([(gray, 0), (Image.fromarray(images[1]), 1), (images[2, ..., 0], 1)]))
    assert [image.shape for image in source.read(np.arange(3))] == [(12, 12, 3)] * 3
    assert as_source([gray, Image.fromarray(images[1])]).channels == 3
    assert as_source([gray, gray]).channels == 1
    assert as_source([gray, gray], 3).channels == 3
    arrays = [images[0, ..., 0], images[1]]
    want = np.stack([np.repeat(images[0, ..., :1], 3, axis=2), images[1]])
    for mixed in (arrays, [images[0, ..., :1], images[1]], [gray, images[1]]):
        for channels in (None, 3):
            for order in ([0, 1], [1, 0]):
                source = as_source([mixed[place] for place in order], channels)
                np.testing.assert_array_equal(np.stack(source.read(np.arange(2))), want[order])
    with small_model(in_channels=3).fit([images[0, ..., 0], *images]).trainer_ as trainer:
        np.testing.assert_array_equal(trainer.embed_images(arrays), trainer.embed_images(want))
    for others in ([images[0, ..., :2], images[1]], [arrays[0], images[0, ..., :2]]):
        with pytest.raises(carl.InvalidArgumentError, match=r"images\[1\]: got \d channel\(s\), want \d as in"):
            as_source(others)


# ---- Streams


def test_images_of_many_channels(images):
    five = np.concatenate([images, images[..., :2]], axis=3)
    for given in (MapStyle([(image, 0) for image in five]), iter_again([(image, 0) for image in five])):
        model = small_model(epochs=1).fit(given)
        assert model.in_channels_ == 5 and len(model.history_) == 5


def test_streams_of_single_images(images, trained):
    kinds = {
        "pairs": [(image, 0) for image in images],
        "webdataset": [{"__key__": "k", "png": encoded(image)} for image in images],
        "rows": [{"image": Image.fromarray(image), "label": 1} for image in images],
    }
    wanted = small_model(epochs=1).fit([images[start : start + 8] for start in range(0, 40, 8)])
    for name, items in kinds.items():
        found = small_model(epochs=1, total_steps=5).fit(item for item in items)
        assert [metrics.step for metrics in found.history_] == [1, 2, 3, 4, 5], name
        assert same_state(found.trainer_, wanted.trainer_), name
        assert found.transform(item for item in items[:13]).shape == (13, 64)


def test_streams_with_labels_and_batches_of_differing_sizes(images):
    parts = [images[:8], images[8:11], images[11:12], images[12:40]]
    plain = small_model().fit(parts)
    assert len(plain.history_) == 6  # the batch of one image is left out
    labelled = [[part, np.zeros(len(part))] for part in parts]
    columns = [{"image": part, "label": np.zeros(len(part))} for part in parts]
    tensors = [(Tensor(part.transpose(0, 3, 1, 2)), Tensor(np.zeros(len(part)))) for part in parts]
    for given in (labelled, columns, tensors):
        assert same_state(small_model().fit(iter_again(given)).trainer_, plain.trainer_)
    assert plain.transform(iter_again(columns)).shape == (40, 64)


def test_a_stream_resumes_exactly(images, tmp_path):
    parts = [images[:8], images[8:9], images[9:20], images[20:40]]
    whole = small_model().fit(parts)
    assert len(whole.history_) == 6

    def stop(model, metrics):
        if metrics.step == 2:
            raise carl.StopTraining

    small_model(run_dir=tmp_path / "run", callbacks=stop).fit(parts)
    resumed = small_model(run_dir=tmp_path / "run").fit(parts, resume=True)
    assert resumed.trainer_.step_count == 6 and same_state(resumed.trainer_, whole.trainer_)


def iter_again(items):
    class Again:
        def __iter__(self):
            return iter(items)

        def __len__(self):
            return len(items)

    return Again()


def test_stream_counts_and_last_images(images):
    stream = as_source(iter_again([(image, 0) for image in images[:20]]))
    assert isinstance(stream, BatchStream) and stream.steps(8) == 2 and stream.steps(50) == 1
    assert [len(batch) for batch in stream.batches_of(8)] == [8, 8]
    assert [len(batch) for batch in stream.batches_of(8, keep_last=True)] == [8, 8, 4]
    assert [len(batch) for batch in stream.batches_of(50)] == [20]


def test_an_iterator_is_begun_once(images):
    class Loader:
        begun = 0

        def __iter__(self):
            self.begun += 1
            return iter([images[:8], images[8:16]])

        def __len__(self):
            return 2

    loader = Loader()
    small_model().fit(loader)
    assert loader.begun == 2  # one an epoch: looking at the first batch does not begin another


def test_generators_that_end_early(images):
    batches = [images[start : start + 8] for start in range(0, 40, 8)]
    model = small_model(epochs=3, total_steps=9)
    with pytest.raises(carl.InvalidArgumentError, match="the iterator is exhausted"):
        model.fit(batch for batch in batches)
    assert model.trainer_.step_count == 5  # what there was has been learnt
    for nothing in (iter([]), iter_again([])):
        with pytest.raises(carl.InvalidArgumentError, match="no batches"):
            small_model(epochs=1).fit(nothing)


@pytest.mark.parametrize("item", ["text", 3, None, {"a": 1}, [], {"image": np.zeros((2, 4, 4, 3))}])
def test_items_that_are_no_images(item):
    with pytest.raises(carl.InvalidArgumentError, match="images"):
        small_model().fit(iter_again([item]))


def test_an_error_of_the_iterable_is_the_callers(images):
    def fails():
        yield images[:8]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), pytest.warns(UserWarning):
        small_model(epochs=1).fit(fails())
