"""Large images: everything that goes through a set reads as many at a time as fit into one budget, and training reads
them no larger than its views need."""

from __future__ import annotations

import numpy as np
import pytest

from carl import evaluate, inspection
from carl.evaluate import OnlineEvaluation
from carl.sources import FileSource, as_source, loader
from conftest import small_model

Image = pytest.importorskip("PIL.Image")
#: Bytes for images of 90 x 60, which are five at a time, and the next five beside them.
BUDGET = 10 * 90 * 60 * 3


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """A labelled folder, and what was read: numbers of images, and to which side they might be halved."""
    random = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.fromarray(random.integers(0, 256, (60, 90, 3)).astype(np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    found: list[tuple[int, int | None]] = []
    read_each = FileSource.read_each

    def spied(self, indices, least_side=None):
        found.append((len(indices), least_side))
        return read_each(self, indices, least_side)

    monkeypatch.setattr(FileSource, "read_each", spied)
    monkeypatch.setattr(loader, "MOST_BYTES", BUDGET)
    monkeypatch.setattr(inspection, "MOST_BYTES", BUDGET)
    return tmp_path / "photos", found


def full_size(found):
    """Numbers of images that were read at full size, but for the few that every source looks at first."""
    return [count for count, side in found if side is None and count != 4]


def test_evaluations_keep_to_the_budget(reads):
    photos, found = reads
    model = small_model(epochs=1, view_size=12).fit(photos)
    del found[:]
    model.transform(photos)
    with as_source(photos) as source:
        OnlineEvaluation((source, source.labels), 3).judge(model.trainer_)
    evaluate.finetune(
        model, photos, None, photos, None, label_fraction=1, epochs=1, seeds=0, batch_size=8, progress=False
    )
    assert full_size(found) and max(full_size(found)) == 5
    # Views of 12 pixels from 20% of the area, as flat as 3 : 4, have them from 31 pixels on.
    assert [side for count, side in found if count == 8] == [31] * 3


def test_the_report_keeps_to_the_budget(reads, tmp_path):
    photos, found = reads
    model = small_model(epochs=1, view_size=12, run_dir=tmp_path / "run").fit(photos)
    del found[:]
    seen = inspection.Inspection(tmp_path / "run", count=20)
    assert len(seen.images) == 20 and seen.labels is not None and max(map(np.size, seen.images)) <= 90 * 60 * 3
    assert [side for count, side in found if count == 20] == [64]
    assert np.array_equal(seen.features, model.transform(photos)[seen._looked_at[0]])
    assert seen.logits.shape == (20, 6) and max(full_size(found)) == 5


def test_small_images_are_shown_as_they_are(reads, tmp_path):
    photos, found = reads
    small_model(epochs=1, view_size=12, run_dir=tmp_path / "run").fit(photos)
    assert len(inspection.Inspection(tmp_path / "run", count=4).images) == 4 and found[-1] == (4, None)
