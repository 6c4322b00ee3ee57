"""Small views first: what is told, resuming, the loop's own steps, and what does not go together."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl import _early_views, _opening
from conftest import small_model

EARLY = {"view_size": 12, "early_view_size": 8}


def test_told_before_the_first_step_and_saved(images, tmp_path, capfd):
    model = small_model(progress=True, run_dir=tmp_path / "run", **EARLY).fit(images)
    line = capfd.readouterr().err.splitlines()[0]
    assert "views: 2 of 12 pixels (8 in the first 6 steps)" in line and "10 steps of 8 images" in line
    assert (model.config_.early_view_size, model.config_.early_steps) == (8, 6)
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
    assert 50 < _opening.full_steps(config, 0, 100) < 70  # 60 steps at about a quarter
    assert _opening.full_steps(config, 60, 40) == 40
    assert _opening.full_steps(config, 30, 70) > _opening.full_steps(config, 0, 100) - 30
    assert _opening.full_steps(config, 0, None) is None


@pytest.mark.parametrize("key", [{"early_view_size": 8}, {"early_steps": 3}])
def test_a_budget_refuses_it(images, key):
    name = next(iter(key))
    with pytest.raises(carl.InvalidArgumentError, match=f"^{name}: got .* and budget='1m'"):
        small_model(budget="1m", **{**key, "epochs": None}).fit(images)


def test_larger_than_the_views_is_refused(images):
    with pytest.raises(carl.ConfigurationError, match='"early_view_size" must be at most .* 12, got 13'):
        small_model(view_size=12, early_view_size=13).fit(images)


def test_memory_is_measured_with_full_views(images):
    model = small_model(memory="8G", **EARLY).fit(images)
    assert model.config_.early_steps == 6


def test_the_sizes_that_are_told_are_those_of_the_library():
    """Halves are rounded up, and a transformer's views are of whole patches (EarlyViewsTests.swift has the same)."""
    views = [{"size": 20, "count": 2}, {"size": 9}]
    with carl.Trainer(width=0.125, views=views, early_view_size=10, early_steps=3) as trainer:
        assert [spec["size"] for spec in _early_views.early_specs(trainer.config)] == [10, 5]
    vit = {"encoder": "vit_tiny", "patch_size": 14, "views": [{"size": 56, "count": 2}, {"size": 28}]}
    with carl.Trainer(vit, early_view_size=42, early_steps=3) as trainer:
        assert [spec["size"] for spec in _early_views.early_specs(trainer.config)] == [42, 28]
