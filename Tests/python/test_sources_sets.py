"""Bands first, and the sets of torch and of the datasets package: what they hold, and whose labels they have."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl.sources import BatchStream, MapStyleSource, TableSource, as_source
from test_sources_kinds import MapStyle, Names, Table, all_of
from test_sources_kinds import Tensor as Detachable

Image = pytest.importorskip("PIL.Image")

BANDS = np.random.default_rng(0).integers(0, 256, (16, 13, 32, 30)).astype(np.uint8)
LAST = BANDS.transpose(0, 2, 3, 1)


class Tensor(Detachable):
    """A tensor as torch's, which is an array to NumPy and has a length."""

    def __len__(self):
        return len(self._array)

    def __array__(self, dtype=None, copy=None):
        return self._array


# ---- Bands first


@pytest.mark.parametrize("count", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("kind", ["array", "npy", "npz", "list", "batches", "set"])
def test_arrays_with_bands_first_are_refused(tmp_path, kind, count):
    bands = BANDS[:, :count]
    np.save(tmp_path / "x.npy", bands)
    np.savez(tmp_path / "x.npz", images=bands)
    given = {
        "array": bands,
        "npy": tmp_path / "x.npy",
        "npz": tmp_path / "x.npz",
        "list": list(bands),
        "batches": [bands[:8], bands[8:]],
        "set": MapStyle([(image, 0) for image in bands]),
    }[kind]
    batch = kind not in ("list", "set")
    with pytest.raises(carl.InvalidArgumentError) as told:
        carl.CARL(progress=False, epochs=1).fit(given)
    words = str(told.value)
    assert "(B, C, H, W)" in words if batch else "(C, H, W)" in words
    assert ("transpose(0, 2, 3, 1)" if batch else "transpose(1, 2, 0)") in words


@pytest.mark.parametrize("count", [1, 2, 3, 4, 13])
def test_tensors_are_bands_first(count):
    bands, last = BANDS[:, :count], LAST[..., :count]
    tensors = [Tensor(image) for image in bands]
    for given in (Tensor(bands), tensors, MapStyle([(image, Tensor(np.array(1))) for image in tensors])):
        assert np.array_equal(all_of(as_source(given)), last), type(given)
    stream = as_source(iter([(Tensor(bands[:8]), 0), (Tensor(bands[8:]), 0)]))
    assert isinstance(stream, BatchStream)
    assert np.array_equal(np.concatenate(list(stream.batches_of(8))), last)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 15, 16])
def test_gray_tensors_are_a_batch(count):
    """(B, H, W), however few they are beside their sides; in a stream three of them too."""
    gray = np.ascontiguousarray(LAST[:, :, :, 0])
    tensor = Tensor(gray[:count])
    assert np.array_equal(all_of(as_source(tensor)), gray[:count, ..., None])
    with carl.Trainer(encoder="resnet18", stem="small", width=0.125, in_channels=1, view_size=16) as other:
        wanted = other.embed_images(gray[:count])
        assert np.array_equal(other.embed_images(tensor), wanted)
    for last in (1, 2, 3):
        stream = as_source(iter([Tensor(gray[:8]), Tensor(gray[8 : 8 + last])]))
        batches = list(stream.batches_of(4))
        assert [len(batch) for batch in batches] == [8, last]
        assert np.array_equal(np.concatenate(batches).squeeze(), gray[: 8 + last])


def test_a_tensor_of_three_planes_may_be_one_image():
    image = Tensor(np.ascontiguousarray(BANDS[0, :3]))
    with pytest.raises(carl.InvalidArgumentError, match=r"looks like one colour image; .*images\[:, None\]"):
        as_source(image)
    assert as_source(Tensor(BANDS[:3, 0][:, None])).channels == 1


@pytest.mark.parametrize("shape", [(9, 9, 200), (32, 32, 5), (10, 100, 3), (6, 40, 4), (5, 8, 64), (1, 1, 512)])
def test_channels_last_of_many_channels_are_no_bands_first(shape):
    array = np.zeros((4, *shape), np.uint8)
    assert as_source(array).channels == shape[2] and as_source(list(array)).channels == shape[2]


# ---- torch


class TensorDataset:
    """torch.utils.data.TensorDataset."""

    def __init__(self, *arrays):
        self.tensors = tuple(Tensor(array) for array in arrays)

    def __len__(self):
        return self.tensors[0].shape[0]

    def __getitem__(self, place):
        return tuple(Tensor(tensor.numpy()[place]) for tensor in self.tensors)


class Subset:
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, place):
        return self.dataset[self.indices[place]]


class ConcatDataset:
    def __init__(self, datasets):
        self.datasets = list(datasets)

    def __len__(self):
        return sum(map(len, self.datasets))

    def __getitem__(self, place):
        for part in self.datasets:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError


LABELS = np.arange(16) % 3


@pytest.mark.parametrize("images", [BANDS, BANDS[:, :3], LAST[..., :3], BANDS[:, 0]], ids=["13", "3", "last", "gray"])
def test_tensor_data_sets(images):
    source = as_source(TensorDataset(images, LABELS))
    assert isinstance(source, MapStyleSource) and np.array_equal(source.labels, LABELS)
    wanted = images if images.shape[-1] == 3 else LAST[..., : images.shape[1]] if images.ndim == 4 else LAST[..., :1]
    assert np.array_equal(all_of(source).reshape(wanted.shape), wanted)
    alone = as_source(TensorDataset(images))
    assert alone.labels is None and len(alone) == 16


def test_subsets_and_joined_sets_keep_labels():
    base = MapStyle([(image, 9) for image in LAST[..., :3]], targets=LABELS.tolist(), classes=["a", "b", "c"])
    part = as_source(Subset(base, [5, 1, 1]))
    assert part.labels.tolist() == [2, 1, 1] and part.class_names == ["a", "b", "c"]
    joined = as_source(ConcatDataset([Subset(base, np.array([4, 2])), base]))
    assert joined.labels.tolist() == [1, 2, *LABELS] and joined.class_names == ["a", "b", "c"]
    nested = as_source(Subset(ConcatDataset([base, Subset(base, [3])]), [16, 0]))
    assert nested.labels.tolist() == [0, 0]
    other = MapStyle(base.items, labels=Tensor(LABELS))  # as SVHN and STL10 have them
    assert as_source(other).labels.tolist() == LABELS.tolist()
    assert as_source(ConcatDataset([base, other])).labels is None  # of other names: numbers may not mean the same
    assert as_source(ConcatDataset([base, MapStyle(base.items)])).labels is None


# ---- datasets


class Array3D:
    dtype, shape = "uint8", (32, 30, 3)


class Array2D:
    dtype, shape = "uint8", (32, 30)


class Value:
    dtype = "uint8"


class List:
    def __init__(self, feature):
        self.feature = feature


class Formatted(Table):
    """A data set with a transform of rows, as with_transform gives it."""

    def __init__(self, columns, features=None, transform=None):
        super().__init__(columns, features)
        self.transform = transform

    @property
    def format(self):
        return {"type": None if self.transform is None else "custom"}

    def with_format(self, kind):
        assert kind is None
        return Formatted(self._columns, self.features)

    def __getitem__(self, key):
        if self.transform is None:
            return super().__getitem__(key)
        if isinstance(key, str):
            return self.transform(self._columns)[key]
        row = self.transform({name: [values[key]] for name, values in self._columns.items()})
        return {name: values[0] for name, values in row.items()}

    def select_columns(self, names):
        return Formatted({name: self._columns[name] for name in names}, self.features, self.transform)


@pytest.mark.parametrize(
    "images, feature",
    [
        (LAST[..., :3], Array3D()),
        (LAST[..., 0], Array2D()),
        (LAST[..., 0], List(List(Value()))),
        (LAST[..., 0], [[Value()]]),
    ],
)
def test_columns_of_arrays_come_as_nested_lists(images, feature):
    table = Table({"scan": images.tolist(), "label": ["x", "y"] * 8, "size": [3] * 16}, {"scan": feature})
    source = TableSource(table, column="scan")
    assert np.array_equal(all_of(source).reshape(images.shape), images)
    assert source.labels.tolist() == [0, 1] * 8 and source.class_names == ["x", "y"]
    wide = Table({"image": list(images.astype(np.int64))}, {"image": feature})  # as with_format("numpy") gives them
    assert np.array_equal(all_of(as_source(wide)).reshape(images.shape), images)


def test_a_column_of_an_array_type_is_found():
    table = Table({"scan": LAST[..., :3].tolist(), "id": list(range(16))}, {"scan": Array3D(), "id": Value()})
    assert np.array_equal(all_of(as_source(table)), LAST[..., :3])


def test_a_transform_of_rows_keeps_labels():
    columns = {"image": [Image.fromarray(image) for image in LAST[..., :3]], "label": [0, 1] * 8}

    def renamed(rows):
        return {"pixel_values": [np.asarray(image)[::2] for image in rows["image"]]}

    def both(rows):  # which needs the other columns
        return {"image": [np.asarray(i)[::2] for i in rows["image"]], "label": [-each for each in rows["label"]]}

    for transform in (renamed, both):
        source = as_source(Formatted(columns, {"label": Names()}, transform))
        assert isinstance(source, TableSource) and np.array_equal(all_of(source), LAST[:, ::2, :, :3])
        assert source.labels.tolist() == [0, 1] * 8 and source.class_names == ["even", "odd"]
    with pytest.raises(carl.InvalidArgumentError, match="column: got 'image', the data set has pixel_values"):
        TableSource(Formatted(columns, None, renamed), column="image")


# ---- Several images an item


def pairs_of(kind):
    photos = [Image.fromarray(image) for image in LAST[..., :3]]
    masks = [Image.fromarray(image) for image in LAST[..., 3]]
    if kind == "tensors":
        return [(Tensor(BANDS[place, :3]), Tensor(BANDS[place, 3])) for place in range(16)]
    if kind == "arrays":
        return [(LAST[place, ..., :3], LAST[place, ..., 3]) for place in range(16)]
    return list(zip(photos, masks))


@pytest.mark.parametrize("kind", ["photos", "arrays", "tensors"])
def test_of_photo_and_mask_the_photo_is_taken(kind):
    pairs = pairs_of(kind)
    assert np.array_equal(all_of(as_source(MapStyle(pairs))), LAST[..., :3])
    batches = list(as_source(iter(pairs)).batches_of(8))
    assert [len(batch) for batch in batches] == [8, 8]
    assert np.array_equal(np.concatenate(batches), LAST[..., :3])


def test_tuples_of_images_of_one_kind():
    """May be a batch, or an image and another: in a set read by number the first, in a stream an error; inside a tuple
    a batch."""
    twice = [(image, image) for image in LAST[..., :3]]
    assert np.array_equal(all_of(as_source(MapStyle(twice))), LAST[..., :3])
    with pytest.raises(carl.InvalidArgumentError, match="got a tuple of 2 images; want the image alone .* or a list"):
        list(as_source(iter(twice)).batches_of(4))
    batches = [(tuple(LAST[:8, ..., :3]), tuple(range(8))), (tuple(LAST[8:, ..., :3]), tuple(range(8)))]
    assert np.array_equal(np.concatenate(list(as_source(iter(batches)).batches_of(8))), LAST[..., :3])


@pytest.mark.parametrize("make", [lambda items: iter(items), MapStyle])
def test_views_of_one_image_are_an_error(make):
    items = [([image, image], 1) for image in LAST[..., :3]]
    with pytest.raises(carl.InvalidArgumentError, match="2 images with one label, which look like views of one image"):
        list(as_source(make(items)).batches_of(4))
