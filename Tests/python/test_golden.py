"""Files of earlier versions: they load, give what they gave, and training goes on where it stood."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import carl

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
#: Tolerance of losses after an update.
LATER = 1e-3
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))

_spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
assert _spec is not None and _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


@pytest.fixture(params=VERSIONS)
def folder(request) -> Path:
    return GOLDEN / request.param


@pytest.fixture
def expected(folder) -> dict:
    return json.loads((folder / "expected.json").read_text())


def assert_same(found: dict, expected: dict) -> None:
    """Outputs within 1e-5 of the largest, and the loss of the step after them nearly: processors and thread counts
    round differently, and the values of some of these networks are differences of large ones."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key.startswith("later_losses"):
            np.testing.assert_allclose(found[key], value, rtol=LATER, err_msg=key)
        elif isinstance(value, list):
            largest = max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5 * largest, err_msg=key)
        elif key == "loss":
            assert found[key] == pytest.approx(value, rel=1e-4)
        else:
            assert found[key] == pytest.approx(value, rel=1e-12), key


def trainer_values(trainer: carl.Trainer, expected: dict) -> dict:
    return make.trainer_values(trainer, "later_losses_of_images" in expected["trainer"])


def test_there_are_golden_files():
    assert {"v1", "v2"} <= set(VERSIONS)


def test_a_checkpoint_of_an_earlier_version(folder, expected):
    with carl.Trainer.resume(folder / "trainer.safetensors") as trainer:
        assert trainer.step_count == 5
        assert trainer.notes == {"made by": "Tests/golden/make.py", "epoch": 2}
        for key in ("prototypes", "partition_size", "teacher_momentum", "optimizer", "accumulate", "projector", "seed"):
            assert getattr(trainer.config, key) == make.TRAINER[key], key
        assert any(np.any(value) for name, value in trainer.state_dict().items() if name.startswith("teacher."))
        assert_same(trainer_values(trainer, expected), expected["trainer"])


def test_what_is_written_now_of_an_earlier_file(folder, expected, tmp_path):
    """Reading a file and writing it again loses nothing."""
    with carl.Trainer.resume(folder / "trainer.safetensors") as trainer:
        trainer.save(tmp_path / "again.safetensors")
    with carl.Trainer.resume(tmp_path / "again.safetensors") as again:
        assert_same(trainer_values(again, expected), expected["trainer"])


@pytest.mark.parametrize(
    "prefix", ["optimizer.first_moment.", "optimizer.second_moment.", "optimizer.accumulated.", "teacher."]
)
def test_all_of_the_state_counts(folder, expected, tmp_path, prefix):
    """The comparison sees it when a part of the state is not read: with that part halved, the losses are others."""
    data = bytearray((folder / "trainer.safetensors").read_bytes())
    length = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name.startswith(prefix):
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            data[begin:end] = (np.frombuffer(data[begin:end], np.float32) / 2).tobytes()
    (tmp_path / "changed.safetensors").write_bytes(data)
    with carl.Trainer.resume(tmp_path / "changed.safetensors") as trainer, pytest.raises(AssertionError):
        assert_same(trainer_values(trainer, expected), expected["trainer"])


def test_an_encoder_of_an_earlier_version(folder, expected):
    with carl.Encoder(folder / "trainer.safetensors", threads=1) as encoder:
        found = encoder.embed(make.float_images(), output="features")
    np.testing.assert_allclose(found, expected["encoder"]["features"], rtol=1e-5, atol=1e-5)


def test_a_classifier_of_an_earlier_version(folder, expected):
    with carl.Classifier.load(folder / "classifier.safetensors") as classifier:
        of_images = "later_losses_of_images" in expected["classifier"]
        assert_same(make.classifier_values(classifier, of_images), expected["classifier"])
