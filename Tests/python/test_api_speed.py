"""The profile of steps, and `carl bench`."""

import json

import numpy as np
import pytest

import carl
from carl import speed
from carl.cli import main

SMALL = {
    "width": 0.125,
    "in_channels": 1,
    "projector": [16, 8],
    "prototypes": 10,
    "views": [{"size": 12, "count": 2}],
    "threads": 1,
}


def views():
    random = np.random.default_rng(0)
    return [random.standard_normal((8, 12, 12, 1), dtype=np.float32) for _ in range(2)]


def test_profile_covers_the_layers_and_changes_nothing():
    plain, measured = carl.Trainer(SMALL), carl.Trainer(SMALL)
    measured.start_profile()
    for _ in range(2):
        assert plain.step_views(views()).loss == measured.step_views(views()).loss
    rows = measured.profile()
    work = {(row["layer"], row["work"]) for row in rows}
    for wanted in ("forward", "weight gradient", "data gradient"):
        assert ("encoder.layer1.0.conv1", wanted) in work
    assert {("optimizer", "update"), ("assignment", "loss and gradients")} <= work
    # two steps, both views in one call
    assert all(row["calls"] >= 2 and row["seconds"] > 0 for row in rows)
    # 2 steps, 16 images, 12 x 12 pixels, 8 x 8 channels, 9 taps, two operations
    first = next(row for row in rows if (row["layer"], row["work"]) == ("encoder.layer1.0.conv1", "forward"))
    assert first["operations"] == 2 * 16 * 144 * 64 * 9 * 2
    measured.start_profile()
    assert measured.profile() == []
    measured.stop_profile()
    with pytest.raises(carl.InvalidStateError, match="profil"):
        measured.profile()


def test_profile_of_gradients_in_one_pass():
    random = np.random.default_rng(0)
    with carl.Trainer({**SMALL, "encoder": "resnet50"}) as trainer:
        trainer.start_profile()
        trainer.step_views([random.standard_normal((16, 12, 12, 1), dtype=np.float32) for _ in range(2)])
        rows = {(row["layer"], row["work"]): row for row in trainer.profile()}
    # a 1x1 convolution of 2 x 16 x 12 x 12 pixels
    both = rows["encoder.layer1.0.conv3", "gradients"]
    assert both["operations"] == 2 * rows["encoder.layer1.0.conv3", "forward"]["operations"] > 0
    assert ("encoder.layer1.0.conv3", "weight gradient") not in rows


def test_peak_rate_is_plausible():
    assert 1e9 < speed.peak_rate(1) < 1e12
    with pytest.raises(carl.CARLError, match="threads"):
        speed.peak_rate(-1)


@pytest.mark.parametrize("wrong", [{"images": 1}, {"images": 0}, {"steps": 0}, {"steps": 1.5}])
def test_measure_names_bad_input(wrong):
    with pytest.raises(carl.InvalidArgumentError, match=next(iter(wrong))):
        speed.measure(SMALL, **wrong)


def test_bench_prints_rates_and_the_profile(capsys):
    arguments = ["bench", "width=0.125", "in_channels=1", "threads=1", "--size", "12", "--images", "8", "--steps", "1"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["views_per_second"] > 0 and result["images_per_second"] > 0 and result["bytes_per_view"] > 0
    assert main([*arguments, "--profile"]) == 0
    text = capsys.readouterr().out
    assert "views/s" in text and "encoder.layer4.1.conv2" in text and "everything else" in text


def test_an_encoder_that_keeps_its_filters_gives_the_trainers_features():
    config = {**SMALL, "width": 0.5, "in_channels": 3}
    images = np.random.default_rng(1).standard_normal((20, 24, 24, 3), dtype=np.float32)
    trainer = carl.Trainer(config)
    encoder = carl.Encoder.from_trainer(trainer)
    wanted = trainer.embed(images)
    for _ in range(2):
        assert np.array_equal(encoder.embed(images), wanted)
