"""Images in plots are those that embedding takes: tensors, lists and Pillow's too; bytes alone."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl import plots
from test_arrays import Tensor

pytest.importorskip("matplotlib")

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 10, 3), np.uint8)
GRAY = PIXELS[..., 0]
FEATURES = np.random.default_rng(1).standard_normal((12, 4))


def pillow(pixels):
    image = pytest.importorskip("PIL.Image")
    return [image.fromarray(each) for each in pixels]


def objects(pixels):
    column = np.empty(len(pixels), object)
    column[:] = list(pixels)
    return column


COLOUR_FORMS = {
    "array": lambda: PIXELS,
    "strided": lambda: np.repeat(PIXELS, 2, axis=2)[:, :, ::2],
    "list": lambda: list(PIXELS),
    "objects": lambda: objects(PIXELS),
    "tensor": lambda: Tensor(PIXELS.transpose(0, 3, 1, 2)),
    "tensor, channels last": lambda: Tensor(PIXELS),
    "tensors": lambda: [Tensor(each) for each in PIXELS.transpose(0, 3, 1, 2)],
    "pillow": lambda: pillow(PIXELS),
}
GRAY_FORMS = {
    "array": lambda: GRAY,
    "with a channel": lambda: GRAY[..., None],
    "tensor": lambda: Tensor(GRAY),
    "tensor with a channel": lambda: Tensor(GRAY[:, None]),
    "pillow": lambda: pillow(GRAY),
}
PLOTS = {
    "gallery": lambda images: plots.gallery(images, FEATURES, [1], 3),
    "neighbours": lambda images: plots.neighbours(images, FEATURES, [5], 2),
    "views": lambda images: plots.views(images, {"size": 8}),
    "contact_sheet": lambda images: plots.contact_sheet([plots.SheetRow(one(images), [one(images)], [1.0])]),
}


def one(images):
    """The image in front, as it is in the batch."""
    return Tensor(images.numpy()[0]) if isinstance(images, Tensor) else images[0]


def drawn(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


@pytest.mark.parametrize(
    ("plot", "form"),  # views are made of arrays and lists
    [(plot, form) for plot in PLOTS for form in COLOUR_FORMS if (plot, form) != ("views", "objects")],
)
def test_colour_images_of_any_form(plot, form):
    for found, wanted in zip(drawn(PLOTS[plot](COLOUR_FORMS[form]())), drawn(PLOTS[plot](PIXELS)), strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.shape[:2] == (9, 10) or plot == "views"


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("form", GRAY_FORMS)
def test_gray_images_of_any_form(plot, form):
    for found, wanted in zip(drawn(PLOTS[plot](GRAY_FORMS[form]())), drawn(PLOTS[plot](GRAY)), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (GRAY / 255, "got dtype float64, want uint8"),
        ((GRAY / 255).astype(np.float32), "got dtype float32, want uint8"),
        (list((PIXELS / 255).astype(np.float32)), "got dtype float32, want uint8"),
        (PIXELS.transpose(0, 3, 1, 2), "channels last"),
    ],
    ids=["float64", "float32", "list", "channels in front"],
)
def test_images_that_embedding_refuses(plot, images, words):
    with pytest.raises(carl.InvalidArgumentError, match=rf"^(images|rows\[0\]\.image)\S*: .*{words}"):
        PLOTS[plot](images)


def test_one_image_is_no_batch():
    with pytest.raises(carl.InvalidArgumentError, match="looks like one colour image"):
        plots.gallery(PIXELS[0], np.ones((9, 2)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.gallery(PIXELS, FEATURES, nearest=0), "nearest: got 0, want at least 1"),
        (lambda: plots.gallery(PIXELS, FEATURES, nearest=2.5), "nearest: got 2.5, want an integer"),
        (lambda: plots.gallery(PIXELS, FEATURES, 4.5), "prototypes: got 4.5, want a whole number, or several"),
        (lambda: plots.gallery(PIXELS, FEATURES, None), "prototypes: got None"),
        (lambda: plots.gallery(PIXELS, FEATURES, np.array(0)), "prototypes: got 0, want at least 1"),
        (lambda: plots.gallery(PIXELS, FEATURES, [[0, 1]]), "prototypes: got"),
        (lambda: plots.neighbours(PIXELS, FEATURES, 2.5), "queries: got 2.5, want a whole number, or several"),
        (lambda: plots.neighbours(PIXELS, FEATURES, seed=-1), "seed: got -1"),
        (lambda: plots.neighbours(PIXELS, FEATURES, k=2.5), "k: got 2.5, want an integer"),
        (lambda: plots.neighbours(PIXELS, 1e200 * FEATURES), "features: .*beyond float32"),
        (lambda: plots.embedding_map(FEATURES, seed=-1), "seed: got -1"),
        (lambda: plots.project(FEATURES, seed=-1), "seed: got -1"),
        (lambda: plots.project(1e-200 * FEATURES), "features: .*0 as float32"),
        (
            lambda: plots.embedding_map(FEATURES, points=np.zeros((12, 3))),
            r"points: got shape \(12, 3\), want \(12, 2\)",
        ),
        (lambda: plots.embedding_map(FEATURES, points=np.zeros(12)), r"points: got shape \(12,\)"),
        (lambda: plots.embedding_map([[1, 2], [3]]), "features: want numbers"),
    ],
)
def test_wrong_numbers_are_named(call, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        call()


def test_features_of_torch():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(FEATURES)
    np.testing.assert_array_equal(plots.project(tensor), plots.project(FEATURES))
    for wrong, words in ((tensor.requires_grad_(), r"requires grad.*\.detach\(\)"), (tensor.bfloat16(), "bfloat16")):
        for call in (plots.embedding_map, lambda x: plots.gallery(PIXELS, x), lambda x: plots.neighbours(PIXELS, x)):
            with pytest.raises(carl.InvalidArgumentError, match=f"^(features|logits): .*{words}"):
                call(wrong)


def test_a_number_may_be_an_array_of_no_dimensions():
    assert len(drawn(plots.gallery(PIXELS, FEATURES, np.array(2), 1))) == 2
    assert len(drawn(plots.neighbours(PIXELS, FEATURES, np.int64(3), 1))) == 6
