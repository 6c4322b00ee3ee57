"""Tensors of torch and columns of pandas, polars and Arrow, where the packages are there."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl import _arrays
from carl._images import pack_images
from conftest import same_state, small_model


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


# ---- torch


def test_tensors_are_not_copied(images, torch):
    tensor = torch.from_numpy(images)
    assert pack_images(tensor).records["pixels"][0] == tensor.data_ptr()
    front = tensor.permute(0, 3, 1, 2)
    assert front.is_contiguous(memory_format=torch.channels_last)
    assert pack_images(front).records["pixels"][0] == tensor.data_ptr()
    assert carl.as_source(front)._array.ctypes.data == tensor.data_ptr()
    floats = front.float().contiguous(memory_format=torch.channels_last)
    assert _arrays.float_batch(floats, "images").ctypes.data == floats.data_ptr()
    features = torch.randn(10, 4)
    assert _arrays.feature_array(features, "features", ("N", "D")).ctypes.data == features.data_ptr()
    labels = torch.arange(10)
    assert _arrays.label_array(labels, "labels").ctypes.data == labels.data_ptr()


def test_tensors_train_and_embed_as_arrays_do(images, torch, trainer):
    tensor = torch.from_numpy(images)
    wanted = trainer.embed_images(images)
    for each in (tensor, tensor.permute(0, 3, 1, 2), tensor.permute(0, 3, 1, 2).contiguous(), list(tensor)):
        assert np.array_equal(trainer.embed_images(each), wanted)
    front = tensor.permute(0, 3, 1, 2).contiguous()
    assert same_state(small_model(epochs=1).fit(front).trainer_, small_model(epochs=1).fit(images).trainer_)
    floats = images.astype(np.float32) / 255
    given = torch.from_numpy(floats).permute(0, 3, 1, 2).contiguous()
    assert np.array_equal(trainer.embed(given), trainer.embed(floats))
    assert np.array_equal(trainer.embed(given[::2]), trainer.embed(floats[::2]))
    halves = torch.from_numpy(wanted).half()
    assert np.array_equal(
        carl.evaluate.nearest_neighbours(halves, k=3)[0], carl.evaluate.nearest_neighbours(halves.numpy(), k=3)[0]
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tensor, torch: tensor.float().requires_grad_(), r"requires grad.*\.detach\(\)"),
        (lambda tensor, torch: tensor.to("meta"), "on meta"),
        (lambda tensor, torch: tensor.bfloat16(), r"bfloat16.*\.float\(\)"),
        (lambda tensor, torch: tensor.float().to_sparse(), "cannot share"),
    ],
    ids=["grad", "device", "bfloat16", "sparse"],
)
def test_tensors_that_cannot_be_had(images, torch, trainer, make, words):
    tensor = make(torch.from_numpy(images[:8]), torch)
    for call in (trainer.embed_images, trainer.embed, small_model().fit):
        with pytest.raises(carl.InvalidArgumentError, match=words):
            call(tensor)


def test_outputs_are_taken_by_torch(images, torch, trainer):
    for array in (
        trainer.embed_images(images),
        small_model(epochs=1).fit(images).predict(images),
        *trainer.state_dict().values(),
        *carl.evaluate.nearest_neighbours(trainer.embed_images(images), k=3),
    ):
        tensor = torch.from_numpy(array)
        tensor.zero_()
        assert not array.any()


def test_a_module_s_parameters_are_a_state(torch, trainer, make_trainer):
    state = {key: torch.nn.Parameter(torch.from_numpy(value)) for key, value in trainer.state_dict().items()}
    other = make_trainer(seed=8)
    other.load_state_dict(state)
    assert same_state(other, trainer)


# ---- Columns


def columns(kind, items):
    if kind == "pyarrow":
        return pytest.importorskip("pyarrow").array(items)
    if kind == "polars":
        return pytest.importorskip("polars").Series("path", items)
    pandas = pytest.importorskip("pandas")
    if kind == "frame":
        return pandas.DataFrame({"path": items})
    if kind == "string":
        return pandas.Series(items, dtype="string")
    if kind == "categories":
        return pandas.Series(items).astype("category")
    return pandas.Series(items, index=[7 * place for place in range(len(items))])


KINDS = ["pandas", "string", "categories", "frame", "polars", "pyarrow"]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_paths(png_files, images, kind):
    source = carl.as_source(columns(kind, png_files))
    assert source.given.images == png_files
    assert np.array_equal(np.stack(list(source.read(np.arange(16)))), images[:16])
    gaps = columns(kind, [png_files[0], None, *png_files[2:]])
    with pytest.raises(carl.InvalidArgumentError, match=r"images\[1\]: is missing"):
        carl.as_source(gaps)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "frame"])
@pytest.mark.parametrize("items", [["a", "b", "a", "b"], [3, 5, 3, 5], [True, False, True, False]], ids=str)
def test_columns_of_labels(kind, items):
    if kind == "string" and not isinstance(items[0], str):
        items = [str(item) for item in items]
    column = columns(kind, items)
    assert np.array_equal(
        carl.evaluate.labelled_split(column, per_class=1), carl.evaluate.labelled_split(items, per_class=1)
    )
    values = np.asarray(items)
    found = carl.evaluate.splits.encode_labels(column, "labels")[0]
    assert found.dtype.kind == values.dtype.kind and found.tolist() == np.unique(values).tolist()


def test_integers_with_gaps_are_refused_and_without_taken():
    pandas = pytest.importorskip("pandas")
    taken = pandas.Series([1, 2, 1, 2], dtype="Int64")
    assert len(carl.evaluate.labelled_split(taken, per_class=1)) == 2
    for column in (pandas.Series([1, None, 1, 2], dtype="Int64"), pandas.Series([1, None, 1, 2])):
        with pytest.raises(carl.InvalidArgumentError, match="labels"):
            carl.evaluate.labelled_split(column, per_class=1)


def test_a_table_of_features(trainer, images):
    pandas = pytest.importorskip("pandas")
    features = trainer.embed_images(images)
    frame = pandas.DataFrame(features)
    assert np.array_equal(
        carl.evaluate.nearest_neighbours(frame, k=3)[0], carl.evaluate.nearest_neighbours(features, k=3)[0]
    )


def test_features_keep_the_index_of_their_paths(png_files):
    pandas = pytest.importorskip("pandas")
    paths = columns("pandas", png_files)
    model = small_model(epochs=1).fit(paths).set_output(transform="pandas")
    table = model.transform(paths)
    assert isinstance(table, pandas.DataFrame) and list(table.index) == list(paths.index)
    assert list(table.columns) == list(model.get_feature_names_out())
    assert list(model.transform(png_files).index) == list(range(16))
