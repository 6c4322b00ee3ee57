"""What CARP adds to training: partitions, its setting by name, several sizes of views in less memory, and the warning
of a degenerate run."""

from __future__ import annotations

import math

import numpy as np
import pytest

import carl
from carl._resolved import default_encoder
from conftest import small_model


def test_carp_is_a_name_for_its_published_values():
    small = dict(encoder="resnet18", width=0.125, projector=[16, 8], view_size=16, prototypes=40, partition_size=16)
    with carl.Trainer(objective="carp", batch_size=512, **small) as trainer:
        config = trainer.config
    assert (config.objective, config.teacher_momentum, config.prior_over_targets, config.optimizer) == (
        "carp",
        0.99,
        True,
        "lars",
    )
    assert (config.temperature, config.normalize_embedding, config.normalize_prototypes, config.prior_weight) == (
        1,
        False,
        True,
        1,
    )
    assert (config.learning_rate, config.weight_decay, config.projector_activation) == (0.9, 1e-6, "gelu")
    assert (config.partition_size, config.prototypes, config.views, config.encoder) == (16, 40, "multicrop", "resnet18")
    with carl.Trainer(config.to_json()) as again:
        assert again.config == config


def test_blocks_of_a_partition(make_trainer, images):
    trainer = make_trainer(prototypes=50, partition_size=8, used_window=3)
    for _ in range(4):
        metrics = trainer.step(images)
        assert metrics.log_prototypes == pytest.approx(math.log(8))
        assert 1 <= metrics.effective_prototypes <= 8 and 1 / 8 <= metrics.max_probability <= 1
        assert (
            metrics.consistency < 3 * math.log(8) and 0 <= metrics.prior <= math.log(8) and 0 <= metrics.agreement <= 1
        )
    assert metrics.used_prototypes + metrics.dead_prototypes == 50 and metrics.used_prototypes >= 6
    # Two prototypes sit out a step; which ones changes from step to step.
    left = []
    for _ in range(3):
        trainer.step(images)
        left.append(np.flatnonzero(~trainer.gradients()["prototypes.weight"].any(axis=1)).tolist())
    assert all(len(rows) == 2 for rows in left) and len(set(map(tuple, left))) > 1


def test_a_degenerate_run_is_named_with_advice(make_trainer, images, caplog):
    """At this temperature all assignments are uniform; the warning says so once."""
    trainer = make_trainer(temperature=1e4, partition_size=3, learning_rate=0)
    with caplog.at_level("WARNING", logger="carl"):
        collapsed = [trainer.step(images[:8]).collapsed for _ in range(35)]
    assert collapsed[0] == 0 and collapsed[-1] == 2
    warnings = [record.getMessage() for record in caplog.records if "collapse" in record.getMessage()]
    assert len(warnings) == 1
    assert "all 3 prototypes alike" in warnings[0] and 'smaller "temperature"' in warnings[0]


def test_recomputing_takes_less_memory(make_trainer):
    random = np.random.default_rng(2)
    views = [random.standard_normal((16, size, size, 3), dtype=np.float32) for size in (24, 24, 12, 12, 12, 12)]
    kept, recomputed = make_trainer(teacher_momentum=0.9), make_trainer(teacher_momentum=0.9, recompute=True)
    for _ in range(2):
        a, b = kept.step_views(views), recomputed.step_views(views)
        assert b.loss == pytest.approx(a.loss, rel=1e-4)
    assert b.memory_bytes < 0.7 * a.memory_bytes
    statistics = [trainer.state_dict()["encoder.bn1.running_mean"] for trainer in (kept, recomputed)]
    np.testing.assert_allclose(*statistics, rtol=1e-4, atol=1e-6)


def test_the_estimator_trains_with_partitions(images):
    model = small_model(
        objective="carp",
        encoder="resnet18",
        prototypes=30,
        partition_size=8,
        epochs=1,
        views=[{"size": 12, "count": 2}, {"size": 8, "count": 2}],
    )
    model.fit(images)
    assert (
        model.config_.objective == "carp"
        and model.config_.partition_size == 8
        and model.config_.teacher_momentum == 0.99
    )
    assert model.predict_proba(images).shape == (40, 30)
    np.testing.assert_allclose(model.predict_proba(images).sum(1), 1, rtol=1e-5)
    assert all(np.isfinite(metrics.loss) for metrics in model.history_)


def test_the_estimator_takes_the_encoder_of_the_setting(images):
    """What is not given is the library's default for the objective."""
    model = carl.CARL(
        objective="carp",
        stem="small",
        width=1 / 16,
        projector=[8],
        prototypes=6,
        partition_size=3,
        epochs=1,
        progress=False,
        views=[{"size": 12, "count": 2}],
    )
    assert model.fit(images).config_.encoder == "resnet50"
    assert [default_encoder(objective) for objective in (None, "carl", "carp")] == ["resnet18", "resnet18", "resnet50"]


def test_a_resumed_run_draws_the_same_partitions(make_trainer, views, tmp_path):
    config = dict(
        prototypes=30,
        partition_size=8,
        teacher_momentum=0.9,
        temperature={"start": 1, "end": 0.1, "steps": 5},
        freeze_prototypes=1,
    )
    whole, half = make_trainer(**config), make_trainer(**config)
    for _ in range(2):
        whole.step_views(views)
        half.step_views(views)
    half.save(tmp_path / "half.carl")
    with carl.Trainer.resume(tmp_path / "half.carl") as resumed:
        for _ in range(3):
            a, b = whole.step_views(views), resumed.step_views(views)
            assert (a.loss, a.temperature, a.dead_prototypes) == (b.loss, b.temperature, b.dead_prototypes)


def test_resuming_cannot_change_the_name_of_the_setting(make_trainer, views, tmp_path):
    make_trainer().save(tmp_path / "run.carl")
    with pytest.raises(carl.ConfigurationError, match="objective"):
        carl.Trainer.resume(tmp_path / "run.carl", objective="carp")
