"""carl.assignment_loss against the float64 reference: value of each term and gradients."""

import numpy as np
import pytest

import carl
from reference.assignment import assignment_loss
from reference.differences import relative_error

VALUE, GRADIENT = 1e-5, 1e-4


def compare(
    views, prototypes, *, targets=None, target_prototypes=None, scale=None, own=None, reference=None, **options
):
    """`scale`: the size a gradient's error is held against, where the gradient itself vanishes. `own`, `reference`:
    options that the library, or the reference, calls otherwise."""
    single = lambda arrays: None if arrays is None else [a.astype(np.float32) for a in arrays]
    views, prototypes, targets = single(views), prototypes.astype(np.float32), single(targets)
    if target_prototypes is not None:
        target_prototypes = target_prototypes.astype(np.float32)
    got = carl.assignment_loss(
        views, prototypes, targets=targets, target_prototypes=target_prototypes, **options, **(own or {})
    )
    double = lambda arrays: None if arrays is None else [a.astype(np.float64) for a in arrays]
    want = assignment_loss(
        double(views),
        prototypes.astype(np.float64),
        targets=double(targets),
        target_prototypes=None if target_prototypes is None else target_prototypes.astype(np.float64),
        **options,
        **(reference or {}),
    )
    for name in ("loss", "consistency", "prior"):
        # A prior near 0 is a difference of numbers of the size of log K.
        floor = max(np.log(len(prototypes)), 0.1)
        assert abs(getattr(got, name) - getattr(want, name)) < VALUE * max(abs(getattr(want, name)), floor), name
    for place, (a, b) in enumerate(zip(got.grad_views, want.grad_views, strict=True)):
        assert gradient_error(a, b, scale) < GRADIENT, f"gradient of view {place}"
    assert gradient_error(got.grad_prototypes, want.grad_prototypes, scale) < GRADIENT, "gradient of the prototypes"
    return got, want


def gradient_error(got, want, scale):
    assert np.isfinite(got).all()
    if scale is None:
        return relative_error(got, want)
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), scale)


def problem(views, batch, dimension, prototypes, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((batch, dimension))
    return [base + 0.5 * rng.standard_normal((batch, dimension)) for _ in range(views)], rng.standard_normal(
        (prototypes, dimension)
    )


SHAPES = [
    # V, B, D, K
    (2, 2, 1, 2),
    (2, 3, 5, 7),
    (2, 1, 4, 3),
    (2, 16, 8, 8),
    (3, 5, 7, 9),
    (4, 17, 33, 31),
    (2, 64, 128, 300),
    (2, 33, 16, 1000),
    (2, 8, 64, 4097),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_shapes(shape, stop_gradient):
    # In one dimension a unit row is a sign and no gradient is left: there, without normalisation.
    unit = shape[2] > 1
    compare(
        *problem(*shape),
        stop_gradient=stop_gradient,
        temperature=0.5,
        prior_weight=2.0,
        normalize_embedding=unit,
        normalize_prototypes=unit,
    )


@pytest.mark.parametrize("normalize_embedding", [True, False])
@pytest.mark.parametrize("normalize_prototypes", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("prior_weight", [0.0, 3.5])
def test_options(normalize_embedding, normalize_prototypes, symmetric, stop_gradient, prior_weight):
    compare(
        *problem(3, 12, 10, 21, seed=5),
        temperature=0.8,
        normalize_embedding=normalize_embedding,
        normalize_prototypes=normalize_prototypes,
        symmetric=symmetric,
        stop_gradient=stop_gradient,
        prior_weight=prior_weight,
    )


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0, 20.0])
def test_temperatures(temperature):
    compare(*problem(2, 32, 24, 50, seed=6), temperature=temperature, prior_weight=2.0)


@pytest.mark.parametrize("students, teachers", [(1, 2), (2, 2), (4, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("own_prototypes", [True, False])
@pytest.mark.parametrize("prior_over_targets", [True, False])
def test_teacher(students, teachers, own_prototypes, prior_over_targets):
    z, c = problem(students, 9, 12, 15, seed=7)
    t, tc = problem(teachers, 9, 12, 15, seed=8)
    compare(
        z,
        c,
        targets=t,
        target_prototypes=tc if own_prototypes else None,
        prior_over_targets=prior_over_targets,
        temperature=0.3,
        prior_weight=1.5,
    )


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_one_prototype(stop_gradient):
    """K = 1: every assignment is certain, both terms and all gradients are 0."""
    got, _ = compare(*problem(2, 6, 4, 1), stop_gradient=stop_gradient, scale=1.0)
    assert got.consistency == pytest.approx(0, abs=1e-6)
    assert got.prior == pytest.approx(0, abs=1e-6)


def test_uniform_assignments():
    z = [np.ones((4, 6)), np.ones((4, 6))]
    got, _ = compare(z, np.ones((10, 6)), scale=1.0)
    assert got.consistency == pytest.approx(np.log(10), rel=1e-6)
    assert got.prior == pytest.approx(0, abs=1e-6)


def test_identical_one_hot_assignments():
    z = np.eye(8)
    got, _ = compare([z, z], np.eye(8), temperature=0.01, scale=1.0)
    assert got.consistency == pytest.approx(0, abs=1e-6)
    assert got.prior == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [50.0, 1e3, 1e4])
@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("prototypes", [2, 9, 40])
def test_extreme_logits(size, stop_gradient, prototypes):
    """Logits of +-size, views that agree and views that do not. All values are exact in float32, so the bounds stay
    strict."""
    rng = np.random.default_rng(9)
    z = [size * rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], (6, prototypes)) for _ in range(2)]
    z[1][0] = z[0][0]
    z[0][1], z[1][1] = 0, 0
    z[0][1, 0], z[1][1, 1] = size, size
    raw = dict(normalize_embedding=False, normalize_prototypes=False)
    compare(z, np.eye(prototypes), stop_gradient=stop_gradient, prior_weight=2.0, scale=1e-3, **raw)


def test_complete_disagreement_keeps_its_gradient():
    z = [1e4 * np.eye(4)[[0, 0]], 1e4 * np.eye(4)[[1, 1]]]
    raw = dict(normalize_embedding=False, normalize_prototypes=False)
    got, _ = compare(z, np.eye(4), prior_weight=0.0, **raw)
    assert got.consistency == pytest.approx(1e4, rel=1e-3)
    # (p - q) / (pairs * images) = 0.5 / (2 * 2)
    assert abs(got.grad_views[0]).max() == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize("length", [1e-10, 1e-4, 1e15, 1e30])
def test_very_short_and_long_rows(length):
    z, c = problem(2, 5, 6, 7, seed=10)
    z = [length * view for view in z]
    compare(z, c, temperature=0.5)


def test_zero_rows_stay_finite():
    z, c = problem(2, 5, 6, 7, seed=11)
    z[0][2] = 0
    c[3] = 0
    got = carl.assignment_loss([view.astype(np.float32) for view in z], c.astype(np.float32))
    assert np.isfinite(got.loss)
    assert all(np.isfinite(gradient).all() for gradient in [*got.grad_views, got.grad_prototypes])


def test_partitions_are_a_mean_over_blocks():
    """What does not depend on the permutation."""
    z, c = problem(2, 6, 5, 12, seed=12)
    z, c = [view.astype(np.float32) for view in z], c.astype(np.float32)
    # Blocks of all prototypes: any permutation is the unpartitioned objective.
    whole, blocked = carl.assignment_loss(z, c), carl.assignment_loss(z, c, partition_size=12, seed=1)
    assert blocked.loss == pytest.approx(whole.loss, rel=1e-5)
    assert relative_error(blocked.grad_prototypes, whole.grad_prototypes) < GRADIENT
    # Blocks of one: assignments are certain.
    single = carl.assignment_loss(z, c, partition_size=1, seed=1)
    assert single.loss == pytest.approx(0, abs=1e-5)


def test_results_do_not_depend_on_threads():
    z, c = problem(3, 37, 20, 90, seed=13)
    z, c = [view.astype(np.float32) for view in z], c.astype(np.float32)
    one, two = carl.assignment_loss(z, c, threads=1), carl.assignment_loss(z, c, threads=2)
    assert one.loss == pytest.approx(two.loss, rel=1e-6)
    assert relative_error(one.grad_prototypes, two.grad_prototypes) < 1e-5


@pytest.mark.parametrize("partition_size", [None, 5])
def test_halves_of_a_batch_average_to_the_whole_but_for_the_prior(partition_size):
    """What makes accumulated gradients exact for the consistency, a mean over images, and not for the prior."""
    z, c = problem(2, 12, 6, 20, seed=14)
    z, c = np.float32(z), c.astype(np.float32)

    def call(rows, weight):
        return carl.assignment_loss(
            list(z[:, rows]), c, prior_weight=weight, partition_size=partition_size, temperature=0.2
        ).grad_prototypes

    for weight, same in ((0.0, True), (2.0, False)):
        halves = (call(slice(0, 6), weight) + call(slice(6, 12), weight)) / 2
        assert (relative_error(halves, call(slice(0, 12), weight)) < 1e-5) == same
