"""Files of many pixels, of which training reads few: what is planned and held for them, and what headers tell."""

from __future__ import annotations

import io

import numpy as np
import pytest

import carl
from carl._calibration import Calibration, Setting
from carl._decode import file_header
from carl._labelled_training import standardize
from carl.errors import FileError
from carl.sources import ImageSource, as_source
from conftest import small_model

Image = pytest.importorskip("PIL.Image")
ImageFile = pytest.importorskip("PIL.ImageFile")


def photo(width: int, height: int, mode: str = "RGB", kind: str = "JPEG", **options: object) -> bytes:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    smooth.resize((width, height)).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(photo(1200, 900))
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """The sizes to which images were decoded."""
    sizes: list[tuple[int, int]] = []
    original = ImageFile.ImageFile.load

    def loaded(image, *arguments):
        found = original(image, *arguments)
        sizes.append(image.size)
        return found

    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    return sizes


def test_sizes_and_channels_come_from_headers(folder, decoded):
    source = as_source(folder)
    assert (source.channels, source.side, decoded) == (3, 900, [])
    part = carl.sources.subset.SubsetSource(source, np.array([1, 3]))
    joined = as_source([folder, folder])
    assert [(each.channels, each.side) for each in (part, joined)] == [(3, 900)] * 2 and decoded == []


def test_training_decodes_what_views_need_alone(folder, decoded):
    small_model(view_size=16, epochs=1, batch_size=4).fit(folder)
    assert decoded and max(map(max, decoded)) <= 150


def test_what_decoders_hold(folder, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x.png").write_bytes(photo(300, 200, kind="PNG"))
    jpeg, png = as_source(folder / "0.jpg"), as_source(tmp_path / "set")
    threads = jpeg._workers.count
    assert jpeg.decoding_bytes(None) == 8 * 1200 * 900 * threads
    assert jpeg.decoding_bytes(100) == 8 * 150 * 112 * threads
    assert jpeg.decoding_bytes(250) == 8 * 600 * 450 * threads  # a quarter would be too small
    assert png.decoding_bytes(20) == png.decoding_bytes(None) == 8 * 300 * 200 * threads
    assert as_source([folder, tmp_path / "set"]).decoding_bytes(100) == max(
        jpeg.decoding_bytes(100), png.decoding_bytes(100)
    )
    assert as_source(np.zeros((4, 9, 9), np.uint8)).decoding_bytes(None) == 0


@pytest.mark.parametrize(
    ("kind", "options", "mode", "held", "whole"),
    [
        ("JPEG", {"progressive": True}, "RGB", 8, 6),
        ("JPEG", {}, "RGB", 8, 0),
        ("PNG", {}, "RGB", 8, 0),
        ("PNG", {}, "RGBA", 16, 0),
        ("WEBP", {}, "RGB", 16, 0),
    ],
)
def test_what_each_kind_of_file_holds(tmp_path, kind, options, mode, held, whole):
    if kind == "WEBP":
        pytest.importorskip("PIL.features").check("webp") or pytest.skip("Pillow has no WebP")
    (tmp_path / "x").write_bytes(photo(64, 48, mode, kind, **options))
    header = file_header(str(tmp_path / "x"))
    assert (header.height, header.width, header.held, header.whole) == (48, 64, held, whole)
    assert header.decoding_bytes(None) == (held + whole) * 64 * 48


def test_headers_are_looked_at_once(monkeypatch):
    class Set:
        opened = 0

        def __len__(self):
            return 40

        def __getitem__(self, place):
            Set.opened += 1
            return np.zeros((12, 12, 3), np.uint8)

    source = as_source(Set())
    before = Set.opened
    assert (source.decoding_bytes(8), source.decoding_bytes(8), Set.opened) == (0, 0, before)


def test_memory_is_planned_for_images_as_they_are_read(folder):
    """What it is for photos of few pixels more than the views need is what it is for those of many."""
    base = carl.TrainerConfig(in_channels=3, view_size=16, width=0.0625, prototypes=4, projector=[4], seed=0)
    needs = []
    for source in (as_source(folder), as_source([np.zeros((112, 150, 3), np.uint8)] * 8)):
        needs.append(Calibration(source, base, 0.05).need(Setting(16, 0.0625, 512)))
    decoders = as_source(folder).decoding_bytes(36)
    assert needs[0] < 1.2 * needs[1] + 1.2 * decoders < 3 * 512 * 1200 * 900 * 3


def test_a_large_image_is_refused_by_its_header(tmp_path):
    (tmp_path / "long.pgm").write_bytes(b"P5 70000 2 255\n" + bytes(140_000))
    with pytest.raises(FileError, match="70000 x 2 pixels, want sides of at most 65535"):
        file_header(str(tmp_path / "long.pgm"))


def test_pillows_limit_is_named_with_what_lifts_it(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(carl.FileError, match=r"more than 2,000 pixels.*PIL.Image.MAX_IMAGE_PIXELS = None"):
        as_source(folder).read(np.array([0]))


def test_features_are_standardised_by_a_few_images_at_a_time(monkeypatch):
    """As ``Classifier.standardize`` does with all at once."""
    images = np.random.default_rng(0).integers(0, 256, (90, 12, 12, 3), dtype=np.uint8)
    model = small_model(epochs=1).fit(images)
    most: list[int] = []

    class Counted(ImageSource):
        def __len__(self):
            return len(images)

        def read(self, places):
            most.append(len(places))
            return images[places]

        def describe(self):
            return "images"

    monkeypatch.setattr("carl._labelled_training.images_at_once", lambda source: 8)
    states = []
    for way in (lambda c: c.standardize(images), lambda c: standardize(c, Counted())):
        with carl.Classifier(model, 3, freeze_encoder=True) as classifier:
            way(classifier)
            states.append({key: value for key, value in classifier.state_dict().items() if ".feature_" in key})
    assert max(most) == 8 and len(states[0]) == 2
    for key, value in states[0].items():
        np.testing.assert_allclose(states[1][key], value, rtol=1e-5)
        assert not np.array_equal(value, np.zeros_like(value)) and not np.array_equal(value, np.ones_like(value))


def test_features_that_hardly_vary_are_not_blown_up(monkeypatch):
    """On crops they may vary more than on the whole images that their deviation is taken of."""
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    model = small_model(epochs=1).fit(images)
    features = np.random.default_rng(1).normal(size=(40, 64))
    features[:, 3] *= 1e-5
    features[:, 4] = 7
    with carl.Classifier(model, 3, freeze_encoder=True) as classifier:
        monkeypatch.setattr(classifier, "embed_images", lambda part: features[: len(part)].astype(np.float32))
        standardize(classifier, as_source(images))
        deviation = classifier.state_dict()["classifier.feature_deviation"]
    assert deviation[4] == 1 and deviation[3] == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(np.delete(deviation, [3, 4]), np.delete(features.std(axis=0), [3, 4]), rtol=1e-5)
