"""What an update does to the parameters, given the library's own gradients: optimizers, clipping, accumulation,
schedules, teacher.

The gradients come from trainer.gradients(), so that nothing but the update itself is compared, and tightly.
"""

import numpy as np
import pytest

import carl
from reference import optim
from reference.problems import images_of

BASE = dict(
    encoder="resnet18",
    stem="small",
    width=1 / 16,
    projector=[12, 8],
    prototypes=7,
    temperature=0.2,
    prior_weight=2.0,
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=0.01,
    trust_coefficient=0.001,
    seed=3,
)

#: Configurations on top of BASE.
UPDATES = {
    "sgd": dict(),
    "sgd without momentum": dict(momentum=0.0),
    "sgd without decay": dict(weight_decay=0.0),
    "sgd, schedule": dict(schedule="cosine", warmup_steps=2, total_steps=5, min_learning_rate=0.001),
    "lars": dict(optimizer="lars", learning_rate=2.0),
    "lars, clipped": dict(optimizer="lars", learning_rate=2.0, clip_norm=0.1, weight_decay=0.3),
    "lars, residuals of scale 1": dict(optimizer="lars", zero_init_residual=False),
    "adamw": dict(optimizer="adamw", learning_rate=0.003, weight_decay=0.5),
    "adamw, other momentum": dict(optimizer="adamw", learning_rate=0.003, momentum=0.5, weight_decay=0.0),
    "clipped": dict(clip_norm=0.2),
    "clipped beyond reach": dict(clip_norm=1e6),
    "accumulated": dict(accumulate=2),
    "accumulated, clipped, adamw": dict(accumulate=3, clip_norm=0.1, optimizer="adamw", learning_rate=0.003),
    "frozen prototypes": dict(freeze_prototypes=2),
    "frozen prototypes, accumulated, clipped, adamw": dict(
        freeze_prototypes=3, accumulate=2, clip_norm=0.1, optimizer="adamw", learning_rate=0.003
    ),
    "frozen prototypes, adamw": dict(freeze_prototypes=3, optimizer="adamw", learning_rate=0.003),
    "teacher": dict(teacher_momentum=0.8),
    "teacher towards 1": dict(schedule="cosine", teacher_momentum=0.5, total_steps=4),
    "teacher, accumulated": dict(teacher_momentum=0.8, accumulate=2, optimizer="lars"),
}
STEPS = 6


def is_statistic(key):
    return key.endswith((".running_mean", ".running_var"))


@pytest.mark.parametrize("name", UPDATES)
def test_update(name):
    config = {**BASE, **UPDATES[name]}
    trainer = carl.Trainer(config)
    setting = lambda key, default=None: config.get(key, default)
    optimizer = optim.OPTIMIZERS[setting("optimizer", "sgd")](config["momentum"], config["weight_decay"])
    accumulate, sums, moved = setting("accumulate", 1), {}, set()
    for step in range(STEPS):
        before = trainer.state_dict()
        metrics = trainer.step_views(images_of(2, 8, 8, 3, seed=step))
        gradients = {key: value.astype(np.float64) for key, value in trainer.gradients().items()}
        assert metrics.gradient_norm == pytest.approx(optim.gradient_norm(gradients), rel=1e-5)
        # Kept in float32, as the trainer does: where a sum cancels, AdamW makes its rounding a visible part of a step.
        share = np.float32(1 / accumulate)
        sums = {
            key: (np.float32(sums.get(key, 0)) + share * value.astype(np.float32)).astype(np.float64)
            for key, value in gradients.items()
        }
        own = {key: before[key].astype(np.float64) for key in gradients}
        want = dict(own)
        if (step + 1) % accumulate == 0:
            frozen = step + 1 <= setting("freeze_prototypes", 0)
            if frozen:
                del sums["prototypes.weight"]
            factor = optim.clip_factor(optim.gradient_norm(sums), setting("clip_norm"))
            rate = optim.learning_rate(
                step,
                config["learning_rate"],
                setting("min_learning_rate", 0.0),
                setting("warmup_steps", 0),
                setting("total_steps"),
            )
            trained = dict(want)
            if frozen:
                del trained["prototypes.weight"]
            optimizer.step(trained, {key: factor * value for key, value in sums.items()}, rate)
            want.update(trained)
            sums = {}
            if setting("teacher_momentum"):
                momentum = optim.teacher_momentum(step, config["teacher_momentum"], setting("total_steps"))
                for key, value in list(want.items()):
                    teacher = before["teacher." + key].astype(np.float64)
                    own["teacher." + key] = teacher
                    want["teacher." + key] = momentum * teacher + (1 - momentum) * value
        after = trainer.state_dict()
        assert {key for key in after if not is_statistic(key)} >= want.keys()
        for key, value in want.items():
            step_size = np.abs(value - own[key]).max()
            moved |= {key} if step_size > 0 else set()
            # A float32 value is stored to 6e-8 of itself; sums of gradients add a few such errors of the step.
            bound = 2e-7 * np.abs(own[key]).max() + 1e-5 * step_size
            assert np.abs(after[key] - value).max() <= bound, f"{key} in step {step}"
    # Each kind of parameter took part.
    for key in (
        "encoder.conv1.weight",
        "encoder.bn1.weight",
        "encoder.layer4.1.bn2.bias",
        "projector.3.bias",
        "prototypes.weight",
    ):
        assert key in moved
        assert not setting("teacher_momentum") or "teacher." + key in moved


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_learning_rate_of_zero_moves_nothing(optimizer):
    trainer = carl.Trainer({**BASE, "optimizer": optimizer, "learning_rate": 0.0})
    before = trainer.state_dict()
    trainer.step_views(images_of(2, 8, 8, 3))
    after = trainer.state_dict()
    for key, value in before.items():
        assert np.array_equal(value, after[key]) != is_statistic(key), key


def test_teacher_keeps_its_own_running_statistics():
    """Its batch norms see the first views through the teacher's weights; only parameters are averaged."""
    trainer = carl.Trainer({**BASE, "teacher_momentum": 0.5, "learning_rate": 0.0})
    state = trainer.state_dict()
    for key in [key for key in state if key.startswith("teacher.") and key.endswith("conv1.weight")]:
        state[key] = 1.5 * state[key]
    trainer.load_state_dict(state)
    trainer.step_views(images_of(2, 8, 8, 3))
    after = trainer.state_dict()
    key = "encoder.bn1.running_var"
    assert not np.array_equal(after["teacher." + key], state["teacher." + key])
    # Variances of outputs of weights 1.5 times as large; both started from 1, and keep 0.81 of it after two views.
    np.testing.assert_allclose(after["teacher." + key] - 0.81, 2.25 * (after[key] - 0.81), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
@pytest.mark.parametrize("clip", [1e-30, 1e-38, 1e-39, 1e-44])
def test_gradients_near_the_smallest_numbers_leave_numbers(optimizer, clip):
    """LARS divides by their norm, which may have no inverse in float32."""
    features = np.random.default_rng(0).normal(size=(2, 6, 64)).astype(np.float32)
    rates = dict(optimizer=optimizer, clip_norm=clip, weight_decay=0.0, learning_rate=0.1)
    with carl.Trainer(
        encoder="resnet18", width=1 / 8, projector=[16, 8], prototypes=5, train_encoder="none", **rates
    ) as trainer:
        before = trainer.state_dict()
        for _ in range(3):
            assert trainer.step_features(features).updated
        after = trainer.state_dict()
        assert all(np.isfinite(value).all() for value in after.values())
        if optimizer == "lars":  # which moves by a share of the parameters, whatever the gradient
            weight = "prototypes.weight"
            moved = np.linalg.norm(after[weight] - before[weight]) / np.linalg.norm(before[weight])
            assert moved < 3 * 0.1 * 0.02 * 3
