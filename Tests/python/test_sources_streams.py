"""Iterables of batches and of single images: how many images a batch has, what the first ones decide, and what must not
be lost."""

from __future__ import annotations

import math

import numpy as np
import pytest

import carl
from carl.sources import as_source
from conftest import same_state, small_model
from test_sources_kinds import MapStyle, encoded, iter_again
from test_sources_sets import Tensor

Image = pytest.importorskip("PIL.Image")


class BatchSampler:
    """torch.utils.data.BatchSampler."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self):
        places = list(self.sampler)
        batches = [places[start : start + self.batch_size] for start in range(0, len(places), self.batch_size)]
        return iter(batches[: len(self)])

    def __len__(self):
        return (math.floor if self.drop_last else math.ceil)(len(self.sampler) / self.batch_size)


class Loader:
    """torch.utils.data.DataLoader, of tuples of tensors."""

    def __init__(self, dataset, batch_size=None, sampler=None, batch_sampler=None, drop_last=False, collate=None):
        self.dataset = dataset
        self.batch_size, self.drop_last = (batch_size, drop_last) if batch_sampler is None else (None, False)
        sampler = range(len(dataset)) if sampler is None else sampler
        self.batch_sampler = batch_sampler or BatchSampler(sampler, batch_size, drop_last)
        self.sampler = sampler if batch_sampler is None else range(len(dataset))
        self.collate = collate or (lambda items: [Tensor(np.stack([image for image, _ in items])), None])

    def __len__(self):
        return len(self.batch_sampler)

    def __iter__(self):
        return iter([self.collate([self.dataset[place] for place in places]) for places in self.batch_sampler])


@pytest.fixture
def labelled(images):
    """(image, label) pairs, of tensors (3, H, W)."""
    return MapStyle([(image.transpose(2, 0, 1), 0) for image in images])


def cut(items, size=8):
    return [items[start : start + size] for start in range(0, len(items), size)]


def rows_of(stream):
    return np.stack([image for batch in stream.batches_of(8, keep_last=True) for image in batch])


# ---- Lists of images with labels


KINDS = {
    "pairs": lambda image: (image, 0),
    "lists": lambda image: [image, 0],
    "dicts": lambda image: {"image": image, "label": 0},
    "alone": lambda image: (image,),
    "masks": lambda image: (image, image[..., 0]),
    "files": lambda image: {"__key__": "k", "png": encoded(image), "cls": b"1"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_images_with_labels_is_a_batch(images, kind):
    trained = small_model().fit(cut(images[:36]))
    rows = [KINDS[kind](image) for image in images]
    for parts in (cut(rows[:36]), [rows[:8], rows[8:9], rows[9:36]], cut(rows[:33])):
        np.testing.assert_array_equal(rows_of(as_source(parts)), images[: sum(map(len, parts))])
    model = small_model().fit(iter_again(cut(rows[:36])))
    assert same_state(model.trainer_, trained.trainer_)
    np.testing.assert_array_equal(model.transform(cut(rows)), trained.transform(cut(images)))


def test_columns_of_a_batch_stay_columns(images):
    """As of list(zip(*batch)): images in front, and masks or labels behind."""
    photos, masks = list(images), [image[..., 0] for image in images]
    for other in (masks, range(40)):
        for make in (tuple, list):
            batches = [[make(photos[:8]), make(other[:8])], [make(photos[8:]), make(other[8:])]]
            np.testing.assert_array_equal(rows_of(as_source(batches)), images)


def test_batches_of_views_are_an_error(images):
    views = Tensor(np.ascontiguousarray(images[:8].transpose(0, 3, 1, 2)))
    labels = Tensor(np.zeros(8, np.int64))
    mask = Tensor(images[:8, ..., :1].transpose(0, 3, 1, 2))
    for item in (
        [[views, views], labels],
        [views, views, labels],
        (views, views),
        [list(images[:4]), list(images[4:8])],
    ):
        with pytest.raises(carl.InvalidArgumentError, match="look like views of the same images"):
            list(as_source(iter([item])).batches_of(8))
    assert len(next(as_source(iter([[views, mask, labels]])).batches_of(8))) == 8


def test_an_item_of_a_set_that_is_a_list_of_images_is_named(images):
    class Set:
        def __len__(self):
            return 40

        def __getitem__(self, place):
            return [images[place], images[place, ..., 0]]

    with pytest.raises(carl.InvalidArgumentError, match="item 0 of the Set is a list of 2 images; .* in a tuple"):
        as_source(Set())


# ---- The batch size


def test_the_batch_size_is_the_streams_own(images, labelled):
    given = {
        "loader": Loader(labelled, 4),
        "batch sampler": Loader(labelled, batch_sampler=BatchSampler(range(40), 4)),
        "list": cut(images, 4),
        "lists": cut(list(images), 4),
        "iterable": iter_again(cut(images, 4)),
    }
    wanted = small_model(batch_size=4).fit(given["list"])
    rate = small_model(batch_size=4, learning_rate=None).fit(images).config_.learning_rate
    for name, batches in given.items():
        assert as_source(batches).batch_size == 4, name
        model = small_model(batch_size=None, learning_rate=None).fit(batches)
        assert (model.config_.batch_size, model.trainer_.step_count, model.config_.total_steps) == (4, 20, 20), name
        assert model.config_.learning_rate == rate, name
        with pytest.warns(UserWarning, match="batch_size: 16 has no effect: the batches that are given have 4 images"):
            model = small_model(batch_size=16).fit(batches)
        assert same_state(model.trainer_, wanted.trainer_), name
    assert as_source(Loader(labelled, 64)).batch_size == 40
    assert as_source(iter(list(images))).batch_size is None
    assert small_model(batch_size=5).fit(iter_again(list(images))).config_.batch_size == 5


def test_a_run_goes_on_with_batches_of_its_size(images, labelled, tmp_path):
    def stop(model, metrics):
        if metrics.step == 3:
            raise carl.StopTraining

    whole = small_model().fit(Loader(labelled, 8))
    small_model(run_dir=tmp_path, callbacks=stop).fit(Loader(labelled, 8))
    for other in (Loader(labelled, 4), cut(images, 5)):
        with pytest.raises(carl.InvalidArgumentError, match="got batches of [45], .* was made with batches of 8"):
            carl.CARL(run_dir=tmp_path, progress=False).fit(other, resume=True)
    model = carl.CARL(run_dir=tmp_path, progress=False).fit(Loader(labelled, 8), resume=True)
    assert same_state(model.trainer_, whole.trainer_)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count, drawn", [(33, 40), (40, 33), (33, 17), (40, 16), (33, 33)])
def test_steps_follow_what_a_sampler_draws(labelled, count, drawn, drop_last):
    """A last batch of one image is left out."""
    items = MapStyle(labelled.items[:count])
    places = [place % count for place in range(drawn)]
    for loader in (
        Loader(items, 8, sampler=places, drop_last=drop_last),
        Loader(items, batch_sampler=BatchSampler(places, 8, drop_last)),
    ):
        model = small_model(epochs=2).fit(loader)
        assert model.config_.total_steps == model.trainer_.step_count == 2 * (drawn // 8)


def test_three_gray_images_of_a_loader_are_a_batch(images):
    gray = np.ascontiguousarray(images[..., 0])
    loader = Loader(MapStyle([(image, 0) for image in gray]), 3)
    source = as_source(loader)
    assert (source.channels, source.side, source.batch_size) == (1, 12, 3)
    batches = list(source.batches_of(8))
    assert [len(batch) for batch in batches] == [3] * 13 + [1]
    np.testing.assert_array_equal(np.concatenate(batches).squeeze(), gray)


# ---- What the first images decide


def coloured(images, kind):
    """The images, of which the first is gray."""
    if kind == "arrays":
        return [images[0, ..., 0], *images[1:]]
    photos = [Image.fromarray(images[0, ..., 0]), *(Image.fromarray(image) for image in images[1:])]
    return photos if kind == "photos" else [encoded(np.asarray(photo)) for photo in photos]


@pytest.mark.parametrize("kind", ["arrays", "photos", "files"])
def test_a_gray_image_in_front_does_not_make_the_others_gray(images, kind):
    items = coloured(images, kind)
    wanted = np.concatenate([np.repeat(images[:1, ..., :1], 3, axis=3), images[1:]])
    for given in (items, cut(items, 1), cut(items, 4), [items[:1], items[1:]]):
        for channels in (None, 3):
            stream = as_source(iter(given), channels)
            assert stream.channels == 3
            np.testing.assert_array_equal(rows_of(stream), wanted)
    np.testing.assert_array_equal(rows_of(as_source(iter(items))), wanted)  # of one that was not looked at before
    model = small_model(epochs=1).fit(iter_again(items))
    assert model.in_channels_ == 3 and same_state(model.trainer_, small_model(epochs=1).fit(cut(wanted)).trainer_)


def test_a_small_image_in_front_does_not_decide_the_size(images):
    items = [images[0, :5, :5], *images[1:]]
    stream = as_source(iter(items))
    assert stream.side == 12 and len(stream.probe()) == 16 and len(stream.probe(3)) == 3
    assert [image.shape for image in stream] == [image.shape for image in items]  # none is lost
    model = small_model(epochs=1, view_size=None).fit(iter_again(items))
    assert model.config_.view_size == 12 and model.trainer_.step_count == 5


def test_an_iterable_that_fails_is_begun_again(images):
    class Fails:
        fails = True

        def __iter__(self):
            for place, image in enumerate(images):
                if place == 5 and self.fails:
                    raise OSError("mine")
                yield image

    given = Fails()
    source = as_source(given)
    with pytest.raises(OSError, match="mine"):
        small_model(epochs=1).fit(source)
    given.fails = False
    assert len(rows_of(source)) == 40


# ---- Broken images in front


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("keyed", [False, True])
def test_broken_images_are_left_out_wherever_they_are(images, place, keyed):
    files = [encoded(image) for image in images]
    files[place] = b"broken"
    items = [{"__key__": f"k{number}", "png": file} for number, file in enumerate(files)] if keyed else files
    for settings in ({}, {"in_channels": 3}, {"in_channels": 3, "view_size": 12}):
        model = small_model(epochs=2, max_broken=0.1, **settings).fit(iter_again(items))
        assert list(model.broken_images_) == [f"k{place}" if keyed else f"image {place} of the stream"]
        good = [image for number, image in enumerate(images) if number != place]
        wanted = small_model(epochs=2, total_steps=model.config_.total_steps, **settings).fit(iter_again(good))
        assert same_state(model.trainer_, wanted.trainer_)
    with pytest.raises(carl.FileError, match=f"k{place}:" if keyed else f"image {place} of the stream"):
        small_model(on_error="raise").fit(iter_again(items))


def test_if_all_are_broken_one_is_named():
    with pytest.raises(carl.FileError, match="cannot read k0:"):
        small_model().fit(iter_again([{"__key__": f"k{number}", "png": b"broken"} for number in range(20)]))
