"""Small views first: what is told, resuming, the loop's own steps, and what does not go together."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl import _early_views, _opening
from carl._early_views import without_early_views
from carl.sources import as_source
from conftest import small_model

EARLY = {"view_size": 12, "early_view_size": 8}


def test_told_before_the_first_step_and_saved(images, tmp_path, capfd):
    model = small_model(progress=True, run_dir=tmp_path / "run", **EARLY).fit(images)
    line = capfd.readouterr().err.splitlines()[0]
    assert "views: 2 of 12 pixels (8 in the first 7 steps)" in line and "10 steps of 8 images" in line
    assert (model.config_.early_view_size, model.config_.early_steps) == (8, 7)
    assert carl.load(tmp_path / "run").config_ == model.config_


def test_other_steps_than_without(images):
    small, large = small_model(**EARLY).fit(images), small_model(view_size=12).fit(images)
    assert small.history_[0].loss != large.history_[0].loss
    assert small.transform(images[:3]).shape == large.transform(images[:3]).shape


def test_a_resumed_run_has_the_bits_of_a_whole_one(images, tmp_path):
    """Ended before the change, and behind it."""

    def stop_at(step):
        def stop(model, metrics):
            if metrics.step == step:
                raise carl.StopTraining

        return stop

    whole = small_model(**EARLY).fit(images)
    for step in (3, 8):
        part = small_model(run_dir=tmp_path / f"run{step}", callbacks=[stop_at(step)], **EARLY).fit(images)
        assert part.trainer_.step_count == step
        rest = small_model(run_dir=tmp_path / f"run{step}", **EARLY).fit(images, resume=True)
        a, b = whole.trainer_.state_dict(), rest.trainer_.state_dict()
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_the_estimate_counts_small_steps_for_less():
    with carl.Trainer(width=0.125, view_size=32, early_view_size=16, total_steps=100) as trainer:
        config = trainer.config
    assert _opening.full_steps(config, 0, 100, 0.5) == 65  # 70 steps at half
    assert _opening.full_steps(config, 70, 30, 0.5) == 30
    assert _opening.full_steps(config, 40, 60, 0.5) == 45
    assert _opening.full_steps(config, 0, None, 0.5) is None


def test_the_share_of_a_small_step_is_measured(images):
    with carl.Trainer(width=0.125, view_size=48, early_view_size=8, total_steps=100, in_channels=3) as trainer:
        config = trainer.config
    source = as_source(images)
    small, full = _opening.measure(source, config), _opening.measure(source, without_early_views(config))
    assert 0 < small.early < 1 and full.early == 1


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"view_size": 32}, 20),
        ({"view_size": 28}, 20),
        ({"view_size": 160}, 100),
        ({"view_size": 224, "encoder": "resnet50"}, 140),
        ({"views": [{"size": 96, "count": 2}, {"size": 40}]}, 60),
        ({"view_size": 32, "early_view_size": 16}, 16),
        ({"view_size": 26}, None),
        ({"view_size": 32, "early_steps": 0}, None),
        ({"view_size": 32, "early_view_size": 16, "early_steps": 0}, None),
        ({"view_size": 32, "objective": "carl"}, None),
        ({"view_size": 32, "train_encoder": "none"}, None),
        ({"view_size": 32, "encoder": "vit_tiny"}, None),
    ],
)
def test_the_standard_size(keys, size):
    assert _early_views.early_size(carl.TrainerConfig(in_channels=3, **keys)) == size


def test_weights_that_are_good_already_are_shown_full_views(images, tmp_path):
    large = np.kron(images, np.ones((1, 3, 3, 1), np.uint8))
    small_model(view_size=32, epochs=1).fit(large).save(tmp_path / "a.carl")
    carl.export.export_model(tmp_path / "a.carl", tmp_path / "a.safetensors")
    plain, adapted = (
        small_model(view_size=32, epochs=1, weights=w).fit(large) for w in (None, tmp_path / "a.safetensors")
    )
    assert plain.config_.early_steps == 3 and adapted.config_.early_steps == 0


@pytest.mark.parametrize("early", [{"early_view_size": 8}, {}])
def test_a_budget_decides_when_views_become_larger(images, early, tmp_path):
    size = 12 if early else 28
    keys = {"view_size": size, "width": 0.125, "batch_size": 8, "epochs": None, **early}
    model = small_model(budget=3, run_dir=tmp_path / "run", **keys).fit(images)
    config = model.config_
    assert config.early_view_size == (8 if early else 20)
    assert 0 < config.early_steps <= config.total_steps - sum(np.atleast_1d(config.decay_steps))
    assert f"early_steps {config.early_steps}\n" in (tmp_path / "run" / "train.log").read_text()
    again = carl.CARL(**vars(config), progress=False).fit(images)
    a, b = model.trainer_.state_dict(), again.trainer_.state_dict()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_budget_decides_the_number_of_small_steps_itself(images):
    with pytest.raises(carl.InvalidArgumentError, match="^early_steps: got 3 and budget='1m'"):
        small_model(budget="1m", early_steps=3, epochs=None).fit(images)


def test_larger_than_the_views_is_refused(images):
    with pytest.raises(carl.ConfigurationError, match='"early_view_size" must be at most .* 12, got 13'):
        small_model(view_size=12, early_view_size=13).fit(images)


def test_memory_is_measured_with_full_views(images):
    model = small_model(memory="8G", **EARLY).fit(images)
    assert model.config_.early_steps == 7


def test_the_sizes_that_are_told_are_those_of_the_library():
    """Halves are rounded up, and a transformer's views are of whole patches (EarlyViewsTests.swift has the same)."""
    views = [{"size": 20, "count": 2}, {"size": 9}]
    with carl.Trainer(width=0.125, views=views, early_view_size=10, early_steps=3) as trainer:
        assert [spec["size"] for spec in _early_views.early_specs(trainer.config)] == [10, 5]
    vit = {"encoder": "vit_tiny", "patch_size": 14, "views": [{"size": 56, "count": 2}, {"size": 28}]}
    with carl.Trainer(vit, early_view_size=42, early_steps=3) as trainer:
        assert [spec["size"] for spec in _early_views.early_specs(trainer.config)] == [42, 28]
