"""Decoded images that stay in memory: the same pixels and runs as without, each decoded once, within the room there
is."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import carl
from carl import _calibration
from carl._calibration import Calibration, Measured
from carl._memory import available_memory
from carl.sources import FileSource, as_source, kept
from carl.sources.base import JoinedSource
from carl.sources.kept import KeptSource, first_pass, room_for_images
from carl.sources.subset import SubsetSource
from conftest import same_state, small_model
from test_sources_kinds import MapStyle, encoded, write_tar
from test_sources_sets import Formatted

Image = pytest.importorskip("PIL.Image")
#: Bytes of an image of the tests.
ONE = 12 * 12 * 3


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was decoded for training."""
    found: collections.Counter[str] = collections.Counter()
    load = FileSource.load

    def counted(self, place, least_side):
        if least_side is not None:
            found[self.paths[place]] += 1
        return load(self, place, least_side)

    monkeypatch.setattr(FileSource, "load", counted)
    return found


def same(a, b) -> bool:
    return len(a) == len(b) and all(np.array_equal(*pair) for pair in zip(a, b))


def test_images_are_decoded_once_and_are_the_same(png_files, decoded):
    source = as_source(png_files)
    keeping = KeptSource(source, 9, 10**6)
    order = np.array([3, 1, 3, 15, 0])
    assert same(keeping.read_each(order, 9), source.read_each(order, 9))
    decoded.clear()
    again = keeping.read_each(np.array([0, 15, 2]), 9)
    assert same(again, [source.read(np.array([place]))[0] for place in (0, 15, 2)])
    assert dict(decoded) == {png_files[2]: 1}
    assert keeping.news() == "kept in memory: 5 of 16 images, 0 MiB" and keeping.news() is None
    assert (keeping.channels, keeping.side, len(keeping), keeping.identity(2)) == (3, 12, 16, png_files[2])
    assert keeping.describe() == source.describe() and keeping.fingerprint() == source.fingerprint()
    keeping.close()
    assert same(keeping.read_each(order, 9), source.read_each(order, 9))


def test_other_reads_pass_through(png_files, decoded):
    source = FileSource(png_files)
    keeping = KeptSource(source, 5, 10**6)
    assert keeping.read_each(np.array([0]), 5)[0].shape == (6, 6, 3)
    assert keeping.read_each(np.array([0]), None)[0].shape == (12, 12, 3)
    assert keeping.read_each(np.array([0]), 3)[0].shape == (3, 3, 3)
    assert keeping.read(np.array([0]))[0].shape == (12, 12, 3) and keeping.share() == 1


def test_what_has_no_room_is_read_again(png_files, decoded):
    keeping = KeptSource(as_source(png_files), 9, 10 * ONE + 5)
    every = np.arange(16)
    first, second = keeping.read_each(every, 9), keeping.read_each(every, 9)
    assert same(first, second) and sorted(decoded.values()) == [1] * 10 + [2] * 6
    assert KeptSource(as_source(png_files), 9, 10 * ONE).share() == 1
    assert keeping.share() == pytest.approx(10 / 22)


def test_nothing_is_added_when_memory_becomes_scarce(png_files, decoded, monkeypatch):
    free = 10**9
    monkeypatch.setattr(kept, "available_memory", lambda: free)
    keeping = KeptSource(as_source(png_files), 9, 10**6)
    keeping.read_each(np.arange(4), 9)
    free = 4 * 10**8
    keeping.read_each(np.arange(8), 9)
    free = 10**9
    keeping.read_each(np.arange(8), 9)
    assert [decoded[path] for path in png_files[:8]] == [1] * 4 + [2] * 4


def test_the_room_is_a_quarter_of_what_is_free(monkeypatch):
    assert 0 < room_for_images() <= available_memory() / 3
    monkeypatch.setattr(kept, "available_memory", lambda: 4000)
    assert (room_for_images(), room_for_images(300), room_for_images(-5)) == (1000, 300, 0)
    monkeypatch.setattr(kept, "available_memory", lambda: 2**63)  # a system that does not say
    assert room_for_images() == 0


def test_what_is_kept(images, png_files, tmp_path):
    files = as_source(png_files)
    tar = as_source(write_tar(tmp_path / "a.tar", {f"{n}.png": encoded(image) for n, image in enumerate(images[:3])}))
    own = as_source(MapStyle([Image.fromarray(image) for image in images[:4]]))  # may be random
    for source in (files, tar, SubsetSource(files, np.arange(4)), JoinedSource([files, tar])):
        assert isinstance(kept.kept(source, 9), KeptSource)
        assert kept.kept(source, 9, 0.0) is source
    for source in (own, as_source(images), JoinedSource([files, own]), as_source(iter([images]))):
        assert kept.kept(source, 9) is source


def test_a_transform_of_a_table_may_be_random(images):
    columns = {"image": [Image.fromarray(image) for image in images[:4]]}
    assert as_source(Formatted(columns)).decodes
    assert not as_source(Formatted(columns, transform=lambda rows: rows)).decodes


def test_a_fit_decodes_each_image_once_and_learns_the_same(png_files, decoded, tmp_path):
    without = small_model(epochs=3, keep_images=False).fit(png_files)
    assert set(decoded.values()) == {3}
    decoded.clear()
    model = small_model(epochs=3, run_dir=tmp_path / "run").fit(png_files)
    assert set(decoded.values()) == {1} and len(decoded) == 16
    assert same_state(model.trainer_, without.trainer_)
    assert [metrics.loss for metrics in model.history_] == [metrics.loss for metrics in without.history_]
    assert "kept in memory: 16 of 16 images" in (tmp_path / "run" / "train.log").read_text()
    decoded.clear()
    small_model(epochs=1).fit(png_files)
    small_model().partial_fit(png_files)
    assert set(decoded.values()) == {2}
    assert carl.load(tmp_path / "run").keep_images is True


def test_it_is_resumed_with_the_same_result(png_files, decoded, tmp_path):
    whole = small_model(epochs=3).fit(png_files)
    small_model(epochs=3, total_steps=3, run_dir=tmp_path / "run").fit(png_files)
    again = small_model(epochs=3, total_steps=6, run_dir=tmp_path / "run").fit(png_files, resume=True)
    assert again.trainer_.step_count == whole.trainer_.step_count == 6
    assert [metrics.step for metrics in whole.history_] == list(range(1, 7))


def test_broken_images_are_replaced_as_without(png_files):
    with open(png_files[5], "r+b") as file:
        file.truncate(60)
    models = [small_model(epochs=3, keep_images=keep, max_broken=0.5).fit(png_files) for keep in (False, True)]
    assert same_state(models[0].trainer_, models[1].trainer_)
    assert models[0].broken_images_ == models[1].broken_images_ and list(models[1].broken_images_) == [png_files[5]]


def test_a_limit_of_memory_leaves_room_or_not(png_files, decoded, monkeypatch):
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 10 << 20)
    model = small_model(epochs=3, memory="4G").fit(png_files)
    assert model._spare > 1 << 30 and max(decoded.values()) <= 3  # two of them while sizes were measured
    monkeypatch.setattr(_calibration.Calibration, "need", lambda self, setting: (4 << 30) - (10 << 20))
    decoded.clear()
    model = small_model(epochs=3, memory="4G").fit(png_files)
    assert model._spare == 0 and min(decoded.values()) == 3


def test_a_classifier_decodes_once(png_files, decoded):
    model = small_model(epochs=1).fit(png_files)
    decoded.clear()
    carl.Classifier(model, epochs=3, batch_size=4, progress=False).fit(png_files, np.arange(16) % 2)
    assert set(decoded.values()) <= {1, 2} and len(decoded) == 16  # the linear layer's scale is taken first


def test_when_all_are_read(png_files):
    keeping = KeptSource(as_source(png_files), 9, 10**6)
    assert first_pass(keeping, 5, 12, 12)[0] == 15
    assert first_pass(keeping, 5, 13, 12)[0] == 18  # the first batch of this epoch is not read before the next one
    assert first_pass(as_source(png_files), 5, 12, 12)[0] is None


# ---- What a budget expects


def calibrated(source, room: float, **measured) -> Calibration:
    class MadeUp(Calibration):
        def _measured(self, setting, count):
            return Measured(0.01, 1e6, 1e3, **measured)

    calibration = MadeUp(source, carl.TrainerConfig(in_channels=3), 1.0, room=room)
    calibration.measure(_calibration.Setting(32, 0.25, 64))
    return calibration


def test_images_of_a_budget_are_read_once(png_files):
    rung, source = (32, 0.25), as_source(png_files)
    keeping = calibrated(source, 1e6, reading=0.03, size=ONE)
    assert keeping.images(rung, 0.32) == pytest.approx(8)  # within the first pass
    assert keeping.images(rung, 16 * 0.04 + 5) == pytest.approx(16 + 500)
    half = calibrated(source, 8 * ONE, reading=0.03, size=ONE)
    assert half.images(rung, 16 * 0.04 + 5) == pytest.approx(16 + 5 / 0.025)
    for other in (
        calibrated(source, 0, reading=0.03, size=ONE),
        calibrated(as_source([np.zeros((12, 12, 3), np.uint8)] * 16), 1e6, reading=0.03, size=ONE),
    ):
        assert other.images(rung, 16 * 0.04 + 5) == pytest.approx((16 * 0.04 + 5) / 0.04)


def test_small_views_take_less_but_reading_does_not(png_files):
    keeping = calibrated(as_source(png_files), 1e6, early=0.5, early_size=20, reading=0.03, size=ONE)
    each = 0.01 / 1.5  # half of the time with steps of half the time
    assert keeping.images((32, 0.25), 5) == pytest.approx(16 + (5 - 16 * (each + 0.03)) / each)


def test_a_budget_says_what_reading_takes(png_files):
    source = as_source(png_files)
    lines = {}
    for reading in (0.03, 0.0001):
        plan = _calibration.make_plan(
            source,
            carl.TrainerConfig(in_channels=3),
            _calibration.Given(),
            32,
            "2m",
            None,
            0.0,
            _calibration.Setting(32, 1.0, 64),
            calibrated(source, 1e6, reading=reading, size=ONE),
            clock=lambda: 0.0,
        )
        lines[reading] = plan.lines[1]
    assert lines[0.03].startswith("measured: 100 images/s (25 read from files), so about 12,000 images")
    assert lines[0.0001].startswith("measured: 100 images/s, so about 12,000 images")
