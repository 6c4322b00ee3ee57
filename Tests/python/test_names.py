"""Names of files that are not UTF-8, names without glyphs, and closed standard streams."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import carl
from carl import evaluate
from carl.cli import main
from carl.inspection import Inspection
from carl.plots.names import drawn
from conftest import small_model

Image = pytest.importorskip("PIL.Image")
STRANGE = os.fsdecode(b"r\xe9n")
KEYS = ["epochs=1", "batch_size=4", "encoder=resnet18", "stem=small", "width=0.125", "prototypes=4", "projector=[8]"]
KEYS += ["view_size=12"]


@pytest.fixture
def strange(tmp_path):
    """A folder of classes one of which has a name that is not UTF-8, and one that is not Latin."""
    random = np.random.default_rng(0)
    for name in ("猫", os.fsdecode(b"cl\xe9")):
        try:
            (tmp_path / "photos" / name).mkdir(parents=True)
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        for number in range(8):
            image = Image.fromarray(random.integers(0, 256, (16, 16, 3)).astype(np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path


def test_a_run_folder_whose_name_is_not_utf8(strange):
    run = strange / STRANGE
    model = small_model(run_dir=run, epochs=1).fit(strange / "photos")
    features = model.transform(strange / "photos")
    assert np.array_equal(carl.load(run).transform(strange / "photos"), features)
    with carl.Encoder(run / "checkpoints" / "last.carl") as encoder:
        assert encoder.output_width("features") == features.shape[1]
    small_model(run_dir=run, epochs=2).fit(strange / "photos", resume=True)
    model.save(strange / os.fsdecode(b"\xe9.carl"))
    assert np.array_equal(carl.load(strange / os.fsdecode(b"\xe9.carl")).transform(strange / "photos"), features)


def test_classes_whose_names_are_not_utf8_or_have_no_glyphs(strange):
    pytest.importorskip("matplotlib")
    photos, run = str(strange / "photos"), str(strange / "run")
    assert main(["train", photos, *KEYS, "--quiet", "--out", run]) == 0
    names = Inspection(run).class_names
    assert names is not None and drawn(names[:1]).names == ["cl\\xe9"] and names[1] == "\u732b"
    for kind in ("map", "confusion"):
        assert main(["plot", kind, run, "--out", str(strange / f"{kind}.png")]) == 0
    assert main(["report", run, "--images", "6"]) == 0
    assert main(["cluster", run, photos]) == 0


def test_a_classifier_of_such_classes_is_saved(strange):
    photos, file = strange / "photos", strange / "c.carl"
    model = small_model(epochs=1).fit(photos)
    evaluate.finetune(model, photos, None, photos, None, label_fraction=1, epochs=1, seeds=0, progress=False, save=file)
    with carl.Classifier.load(file) as classifier:
        assert classifier.classes_.tolist() == ["cl\\xe9", "猫"]


def test_such_names_are_printed_as_escapes(strange, monkeypatch):
    photos, run = str(strange / "photos"), str(strange / "run")
    assert main(["train", photos, *KEYS, "--quiet", "--out", run]) == 0
    for extra in ([], ["--json"]):
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict", write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["outliers", run, photos, "-k", "2", "--quiet", *extra]) == 0
        assert b"udce9" in out.buffer.getvalue()


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&-", ">&-"])
def test_closed_streams(tmp_path, images, closed):
    np.save(tmp_path / "x.npy", images)
    command = " ".join([sys.executable, "-m", "carl", "train", "x.npy", *KEYS, "--out", "run", closed])
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert (tmp_path / "run" / "checkpoints" / "last.carl").exists()
    wrong = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m carl info nothing {closed}"], cwd=tmp_path, capture_output=True, check=False
    )
    assert wrong.returncode == 1 and wrong.stdout == b""


def test_fit_without_standard_error(images, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    small_model(progress=True).fit(images)
