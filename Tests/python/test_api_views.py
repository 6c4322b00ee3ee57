"""carl.make_views as its user sees it, and what it does with careless input, from Python and through the C
interface."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from PIL import Image, ImageOps

import carl
from carl._c_api import LIB, pointers
from carl._images import pack_images

OK, ARGUMENT, CONFIG = 0, 1, 3
PLAIN = {"size": 16, "scale": [1, 1], "ratio": [1, 1], "flip": 0, "jitter_p": 0, "mean": [0], "std": [1]}


@pytest.fixture
def photos() -> np.ndarray:
    """uint8 (6, 24, 24, 3), smooth."""
    y, x = np.mgrid[:24, :24] / 23
    waves = [np.sin(3 * x + i) * np.cos(2 * y - i) for i in range(18)]
    return (np.stack(waves, -1).reshape(24, 24, 6, 3).transpose(2, 0, 1, 3) * 120 + 128).astype(np.uint8)


def as_bytes(view: np.ndarray) -> np.ndarray:
    return view * 255


# ---- Against Pillow, through the public interface


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [9, 16, 24, 40])
def test_resize_is_pillows(photos, interpolation, size):
    got = as_bytes(carl.make_views(photos, {**PLAIN, "size": size, "interpolation": interpolation})[0])
    resample = getattr(Image.Resampling, interpolation.upper())
    wanted = np.stack([np.asarray(Image.fromarray(photo).resize((size, size), resample)) for photo in photos])
    # Pillow rounds to bytes after each of its two passes.
    assert np.abs(got - wanted).max() <= 1.1


def test_each_operation_is_pillows(photos):
    same = {**PLAIN, "size": 24}
    images = [Image.fromarray(photo) for photo in photos]

    def check(changes, operation, tolerance):
        got = as_bytes(carl.make_views(photos, {**same, **changes})[0])
        assert np.abs(got - np.stack([np.asarray(operation(image)) for image in images])).max() <= tolerance

    check({}, lambda image: image, 1e-3)
    check({"flip": 1}, ImageOps.mirror, 1e-3)
    check({"gray": 1}, lambda image: image.convert("L").convert("RGB"), 0.6)
    check({"solarize": 1}, lambda image: ImageOps.solarize(image, 128), 1e-3)
    check(
        {"flip": 1, "gray": 1, "solarize": 1},
        lambda image: ImageOps.solarize(ImageOps.mirror(image).convert("L").convert("RGB"), 128),
        256,
    )


def test_normalisation_and_channels(photos):
    plain = carl.make_views(photos, {**PLAIN, "size": 24})[0]
    normal = carl.make_views(photos, {**PLAIN, "size": 24, "mean": [0.1, 0.2, 0.3], "std": [0.5, 1, 2]})[0]
    assert np.allclose(normal, (plain - [0.1, 0.2, 0.3]) / [0.5, 1, 2], atol=1e-5)
    default = carl.make_views(photos, {k: v for k, v in {**PLAIN, "size": 24}.items() if k not in ("mean", "std")})[0]
    assert np.allclose(default, (plain - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], atol=1e-5)
    # Colour operations leave images of other than three channels alone; all else is the same for each channel.
    colour = {**PLAIN, "jitter": [0, 0, 0.9, 0.5], "jitter_p": 1, "gray": 1}
    for channels in (1, 2, 4, 7):
        many = np.repeat(photos[..., :1], channels, -1)
        views = carl.make_views(many, [{**PLAIN, "blur_p": 1}, {**colour, "blur_p": 1}])
        assert views[0].shape == (6, 16, 16, channels)
        assert np.array_equal(views[0][..., :1].repeat(channels, -1), views[0])
        assert np.array_equal(carl.make_views(many, PLAIN)[0], carl.make_views(many, colour)[0])


def test_global_and_local_crops(photos):
    spec = [{"size": 24, "count": 2, "scale": [0.5, 1]}, {"size": 8, "count": 6, "scale": [0.05, 0.2]}]
    views = carl.make_views(photos, spec, seed=4)
    assert [view.shape for view in views] == [(6, 24, 24, 3)] * 2 + [(6, 8, 8, 3)] * 6
    assert carl.view_sizes(spec) == [24] * 2 + [8] * 6
    assert len({view.tobytes() for view in views[2:]}) == 6
    assert [v.shape[1] for v in carl.make_views(photos, "multicrop")] == carl.view_sizes("multicrop")


def test_kernel_of_the_blur(photos):
    spec = {**PLAIN, "size": 24, "blur_p": 1, "blur": [1.5, 1.5]}
    narrow, wide = (carl.make_views(photos, {**spec, "blur_kernel": k})[0] for k in (3, 13))
    assert np.abs(np.diff(wide, axis=1)).mean() < np.abs(np.diff(narrow, axis=1)).mean()
    assert np.array_equal(narrow, carl.make_views(photos, spec)[0]), "a tenth of 24 pixels, at least 3"
    assert np.array_equal(
        carl.make_views(photos, {**spec, "blur_kernel": 1})[0], carl.make_views(photos, {**PLAIN, "size": 24})[0]
    )
    with carl.Trainer(width=0.125, prototypes=4, views=[{**spec, "count": 2, "blur_kernel": 5}]) as trainer:
        assert trainer.config.views[0]["blur_kernel"] == 5


# ---- What a view depends on, and what it is read from


def test_threads_order_and_neighbours_do_not_matter(photos):
    spec = "multicrop"
    views = carl.make_views(photos, spec, 3, epoch=7, threads=1)
    for threads in (2, 5, 64):
        assert all(
            np.array_equal(a, b) for a, b in zip(views, carl.make_views(photos, spec, 3, epoch=7, threads=threads))
        )
    part = carl.make_views([photos[4], photos[1]], spec, 3, epoch=7, indices=[4, 1])
    assert all(np.array_equal(a[[4, 1]], b) for a, b in zip(views, part))
    results = [None] * 4

    def work(place):
        results[place] = carl.make_views(photos, spec, 3, epoch=7)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all(np.array_equal(a, b) for result in results for a, b in zip(views, result))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:, ::-1],
        lambda a: a[:, :, ::-1],
        lambda a: a[::-1],
        lambda a: a[:, ::2],
        lambda a: a[:, :, ::2],
        lambda a: a[..., ::-1],
        lambda a: a[:, 3:20, 5:19],
        lambda a: a[..., 1:2],
        lambda a: a[..., 1],
        lambda a: a.transpose(0, 2, 1, 3),
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a[:1],
        lambda a: list(a[:, 1:, 2:]),
        lambda a: [a[0], a[1][5:9], a[2][:, :1], a[3][::-1]],
        lambda a: a[:, 4, :, :1],
    ],
)
def test_any_strides_are_read_right(photos, change):
    spec = {"size": 11, "jitter": [0.4, 0.4, 0.4, 0.1], "gray": 0.3, "blur_p": 0.5, "count": 2}
    images = change(photos)
    copies = [np.ascontiguousarray(image) for image in images]
    got, wanted = carl.make_views(images, spec, 2), carl.make_views(copies, spec, 2)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted))


# ---- Careless input


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "images: got an empty list"),
        (np.zeros((0, 8, 8, 3), np.uint8), "empty"),
        (np.zeros((2, 0, 8, 3), np.uint8), "empty"),
        (np.zeros((2, 8, 8, 0), np.uint8), "empty"),
        (np.zeros((2, 8, 8, 3), np.float32), "dtype float32"),
        (np.zeros((2, 8, 8, 3), np.int64), "dtype int64"),
        (np.zeros((2, 8, 8, 3), bool), "dtype bool"),
        (np.zeros((2, 8, 8, 3), object), "dtype object"),
        (np.zeros((2, 8), np.uint8), "shape"),
        (np.zeros((8, 8, 3), np.uint8), r"as image\[None\]"),
        (np.zeros((2, 3, 9, 9), np.uint8), "transpose"),
        (np.zeros((1, 1, 70000, 3), np.uint8), "65535"),
        (np.zeros((1, 2, 2, 1025), np.uint8), "1024"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.uint8)], r"images\[1\].*channel"),
        ([np.zeros((8, 8, 3), np.uint8), None], r"images\[1\]"),
        ([[1, 2], [3, 4]], r"images\[0\]"),
        (None, "images: got NoneType"),
        (3, "images"),
        ("folder", "images: got str"),
        (b"x", "images"),
        ({}, "images"),
    ],
)
def test_bad_images(images, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        carl.make_views(images, {"size": 8})


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": 4097}, "size"),
        ({"size": 1e300}, "size"),
        ({"size": 8.5}, "size"),
        ({"size": "8"}, "size"),
        ({"size": True}, "size"),
        ({"count": 0}, "count"),
        ({"count": 65}, "count"),
        ({"scale": [NAN, 1]}, "spec"),
        ({"scale": [INFINITY, 1]}, "spec"),
        ({"blur": [0.1, NAN]}, "spec"),
        ({"jitter": [NAN] * 4}, "spec"),
        ({"scale": [1, 0.5]}, "scale"),
        ({"scale": [0, 1]}, "scale"),
        ({"scale": [0.5, 1.5]}, "scale"),
        ({"scale": [-1, 1]}, "scale"),
        ({"scale": 0.5}, "scale"),
        ({"scale": []}, "scale"),
        ({"scale": [0.5, "1"]}, "scale"),
        ({"scale": [[0.5, 1]]}, "scale"),
        ({"ratio": [2, 1]}, "ratio"),
        ({"ratio": [0, 1]}, "ratio"),
        ({"ratio": [1, 1e300]}, "ratio"),
        ({"interpolation": "nearest"}, "bicubic"),
        ({"interpolation": 1}, "interpolation"),
        ({"flip": 2}, "flip"),
        ({"flip": -0.1}, "flip"),
        ({"flip": NAN}, "spec"),
        ({"jitter_p": 1.1}, "jitter_p"),
        ({"gray": "yes"}, "gray"),
        ({"jitter": [0.1, 0.1, 0.1]}, "jitter"),
        ({"jitter": [0, 0, 0, 0.6]}, "hue"),
        ({"jitter": [-1, 0, 0, 0]}, "jitter"),
        ({"blur": [2, 1]}, "blur"),
        ({"blur": [0, 1]}, "blur"),
        ({"blur_p": -1}, "blur_p"),
        ({"solarize": 3}, "solarize"),
        ({"blur_kernel": 4}, "blur_kernel.*odd"),
        ({"blur_kernel": 0}, "blur_kernel"),
        ({"blur_kernel": 10001}, "blur_kernel"),
        ({"mean": [0, 0]}, "mean"),
        ({"std": [0]}, "std"),
        ({"std": [1, 1, 1, 1]}, "std"),
        ({"std": []}, "std"),
        ({"flop": 1}, "flip"),
        ([], "views"),
        ([{}] * 65, "views"),
        ([3], "views"),
        ([[]], "views"),
        ("", "preset"),
        ("simcrl", "simclr"),
        ({"size": {1, 2}}, "spec"),
        ({1: 2}, "1"),
        ("a\0b", "spec|preset"),
    ],
)
def test_bad_specifications(photos, spec, words):
    if isinstance(spec, dict):
        spec = {"size": 8, **spec}
    with pytest.raises(carl.ConfigurationError, match=words):
        carl.make_views(photos, spec)


@pytest.mark.parametrize("spec", [None, 3, 0.5, b"simclr", object(), np.zeros(3)])
def test_a_specification_of_another_type(photos, spec):
    with pytest.raises(carl.InvalidArgumentError, match="spec"):
        carl.make_views(photos, spec)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": None}, "seed"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**24}, "epoch"),
        ({"indices": [0]}, "indices"),
        ({"indices": [-1] * 6}, "indices"),
        ({"indices": [0.5] * 6}, "indices"),
        ({"indices": np.zeros((6, 1), int)}, "indices"),
        ({"threads": 0}, "threads"),
        ({"threads": 1025}, "threads"),
        ({"threads": -3}, "threads"),
    ],
)
def test_bad_numbers(photos, options, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        carl.make_views(photos, {"size": 8}, **options)


def test_extreme_but_valid(photos):
    everything = {
        "jitter": [10, 10, 10, 0.5],
        "jitter_p": 1,
        "blur": [1e-3, 1e3],
        "blur_p": 1,
        "blur_kernel": 8191,
        "solarize": 0.5,
        "gray": 0.5,
    }
    for image in (
        photos[:, :1, :1],
        photos[:, :1],
        photos[:, :, :1],
        np.zeros((2, 1, 65535, 1), np.uint8),
        np.zeros((1, 65535, 2, 3), np.uint8),
    ):
        for size in (1, 2, 9):
            for view in carl.make_views(
                image, {"size": size, "scale": [1e-6, 1], "ratio": [1e-3, 1e3], "count": 3, **everything}
            ):
                assert np.isfinite(view).all() and np.abs(view).max() < 3
    assert carl.make_views(photos[:1, :2, :2], {"size": 4096, "blur_p": 1})[0].shape == (1, 4096, 4096, 3)
    assert np.isfinite(
        carl.make_views(photos, {"size": 8}, 2**64 - 1, epoch=2**24 - 1, indices=np.full(6, 2**40 - 1))[0]
    ).all()


def test_places_that_would_be_those_of_others_are_refused(photos, make_trainer):
    """Views are drawn by 40 bits of an image's place and 8 of the view's."""
    with pytest.raises(carl.InvalidArgumentError, match=r"indices\[5\]: got 1099511627776, want 0 to 1099511627775"):
        carl.make_views(photos, {"size": 8}, indices=np.array([0, 1, 2, 3, 4, 2**40]))
    with pytest.raises(carl.InvalidArgumentError, match=r"indices\[0\]: got"):
        make_trainer().step(photos, indices=np.full(6, 2**40))
    with pytest.raises(carl.InvalidArgumentError, match="makes 257 views, at most 256"):
        carl.make_views(photos[:1], [{"size": 1, "count": 64}] * 4 + [{"size": 1}])


def test_careless_c_calls(photos):
    packed = pack_images(photos)
    out = np.empty((6, 8, 8, 3), np.float32)
    good = dict(
        images=packed.address,
        count=6,
        spec=b'{"size": 8}',
        seed=0,
        epoch=0,
        indices=None,
        threads=1,
        out=pointers([out]),
        room=(ctypes.c_size_t * 1)(out.size),
        views=1,
    )

    def call(**changes):
        return LIB.carl_make_views(*{**good, **changes}.values())

    assert call() == OK
    for changes, status, words in [
        ({"images": None}, ARGUMENT, "images"),
        ({"count": 0}, ARGUMENT, "count"),
        ({"count": 2**63}, ARGUMENT, "count"),
        ({"spec": None}, ARGUMENT, "spec_json"),
        ({"spec": b""}, CONFIG, ""),
        ({"spec": b"{"}, CONFIG, ""),
        ({"spec": b'{"size": NaN}'}, CONFIG, ""),
        ({"spec": b"\xff\xfe"}, ARGUMENT, "UTF-8"),
        ({"spec": b"null"}, CONFIG, "views"),
        ({"spec": b'{"size": 1e999}'}, CONFIG, ""),
        ({"spec": b"[" * 100_000}, CONFIG, ""),
        ({"spec": b'{"size": 8, "scale": [1e-320, 1]}'}, CONFIG, "scale"),
        ({"epoch": 2**24}, ARGUMENT, "epoch"),
        ({"threads": -1}, ARGUMENT, "threads"),
        ({"threads": 1025}, ARGUMENT, "threads"),
        ({"threads": -(2**31)}, ARGUMENT, "threads"),
        ({"out": None}, ARGUMENT, "out"),
        ({"out": (ctypes.c_void_p * 1)()}, ARGUMENT, r"out[0]"),
        ({"room": None}, ARGUMENT, "out_counts"),
        ({"room": (ctypes.c_size_t * 1)(out.size - 1)}, ARGUMENT, "out_counts[0]"),
        ({"room": (ctypes.c_size_t * 1)(2**64 - 1)}, ARGUMENT, "out_counts[0]"),
        ({"views": 0}, ARGUMENT, "out_views"),
        ({"views": 2}, ARGUMENT, "out_views"),
        ({"views": 2**63}, ARGUMENT, "out_views"),
    ]:
        assert call(**changes) == status, changes
        assert words in LIB.carl_last_error().decode(), changes
    for field, value in [
        ("pixels", 0),
        ("height", 0),
        ("height", -5),
        ("height", 65536),
        ("width", 0),
        ("width", 2**31 - 1),
        ("channels", 0),
        ("channels", 1025),
        ("channels", -1),
        ("channels", 4),
        ("reserved", 1),
        ("row_stride", 0),
        ("row_stride", 71),
        ("row_stride", -71),
        ("row_stride", 2**63 - 1),
        ("row_stride", -(2**63)),
    ]:
        wrong = pack_images(photos)
        wrong.records[field][2] = value
        assert call(images=wrong.address) == ARGUMENT, (field, value)
        assert f"images[2].{field}" in LIB.carl_last_error().decode(), (field, value, LIB.carl_last_error())
    views, sizes = ctypes.c_size_t(0), (ctypes.c_int32 * 2)()
    assert LIB.carl_views_describe(None, 3, None, 0, ctypes.byref(views)) == ARGUMENT
    assert LIB.carl_views_describe(b"{}", 3, None, 0, None) == ARGUMENT
    assert LIB.carl_views_describe(b'{"count": 3}', 3, sizes, 2, ctypes.byref(views)) == ARGUMENT
    for channels in (0, -1, 1025, -(2**31)):
        assert LIB.carl_views_describe(b"{}", channels, None, 0, ctypes.byref(views)) == ARGUMENT
