"""Arrays of every origin: shared without a copy where the layout allows, right where it does not, refused by name where
they cannot be had; and what comes out."""

from __future__ import annotations

import array as array_module
import ctypes

import numpy as np
import pytest

import carl
from carl import _arrays
from carl._array_like import column_items, label_values
from carl._images import pack_images
from conftest import same_state, small_model


class Interface:
    """An array by ``__array_interface__`` alone."""

    def __init__(self, array):
        self._array, self.shape, self.__array_interface__ = array, array.shape, array.__array_interface__


class Method:
    """An array by ``__array__`` alone."""

    def __init__(self, array):
        self._array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


class Packed:
    """An array by DLPack alone."""

    def __init__(self, array, device=(1, 0)):
        self._array, self._device, self.shape = array, device, array.shape

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._device


class Tensor:
    """A torch tensor, as far as the package asks."""

    class Device:
        def __init__(self, type):
            self.type = type

        def __str__(self):
            return f"{self.type}:0"

    def __init__(self, array, requires_grad=False, device="cpu", dtype=None):
        self._array, self.shape, self.ndim = array, array.shape, array.ndim
        self.requires_grad, self.device, self.dtype = requires_grad, self.Device(device), dtype or array.dtype

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (Tensor(part) for part in self._array)

    def detach(self):
        return Tensor(self._array, device=self.device.type)

    def cpu(self):
        return Tensor(self._array, self.requires_grad)

    def numpy(self):
        assert not self.requires_grad and self.device.type == "cpu"
        if "bfloat16" in str(self.dtype):
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array


WRAPPERS = {
    "numpy": lambda array: array,
    "interface": Interface,
    "method": Method,
    "dlpack": Packed,
    "buffer": lambda array: memoryview(np.ascontiguousarray(array)),
    "tensor": Tensor,
    "pinned": lambda array: Packed(array, (3, 0)),
}


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def pixels(images):
    return np.ascontiguousarray(images)


# ---- Without a copy


@pytest.mark.parametrize("kind", WRAPPERS)
def test_nothing_is_copied(kind, pixels):
    wrap = WRAPPERS[kind]
    packed = pack_images(wrap(pixels))
    assert packed.records["pixels"][0] == address(pixels)
    assert packed.records["pixels"][7] == address(pixels[7])
    assert pack_images([wrap(image) for image in pixels]).records["pixels"][5] == address(pixels[5])
    assert np.shares_memory(carl.as_source(wrap(pixels))._array, pixels)
    floats = pixels.astype(np.float32)
    assert address(_arrays.float_batch(wrap(floats), "images")) == address(floats)
    features = floats.reshape(40, -1)
    assert address(_arrays.feature_array(wrap(features), "features", ("N", "D"))) == address(features)
    labels = np.arange(40)
    assert address(_arrays.label_array(wrap(labels), "labels")) == address(labels)


def test_images_in_order_are_read_in_place(pixels, tmp_path):
    source = carl.as_source(pixels)
    part = source.read(np.arange(5, 12))
    assert address(part) == address(pixels[5]) and not part.flags.writeable and pixels.flags.writeable
    for places in ([3, 2, 1], [0, 2], [-1, 0]):
        rows = source.read(np.array(places))
        assert np.array_equal(rows, pixels[places]) and not np.shares_memory(rows, pixels)
    assert len(source.read(np.array([], np.int64))) == 0
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")  # whose file may be cut short once it was looked at
    assert not np.shares_memory(carl.as_source(mapped).read(np.arange(4)), mapped)


def test_strides_that_the_library_takes_are_not_copied(pixels):
    for name, view in {
        "every other image": pixels[::2],
        "backwards": pixels[::-1],
        "a crop": pixels[:, 2:9, 3:10],
        "every other row": pixels[:, ::2],
    }.items():
        assert pack_images(view).records["pixels"][3] == address(view[3]), name


def test_channels_in_front_of_a_tensor_in_memory_format_channels_last(pixels):
    view = pixels.transpose(0, 3, 1, 2)  # torch's memory_format=torch.channels_last
    assert pack_images(Tensor(view)).records["pixels"][0] == address(pixels)
    floats = pixels.astype(np.float32)
    assert address(_arrays.float_batch(Tensor(floats.transpose(0, 3, 1, 2)), "images")) == address(floats)


# ---- With a copy where it has to be, and the right result


@pytest.mark.parametrize("kind", ["numpy", "interface", "method", "dlpack", "tensor"])
def test_every_layout_gives_the_same_features(kind, pixels, trainer):
    wrap = WRAPPERS[kind]
    wanted = trainer.embed_images(pixels)
    wide = np.zeros((40, 24, 24, 3), np.uint8)
    wide[:, ::2, 1::2] = pixels
    for layout in (np.asfortranarray(pixels), wide[:, ::2, 1::2], pixels[:, :, ::-1].copy()[:, :, ::-1]):
        assert np.array_equal(trainer.embed_images(wrap(layout)), wanted)
    read_only = pixels.copy()
    read_only.flags.writeable = False
    if kind != "dlpack" or np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert np.array_equal(trainer.embed_images(wrap(read_only)), wanted)
    floats = (pixels / np.float32(255)).astype(np.float32)
    assert np.array_equal(trainer.embed(wrap(np.asfortranarray(floats))), trainer.embed(floats))
    features = np.asfortranarray(wanted)
    for found, right in zip(
        carl.evaluate.nearest_neighbours(wrap(features), k=3), carl.evaluate.nearest_neighbours(wanted, k=3)
    ):
        assert np.array_equal(found, right)


def test_tensors_with_channels_in_front_are_turned_everywhere(pixels, trainer, make_trainer):
    front = Tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    wanted = trainer.embed_images(pixels)
    assert np.array_equal(trainer.embed_images(front), wanted)
    assert np.array_equal(trainer.embed_images(list(front)), wanted)
    assert same_state(small_model(epochs=1).fit(front).trainer_, small_model(epochs=1).fit(pixels).trainer_)
    floats = (pixels / np.float32(255)).astype(np.float32)
    turned = Tensor(np.ascontiguousarray(floats.transpose(0, 3, 1, 2)))
    assert np.array_equal(trainer.embed(turned), trainer.embed(floats))
    first, second, third = make_trainer(), make_trainer(), make_trainer()
    first.step(front), second.step(pixels)
    assert same_state(first, second)
    first.step_views([turned, turned]), second.step_views([floats, floats])
    third.step(pixels), third.step_views(Tensor(np.stack([turned._array, turned._array])))
    assert same_state(first, second) and same_state(first, third)


@pytest.mark.parametrize("call", ["step", "embed_images", "embed", "step_views", "fit", "list"])
def test_arrays_with_channels_in_front_are_refused(call, pixels, trainer):
    front = pixels.transpose(0, 3, 1, 2)
    floats = front.astype(np.float32)
    with pytest.raises(carl.InvalidArgumentError, match=r"looks like \((B, )?C, H, W\).*transpose"):
        {
            "step": lambda: trainer.step(front),
            "embed_images": lambda: trainer.embed_images(front),
            "embed": lambda: trainer.embed(floats),
            "step_views": lambda: trainer.step_views([floats, floats]),
            "fit": lambda: small_model().fit(front),
            "list": lambda: trainer.step(list(front)),
        }[call]()


def test_views_and_prototypes_of_the_objective(views):
    rows = [view.reshape(16, -1) for view in views]
    prototypes = np.random.default_rng(0).standard_normal((6, rows[0].shape[1])).astype(np.float32)
    wanted = carl.assignment_loss(rows, prototypes)
    for wrap in (Interface, Packed, Tensor):
        found = carl.assignment_loss([wrap(row) for row in rows], wrap(np.asfortranarray(prototypes)))
        assert found.loss == wanted.loss and np.array_equal(found.grad_prototypes, wanted.grad_prototypes)
    assert carl.assignment_loss(Tensor(np.stack(rows)), prototypes).loss == wanted.loss


# ---- What cannot be had

CALLS = {
    "fit": (np.uint8, lambda value, trainer: small_model().fit(value)),
    "embed_images": (np.uint8, lambda value, trainer: trainer.embed_images(value)),
    "embed": (np.float32, lambda value, trainer: trainer.embed(value)),
    "neighbours": (np.float32, lambda value, trainer: carl.evaluate.nearest_neighbours(value)),
    "labels": (np.int64, lambda value, trainer: carl.evaluate.labelled_split(value, per_class=1)),
    "stream": (np.uint8, lambda value, trainer: small_model().fit([value, value])),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda array: Tensor(array, requires_grad=True), r"requires grad.*\.detach\(\)"),
        (lambda array: Tensor(array, device="cuda"), r"on cuda:0.*\.cpu\(\)"),
        (lambda array: Tensor(array, dtype="torch.bfloat16"), r"bfloat16.*pass \.float\(\)"),
        (lambda array: Packed(array, (2, 0)), "on a CUDA device"),
        (lambda array: np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) == 3), "masked"),
    ],
    ids=["grad", "device", "bfloat16", "dlpack device", "masked"],
)
def test_what_cannot_be_had_says_what_to_do(call, make, words, trainer):
    dtype, function = CALLS[call]
    shape = {"labels": (8,), "neighbours": (8, 4)}.get(call, (8, 12, 12, 3))
    with pytest.raises(carl.InvalidArgumentError, match=words):
        function(make(np.zeros(shape, dtype)), trainer)


def test_an_object_that_refuses():
    class Refuses:
        shape = (4, 8, 8)

        def __array__(self, dtype=None, copy=None):
            raise TypeError("Implicit conversion is not allowed")

    with pytest.raises(carl.InvalidArgumentError, match="Refuses, which cannot be had as an array: Implicit"):
        carl.as_source(Refuses())


def test_a_mask_that_hides_nothing_is_no_matter(pixels, trainer):
    assert np.array_equal(trainer.embed_images(np.ma.masked_array(pixels)), trainer.embed_images(pixels))


def test_parameters_of_a_module_are_copied_into_a_state(make_trainer):
    first, second = make_trainer(), make_trainer(seed=5)
    second.load_state_dict({key: Tensor(value, requires_grad=True) for key, value in first.state_dict().items()})
    assert same_state(first, second)


def test_bytes_are_no_array(trainer):
    for value in (b"123", bytearray(b"123")):
        with pytest.raises(carl.InvalidArgumentError, match="got byte"):
            trainer.step(value)
    flat = memoryview(bytes(12))
    with pytest.raises(carl.InvalidArgumentError, match=r"shape \(12,\)"):
        trainer.step(flat)


def test_buffers_of_other_kinds(pixels, trainer):
    raw = (ctypes.c_uint8 * pixels.size).from_buffer_copy(pixels.tobytes())
    shaped = memoryview(raw).cast("B").cast("B", pixels.shape)
    assert pack_images(shaped).records["pixels"][0] == ctypes.addressof(raw)
    assert np.array_equal(trainer.embed_images(shaped), trainer.embed_images(pixels))
    assert len(small_model(epochs=1).fit(shaped).history_) == 5
    assert _arrays.label_array(array_module.array("q", range(5)), "labels").tolist() == [0, 1, 2, 3, 4]


# ---- Labels


@pytest.mark.parametrize(
    ("labels", "kind", "first"),
    [
        (np.array(["a", "b"], object), "U", "a"),
        (np.array([3, 4], object), "i", 3),
        (np.array([True, False], object), "b", True),
        ([np.str_("a"), "b"], "U", "a"),
        (Tensor(np.array([3, 4])), "i", 3),
        (Packed(np.array([3, 4])), "i", 3),
        (np.array([3, 4], ">i2"), "i", 3),
        (range(3, 5), "i", 3),
    ],
)
def test_labels_of_every_kind(labels, kind, first):
    values = label_values(labels, "labels")
    assert values.dtype.kind == kind and values[0] == first
    classes, places = np.unique(values, return_inverse=True)
    assert len(classes) == 2 and len(carl.evaluate.labelled_split(labels, per_class=1)) == 2


@pytest.mark.parametrize("gap", [None, float("nan"), 3, 2.5])
def test_labels_of_several_kinds_name_the_first_other_one(gap):
    with pytest.raises(carl.InvalidArgumentError, match=r"labels\[1\]: got"):
        carl.evaluate.labelled_split(np.array(["a", gap, "b"], object), per_class=1)


def test_labels_that_are_ragged_or_too_large():
    with pytest.raises(carl.InvalidArgumentError, match="labels"):
        carl.evaluate.labelled_split([[1], [2, 3]], per_class=1)
    with pytest.raises(carl.InvalidArgumentError, match="64 bits"):
        carl.evaluate.labelled_split(np.array([2**70, 1], object), per_class=1)


# ---- Columns of paths


class Column:
    """A Series of pandas or polars, as far as the package asks; polars' has no ndim."""

    def __init__(self, items, ndim=1):
        self._items, self.shape = items, (len(items),) if ndim == 1 else (len(items), 1)

    def __iter__(self):
        return iter(self._items)

    def to_numpy(self):
        return np.array(self._items, object).reshape(self.shape)


class Arrow:
    """A column of pyarrow."""

    def __init__(self, items):
        self._items = items

    def to_pylist(self):
        return list(self._items)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._items, object)


def test_columns_of_paths(png_files, images):
    for given in (
        Column(png_files),
        Column(png_files, 2),
        Arrow(png_files),
        np.array(png_files)[:, None],
        np.array(png_files, object),
    ):
        source = carl.as_source(given)
        assert source.given.images == png_files
        assert np.array_equal(np.stack(list(source.read(np.arange(16)))), images[:16])


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_column_with_gaps_names_the_first(png_files, gap):
    for make in (Column, Arrow):
        with pytest.raises(carl.InvalidArgumentError, match=r"images\[1\]: is missing, in all 2 of 16"):
            carl.as_source(make([png_files[0], gap, gap, *png_files[3:]]))


def test_what_is_no_column(pixels):
    assert column_items(pixels) is None and column_items(Tensor(pixels[0])) is None
    assert column_items("text") is None and column_items(np.arange(3)) is None
    assert column_items(np.array([["a", "b"]])) is None


# ---- What comes out


def outputs(pixels, labels):
    """Whatever gives arrays, of inputs that are read only."""
    pixels = pixels.copy()
    pixels.flags.writeable = False
    model = small_model(epochs=1).fit(pixels)
    yield from ((f"transform {name}", model.transform(pixels, name)) for name in carl._c_api.OUTPUTS)
    yield "predict", model.predict(pixels)
    yield "predict_proba", model.predict_proba(pixels)
    yield "embed_images", model.trainer_.embed_images(pixels)
    yield from model.trainer_.state_dict().items()
    features = model.transform(pixels)
    features.flags.writeable = False
    neighbours = carl.evaluate.nearest_neighbours(features, k=3)
    yield from zip(("neighbours", "similarities"), neighbours)
    yield "outliers", carl.evaluate.outliers(features, k=3)
    yield "k_means", carl.evaluate.k_means(features, 3)
    yield "whitening", carl.evaluate.Whitening().fit(features).transform(features)
    yield from zip(("table", "rows", "columns"), carl.evaluate.confusion(model.predict(pixels), labels))
    yield "split", carl.evaluate.labelled_split(labels, per_class=2)
    loss = carl.assignment_loss([features, features], features[:4])
    yield from ((f"gradient {place}", value) for place, value in enumerate([*loss.grad_views, loss.grad_prototypes]))
    with carl.Classifier(model, 4) as classifier:
        yield "classes", classifier.predict(pixels)
        yield "probabilities", classifier.predict_proba(pixels)
    for place, view in enumerate(carl.make_views(pixels[:2], [{"size": 8, "count": 2}])):
        yield f"view {place}", view


def test_outputs_are_plain_arrays_of_their_own(pixels):
    pytest.importorskip("sklearn")
    found = list(outputs(pixels, np.arange(40) % 4))
    assert len(found) > 30
    for name, value in found:
        assert type(value) is np.ndarray and value.dtype.isnative, name
        assert value.flags.writeable and value.flags.c_contiguous, name
        assert not np.shares_memory(value, pixels), name
