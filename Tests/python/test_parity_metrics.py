"""What carl.Trainer reports beside the loss: diagnostics of the assignments, and the values of all schedules."""

import numpy as np
import pytest

import carl
from reference import optim
from reference.diagnostics import diagnose, diagnose_blocks
from reference.partition import permutation
from reference.problems import images_of, initial_state
from reference.projector import Projector
from reference.resnet import ResNet
from reference.trainer import Settings

#: The smallest network there is: what is compared here does not depend on its size.
SMALL = dict(
    objective="carl",
    optimizer="sgd",
    encoder="resnet18",
    stem="small",
    projector=[12, 8],
    temperature=0.2,
    prior_weight=2.0,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.0,
)
WIDTH, BATCH, SIZE, PROTOTYPES = 1 / 16, 16, 8, 13

DIAGNOSED = {
    "two views": (dict(), 2),
    "three views": (dict(), 3),
    "one-sided": (dict(symmetric=False), 3),
    "sharp": (dict(temperature=0.02), 2),
    "not normalised": (dict(normalize_embedding=False, normalize_prototypes=False, temperature=1.0), 2),
    "partitions": (dict(partition_size=4), 2),
    "partitions, teacher": (dict(partition_size=5, teacher_momentum=0.9, prior_over_targets=True, seed=9), 3),
    "teacher": (dict(teacher_momentum=0.9), 3),
    "teacher, prior over targets": (dict(teacher_momentum=0.9, prior_over_targets=True), 2),
}


def embed(state, settings, views):
    """Projections (B, D) of each view in training mode, in float64; `state` is not changed."""
    state = {key: np.array(value, np.float64) for key, value in state.items()}
    encoder = ResNet(state, settings.encoder, settings.stem)
    head = Projector(state, len(settings.projector), settings.projector_activation)
    return [head.forward(encoder.forward(view.astype(np.float64), True)[0], True)[0] for view in views]


@pytest.mark.parametrize("name", DIAGNOSED)
def test_diagnostics(name):
    changes, count = DIAGNOSED[name]
    config = {**SMALL, **changes}
    settings = Settings(**config)
    student = initial_state(settings, WIDTH, 3, PROTOTYPES)
    teacher = initial_state(settings, WIDTH, 3, PROTOTYPES, seed=1) if settings.teacher_momentum else {}
    trainer = carl.Trainer(config, width=WIDTH, prototypes=PROTOTYPES)
    trainer.load_state_dict(student | {"teacher." + key: value for key, value in teacher.items()})
    views = images_of(count, BATCH, SIZE, 3)
    metrics = trainer.step_views(views)
    teaching = (
        dict(targets=embed(teacher, settings, views), target_prototypes=teacher["prototypes.weight"].astype(np.float64))
        if teacher
        else {}
    )
    size = settings.partition_size or PROTOTYPES
    order = permutation(PROTOTYPES, settings.seed) if settings.partition_size else list(range(PROTOTYPES))
    want = diagnose_blocks(
        embed(student, settings, views),
        student["prototypes.weight"].astype(np.float64),
        [order[at * size : (at + 1) * size] for at in range(PROTOTYPES // size)],
        temperature=settings.temperature,
        normalize_embedding=settings.normalize_embedding,
        normalize_prototypes=settings.normalize_prototypes,
        symmetric=settings.symmetric,
        prior_over_targets=settings.prior_over_targets,
        **teaching,
    )
    assert metrics.effective_prototypes == pytest.approx(want.effective_prototypes, rel=1e-3)
    assert metrics.max_probability == pytest.approx(want.max_probability, rel=1e-3)
    assert metrics.embedding_std == pytest.approx(want.embedding_std, rel=1e-3)
    assert metrics.assigned_prototypes == pytest.approx(want.assigned, rel=1e-6)
    # These two count; the seeds leave no image between two prototypes.
    assert metrics.agreement == pytest.approx(want.agreement, abs=1e-9)
    assert metrics.used_prototypes == len(want.used)
    assert metrics.log_prototypes == pytest.approx(np.log(size))


def test_used_prototypes_are_counted_over_the_window():
    """Without learning, the prototypes used by the last `used_window` steps are those of their batches."""
    settings = Settings(**{**SMALL, "learning_rate": 0.0})
    state = initial_state(settings, WIDTH, 3, PROTOTYPES)
    config = {**SMALL, "learning_rate": 0.0, "used_window": 2}
    trainer = carl.Trainer(config, width=WIDTH, prototypes=PROTOTYPES)
    trainer.load_state_dict(state)
    sets = []
    for step in range(5):
        # Few images, so that one batch does not use all prototypes.
        views = images_of(2, 4, SIZE, 3, seed=step)
        sets.append(
            diagnose(embed(state, settings, views), state["prototypes.weight"].astype(np.float64), temperature=0.2).used
        )
        metrics = trainer.step_views(views)
        assert metrics.used_prototypes == len(set.union(*sets[-2:])), step
        assert metrics.dead_prototypes == (PROTOTYPES - metrics.used_prototypes if step else 0), step
    assert len(set.union(*sets)) > len(set.union(*sets[-2:])), (
        "the window makes no difference here: choose other images"
    )


SCHEDULED = {
    "constant": dict(),
    "cosine": dict(total_steps=8),
    "cosine to a minimum": dict(total_steps=6, min_learning_rate=0.002),
    "warm-up": dict(warmup_steps=3),
    "warm-up, then cosine": dict(warmup_steps=3, total_steps=9, min_learning_rate=1e-4),
    "warm-up of the whole run": dict(warmup_steps=5, total_steps=5),
    "prior that falls": dict(prior_weight={"start": 4.0, "end": 1.0, "steps": 5}),
    "prior that rises": dict(prior_weight={"start": 0.0, "end": 3.0, "steps": 1}),
    "prior at its end": dict(prior_weight={"start": 9.0, "end": 2.5, "steps": 0}),
    "temperature that falls": dict(temperature={"start": 1.0, "end": 0.1, "steps": 6}),
    "contrast that falls": dict(contrast_weight={"start": 2.0, "end": 0.0, "steps": 6}),
    "contrast": dict(contrast_weight=0.5),
    "teacher": dict(teacher_momentum=0.9),
    "teacher towards 1": dict(teacher_momentum=0.6, total_steps=7),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules(name):
    """Ten steps, also beyond the end of the schedule."""
    config = {**SMALL, "learning_rate": 0.01, **SCHEDULED[name]}
    settings = Settings(**config)
    trainer = carl.Trainer(config, width=WIDTH, prototypes=PROTOTYPES)
    views = images_of(2, 4, 4, 3)
    for step in range(10):
        metrics = trainer.step_views(views)
        rate = optim.learning_rate(step, 0.01, settings.min_learning_rate, settings.warmup_steps, settings.total_steps)
        weight = optim.ramp(step, settings.prior_weight)
        assert metrics.temperature == pytest.approx(optim.ramp(step, settings.temperature), rel=1e-9), step
        momentum = settings.teacher_momentum and optim.teacher_momentum(
            step, settings.teacher_momentum, settings.total_steps
        )
        assert metrics.learning_rate == pytest.approx(rate, rel=1e-9, abs=1e-15), step
        assert metrics.prior_weight == pytest.approx(weight, rel=1e-9), step
        assert metrics.teacher_momentum == pytest.approx(momentum, rel=1e-9), step
        contrast = optim.ramp(step, settings.contrast_weight)
        assert metrics.contrast_weight == pytest.approx(contrast, rel=1e-9), step
        terms = metrics.consistency + weight * metrics.prior + contrast * metrics.contrast
        assert metrics.loss == pytest.approx(terms, rel=1e-9), step
        assert metrics.step == step + 1


def test_accumulation_updates_every_few_steps():
    trainer = carl.Trainer({**SMALL, "accumulate": 3}, width=WIDTH, prototypes=PROTOTYPES)
    before = trainer.state_dict()["prototypes.weight"]
    updated = []
    for step in range(7):
        updated.append(trainer.step_views(images_of(2, 4, 4, 3, seed=step)).updated)
        after = trainer.state_dict()["prototypes.weight"]
        assert updated[-1] == (not np.array_equal(before, after)), step
        before = after
    assert updated == [False, False, True] * 2 + [False]
