"""Pixels that are no bytes: one rule for files, arrays, archives, data sets and streams."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest

import carl
from carl.cli import main
from carl.sources import BatchStream, as_source
from carl.sources.order import evenly_spaced
from conftest import run_python, small_model
from test_sources_kinds import write_tar

Image = pytest.importorskip("PIL.Image")

#: A ramp of bytes, and the same as other types, with the value_range that gives it back.
RAMP = (np.arange(256, dtype=np.uint8).reshape(16, 16) + np.arange(4, dtype=np.uint8)[:, None, None]).copy()
FORMS = {
    "float32": (RAMP.astype(np.float32) / 255, (0, 1)),
    "float64": (RAMP.astype(np.float64) * 2 - 255, (-255, 255)),
    "uint16": (RAMP.astype(np.uint16) * 16, (0, 4080)),
    "int16": (RAMP.astype(np.int16) * 4 - 500, (-500, 520)),
    "int32": (RAMP.astype(np.int32) * 1000, (0, 255_000)),
}


def tiff(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "TIFF")
    return file.getvalue()


def given_as(array: np.ndarray, form: str, folder):
    """Images as each kind of source has them."""
    if form == "array":
        return array
    if form == "list":
        return list(array)
    if form == "npy":
        np.save(folder / "x.npy", array)
        return folder / "x.npy"
    if form == "npz":
        np.savez_compressed(folder / "x.npz", images=array)
        return folder / "x.npz"
    if form == "set":
        return [(image, 0) for image in array]
    if form == "stream":
        return (part for part in (array[:2], array[2:]))
    if form == "folder":
        (folder / "images").mkdir()
        for place, image in enumerate(array):
            (folder / "images" / f"{place}.tif").write_bytes(tiff(image))
        return folder / "images"
    if form == "tar":
        return write_tar(folder / "x.tar", {f"{place}.tif": tiff(image) for place, image in enumerate(array)})
    if form == "pillow":
        return [Image.fromarray(image) for image in array]
    raise AssertionError(form)


ARRAYS = ("array", "list", "npy", "npz", "set", "stream")
FILES = ("folder", "tar", "pillow")


def pixels(source) -> np.ndarray:
    if isinstance(source, BatchStream):
        images = [image for batch in source.batches_of(2) for image in batch]
    else:
        images = list(source.read(np.arange(len(source))))
    return np.stack([np.asarray(image).reshape(16, 16) for image in images])


@pytest.mark.parametrize(
    "dtype, form",
    [(dtype, form) for dtype in FORMS for form in (*ARRAYS, *FILES) if form in ARRAYS or dtype in ("float32", "int32")],
)
def test_a_value_range_gives_the_same_bytes_whatever_the_images_come_as(tmp_path, dtype, form):
    array, limits = FORMS[dtype]
    found = pixels(as_source(given_as(array, form, tmp_path), value_range=limits))
    assert found.dtype == np.uint8 and np.array_equal(found, RAMP)


@pytest.mark.parametrize(
    "dtype, form",
    [(dtype, form) for dtype in FORMS for form in (*ARRAYS, *FILES) if form in ARRAYS or dtype in ("float32", "int32")],
)
def test_without_one_only_uint16_says_what_its_values_mean(tmp_path, dtype, form):
    images = given_as(FORMS[dtype][0], form, tmp_path)
    if dtype == "uint16":
        assert np.array_equal(pixels(as_source(images)), RAMP >> 4)
        return
    with pytest.raises(carl.InvalidArgumentError, match=f"got dtype {dtype}, want uint8.*value_range"):
        small_model(view_size=8, epochs=1).fit(images)  # at once, not as so many broken images


def test_bool_is_black_and_white_and_bytes_stay_as_they_are(tmp_path):
    assert np.array_equal(pixels(as_source(RAMP > 99)), (RAMP > 99) * np.uint8(255))
    assert np.array_equal(pixels(as_source(RAMP, value_range=(0, 9))), RAMP)


def test_twelve_bits_in_png_files_keep_their_levels(tmp_path):
    Image.fromarray(FORMS["uint16"][0][0]).save(tmp_path / "a.png")
    (image,) = as_source([tmp_path / "a.png"], value_range=(0, 4080)).read(np.array([0]))
    assert np.array_equal(image[..., 0], RAMP[0])


def test_what_is_beyond_is_clipped_and_nan_is_black():
    array = np.array([[[-np.inf, -1, 0, 0.5], [1, 2, np.inf, np.nan]]], np.float32)
    assert as_source(array, value_range=(0, 1)).read(np.array([0]))[0, ..., 0].tolist() == [
        [0, 0, 0, 128],
        [255, 255, 255, 0],
    ]


@pytest.mark.parametrize("form", [*ARRAYS, *FILES])
def test_constant_images_are_warned_of(tmp_path, caplog, form):
    array = np.full((4, 16, 16), 0.25, np.float32)
    with caplog.at_level(logging.WARNING, "carl"):
        pixels(as_source(given_as(array, form, tmp_path), value_range=(0, 4000)))
    told = [record.message for record in caplog.records]
    assert len(told) == 3 and all("has one value only, 0 of 0 .. 255 (float32 values 0.25 .. 0.25)" in t for t in told)


def test_constant_bytes_and_few_levels_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "carl"):
        as_source(np.stack([RAMP[0], np.full((16, 16), 7, np.uint8)])).read(np.arange(2))
        as_source(FORMS["uint16"][0][:1]).read(np.arange(1))
    assert [record.message for record in caplog.records] == [
        "images[1] has one value only, 7 of 0 .. 255",
        "images[0] has 16 gray levels of 256 left (uint16 values 0 .. 4080): value_range=(low, high) says which values "
        "are black and white",
    ]


@pytest.mark.parametrize("wrong", [1, (1,), (1, 1), (2, 1), (0, np.nan), "01", ("a", "b"), (0, 1, 2), (True, 2)])
def test_ranges_that_are_none(wrong):
    with pytest.raises(carl.InvalidArgumentError, match="value_range: got .*, want two finite numbers"):
        as_source(RAMP, value_range=wrong)


def test_a_model_keeps_its_range(tmp_path):
    folder = given_as(FORMS["float32"][0], "folder", tmp_path)
    assert main(["train", str(folder), "--value-range", "[0, 1]", "epochs=1", "batch_size=2", "encoder=resnet18"]
                + ["stem=small", "width=0.125", "prototypes=4", "projector=[8]", "view_size=8", "--quiet"]
                + ["--out", str(tmp_path / "run")]) == 0  # fmt: skip
    model = carl.load(tmp_path / "run")
    assert np.array_equal(model.transform(folder), model.transform(RAMP))
    assert np.array_equal(model.predict(folder), model.predict(RAMP))
    assert main(["embed", str(tmp_path / "run"), str(folder), "--out", str(tmp_path / "f.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "f.npy"), model.transform(RAMP))


def test_a_cache_belongs_to_its_range(tmp_path):
    folder = given_as(FORMS["float32"][0], "folder", tmp_path)
    prints = {as_source(folder, value_range=limits).fingerprint() for limits in ((0, 1), (0, 2), (-1, 1))}
    assert len(prints) == 3


@pytest.mark.parametrize("command", [True, False])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_constant_files_are_told_while_a_run_writes_its_log(tmp_path, kind, command):
    """Warnings that come after the run folder was opened are seen by whoever watches, once, and are in its log."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    dull = next(place for place in range(40) if place not in evenly_spaced(40, 16))  # those are looked at before
    for place in range(40):
        pixels = random.integers(0, 255, (20, 20, 3)) if place != dull else np.full((20, 20, 3), 100)
        image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / f"{place:02d}.{kind}")
    keys = "width=0.125, view_size=12, projector=[8], prototypes=4, batch_size=8, epochs=1"
    if command:
        words = ["train", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), *keys.split(", ")]
        code = f"from carl.cli import main; main({words})"
    else:
        code = f"import carl; carl.CARL({keys}, run_dir={str(tmp_path / 'run')!r}, progress=False)"
        code += f".fit({str(tmp_path / 'photos')!r})"
    done = run_python(code)
    says = f"{dull:02d}.{kind} has one value only, 100 of 0 .. 255"
    assert done.returncode == 0 and done.stderr.count(says) == 1, done.stderr
    if command:  # on a line of its own, beside the bar
        assert f"carl: warning: {tmp_path / 'photos'}/{says}\n" in done.stderr.replace("\r", "\n").splitlines(True)
    assert (tmp_path / "run" / "train.log").read_text().count(says) == 1


# ---- What files say of their gray values


def one(path, **options) -> np.ndarray:
    return as_source([path], **options).read(np.array([0]))[0]


@pytest.mark.parametrize("maxval", [300, 1023, 4095, 65535])
def test_a_value_range_counts_values_as_a_pgm_file_has_them(tmp_path, maxval):
    """Pillow stretches them to 65535."""
    values = np.rint(np.linspace(0, maxval, 9)).astype(">u2").reshape(3, 3)
    (tmp_path / "x.pgm").write_bytes(b"P5 3 3 %d\n" % maxval + values.tobytes())
    found = one(tmp_path / "x.pgm", value_range=(0, maxval))
    assert np.array_equal(found[..., 0], np.floor(values.astype(float) * 255 / maxval + 0.5))
    half = one(tmp_path / "x.pgm", value_range=(0, maxval // 2))
    assert half.max() == 255 and np.count_nonzero(half == 255) >= 4
    whole = one(tmp_path / "x.pgm")  # the file says what is white
    assert whole.min() == 0 and whole.max() == 255


def test_a_pillow_image_of_the_callers_has_the_same_values_each_time(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 4095\n" + np.array([0, 2048, 4095], ">u2").tobytes())
    image = Image.open(tmp_path / "x.pgm")
    found = [as_source([image], value_range=(0, 65535)).read(np.array([0]))[0].ravel().tolist() for _ in range(2)]
    assert found == [[0, 128, 255]] * 2


def write_tiff(path, values: np.ndarray, white_first: bool = False, sample_format: int = 1) -> None:
    import struct

    height, width = values.shape
    tags = [
        (256, width), (257, height), (258, 8 * values.dtype.itemsize), (259, 1), (262, 0 if white_first else 1),
        (273, 134), (277, 1), (278, height), (279, values.nbytes), (339, sample_format),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values.tobytes())


@pytest.mark.parametrize("dtype", ["<u1", "<u2"])
def test_tiff_files_in_which_0_is_white(tmp_path, dtype):
    most = np.iinfo(dtype).max
    values = np.array([[0, most // 4, most]], dtype)
    for white_first, expected in ((False, [0, 63, 255]), (True, [255, 191, 0])):
        write_tiff(tmp_path / "x.tif", values, white_first)
        assert np.abs(one(tmp_path / "x.tif").ravel().astype(int) - expected).max() <= 1
    if dtype == "<u2":
        assert one(tmp_path / "x.tif", value_range=(0, most)).ravel().tolist() == [255, 191, 0]


def test_tiff_files_of_32_bits_have_a_sign_where_they_say_so(tmp_path):
    write_tiff(tmp_path / "u.tif", np.array([[0, 2**30, 2**32 - 1]], "<u4"))
    assert one(tmp_path / "u.tif", value_range=(0, 2**32 - 1)).ravel().tolist() == [0, 64, 255]
    write_tiff(tmp_path / "s.tif", np.array([[-(2**31), 0, 2**31 - 1]], "<i4"), sample_format=2)
    assert one(tmp_path / "s.tif", value_range=(-(2**31), 2**31 - 1)).ravel().tolist() == [0, 128, 255]


def test_lab_becomes_gray_too(tmp_path):
    cms = pytest.importorskip("PIL.ImageCms")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    lab = cms.profileToProfile(image, cms.createProfile("sRGB"), cms.createProfile("LAB"), outputMode="LAB")
    lab.save(tmp_path / "x.tif")
    colour = one(tmp_path / "x.tif")
    assert np.array_equal(one(tmp_path / "x.tif", channels=1)[..., 0], np.asarray(Image.fromarray(colour).convert("L")))


def test_premultiplied_gray_is_read_too():
    image = Image.fromarray(RAMP[0]).convert("LA").convert("La")
    found = as_source([image]).read(np.array([0]))[0]
    assert np.array_equal(found[..., 0], RAMP[0])


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray_is_gray_with_transparency_too(tmp_path, mode):
    Image.fromarray(RAMP[0]).convert(mode).save(tmp_path / "x.png")
    source = as_source(tmp_path)
    assert source.channels == 1 and source.read(np.array([0]))[0].shape == (16, 16, 1)
    (tmp_path / "y.png").write_bytes((tmp_path / "x.png").read_bytes())
    Image.fromarray(RAMP[0]).convert("RGB").save(tmp_path / "z.png")
    assert as_source(tmp_path).channels == 3


def test_a_cache_knows_all_digits_of_its_range(tmp_path):
    folder = given_as(FORMS["float32"][0], "folder", tmp_path)
    prints = {as_source(folder, value_range=(2e7, 2e7 + high)).fingerprint() for high in (10, 40)}
    assert len(prints) == 2
