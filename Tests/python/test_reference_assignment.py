"""The reference of the objective: finite differences over its options, values known in closed form, torch."""

import itertools

import numpy as np
import pytest

from reference.assignment import assignment_loss
from reference.differences import numeric_gradient, relative_error

LIMIT = 2e-6


def problem(views=2, batch=3, dimension=4, prototypes=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, dimension)) for _ in range(views)], rng.standard_normal((prototypes, dimension))


def check_gradients(views, prototypes, **options):
    """Without detached targets the analytic gradient is that of the value."""
    result = assignment_loss(views, prototypes, **options)
    value = lambda: assignment_loss(views, prototypes, **options).loss
    for view, gradient in zip(views, result.grad_views, strict=True):
        assert relative_error(gradient, numeric_gradient(value, view)) < LIMIT
    assert relative_error(result.grad_prototypes, numeric_gradient(value, prototypes)) < LIMIT


@pytest.mark.parametrize("normalize_embedding, normalize_prototypes", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("views", [2, 3])
def test_gradients_without_detaching(views, symmetric, normalize_embedding, normalize_prototypes):
    z, c = problem(views)
    check_gradients(
        z,
        c,
        stop_gradient=False,
        symmetric=symmetric,
        temperature=0.7,
        prior_weight=2.5,
        normalize_embedding=normalize_embedding,
        normalize_prototypes=normalize_prototypes,
    )


@pytest.mark.parametrize("batch, dimension, prototypes", [(1, 3, 4), (4, 1, 3), (3, 5, 1), (1, 1, 2), (7, 2, 9)])
def test_gradients_of_odd_shapes(batch, dimension, prototypes):
    z, c = problem(2, batch, dimension, prototypes)
    check_gradients(z, c, stop_gradient=False, normalize_embedding=False, normalize_prototypes=False, temperature=0.9)


@pytest.mark.parametrize("views, target_views", [(2, None), (3, None), (3, 2)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_detached_targets_are_constants(views, target_views, symmetric):
    """With targets frozen at their values, the value's gradient is the detached one; the prior sees the students
    alone."""
    z, c = problem(views)
    options = dict(symmetric=symmetric, temperature=0.5, prior_weight=1.5)
    result = assignment_loss(z, c, stop_gradient=True, target_views=target_views, **options)
    frozen, frozen_c = [view.copy() for view in z[:target_views]], c.copy()
    value = lambda: assignment_loss(z, c, targets=frozen, target_prototypes=frozen_c, **options).loss
    assert result.loss == pytest.approx(value(), rel=1e-13)
    for view, gradient in zip(z, result.grad_views, strict=True):
        assert relative_error(gradient, numeric_gradient(value, view)) < LIMIT
    assert relative_error(result.grad_prototypes, numeric_gradient(value, c)) < LIMIT


@pytest.mark.parametrize("prior_over_targets", [False, True])
@pytest.mark.parametrize("own_prototypes", [False, True])
def test_gradients_with_a_teacher(own_prototypes, prior_over_targets):
    (z, c), (t, tc) = problem(3, seed=1), problem(2, seed=2)
    result = assignment_loss(
        z,
        c,
        targets=t,
        target_prototypes=tc if own_prototypes else None,
        prior_over_targets=prior_over_targets,
        prior_weight=3,
    )
    frozen = tc if own_prototypes else c.copy()
    value = lambda: (
        assignment_loss(
            z, c, targets=t, target_prototypes=frozen, prior_over_targets=prior_over_targets, prior_weight=3
        ).loss
    )
    for view, gradient in zip(z, result.grad_views, strict=True):
        assert relative_error(gradient, numeric_gradient(value, view)) < LIMIT
    assert relative_error(result.grad_prototypes, numeric_gradient(value, c)) < LIMIT


@pytest.mark.parametrize("prototypes, block", [(6, 3), (7, 3), (5, 5), (4, 1), (5, 4)])
def test_gradients_with_partitions(prototypes, block):
    z, c = problem(2, prototypes=prototypes)
    permutation = np.random.default_rng(3).permutation(prototypes)
    check_gradients(
        z, c, permutation=permutation, block_size=block, stop_gradient=False, normalize_embedding=False, temperature=0.8
    )
    result = assignment_loss(z, c, permutation=permutation, block_size=block)
    left_over = permutation[prototypes // block * block :]
    assert not result.grad_prototypes[left_over].any()


def test_partition_is_the_mean_over_its_blocks():
    z, c = problem(2, prototypes=7)
    permutation = np.random.default_rng(4).permutation(7)
    whole = assignment_loss(z, c, permutation=permutation, block_size=3)
    parts = [assignment_loss(z, c[permutation[at : at + 3]]) for at in (0, 3)]
    for name in ("loss", "consistency", "prior"):
        assert getattr(whole, name) == pytest.approx(np.mean([getattr(part, name) for part in parts]), rel=1e-13)


@pytest.mark.parametrize("prototypes", [1, 2, 10, 300])
def test_uniform_assignments_cost_log_k_of_consistency_and_no_prior(prototypes):
    z = [np.ones((4, 3)), np.ones((4, 3))]
    result = assignment_loss(z, np.ones((prototypes, 3)))
    assert result.consistency == pytest.approx(np.log(prototypes), abs=1e-12)
    assert result.prior == pytest.approx(0, abs=1e-12)


def test_identical_one_hot_assignments_cost_nothing():
    z = np.eye(5)
    result = assignment_loss([z, z], np.eye(5), temperature=1e-3)
    assert result.consistency == pytest.approx(0, abs=1e-12)
    assert result.prior == pytest.approx(0, abs=1e-12)


def test_one_prototype_for_all_costs_log_k_of_prior():
    z = np.tile([[1.0, 0, 0]], (6, 1))
    result = assignment_loss([z, z], np.eye(3), temperature=1e-3)
    assert result.consistency == pytest.approx(0, abs=1e-12)
    assert result.prior == pytest.approx(np.log(3), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_extreme_logits_stay_finite(dtype):
    one, other = np.zeros((2, 4), dtype), np.zeros((2, 4), dtype)
    one[:, 0], other[:, 1] = 1e4, 1e4
    one[1], other[1] = -one[1], -other[1]
    raw = dict(normalize_embedding=False, normalize_prototypes=False)
    result = assignment_loss([one, other], np.eye(4, dtype=dtype), **raw)
    assert np.isfinite(result.loss)
    assert all(np.isfinite(gradient).all() for gradient in [*result.grad_views, result.grad_prototypes])
    # Image 0: both views are sure and disagree, -log sum p q = 10^4 - log 2, and the gradient does not vanish.
    assert result.consistency > 4e3
    assert abs(result.grad_views[0][0]).max() > 0.05


def test_detached_gradient_is_half_of_the_undetached_one():
    z, c = problem()
    half = assignment_loss(z, c, prior_weight=0, stop_gradient=True)
    full = assignment_loss(z, c, prior_weight=0, stop_gradient=False)
    for a, b in zip([*half.grad_views, half.grad_prototypes], [*full.grad_views, full.grad_prototypes], strict=True):
        np.testing.assert_allclose(2 * a, b, rtol=1e-12, atol=1e-14)


def test_agrees_with_torch_autograd():
    torch = pytest.importorskip("torch")
    z, c = problem(3, batch=5)
    result = assignment_loss(z, c, temperature=0.3, prior_weight=2)
    tz, tc = [torch.tensor(view, requires_grad=True) for view in z], torch.tensor(c, requires_grad=True)
    unit = torch.nn.functional.normalize
    p = [torch.softmax(unit(view) @ unit(tc).T / 0.3, 1) for view in tz]
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    consistency = sum(-(p[a] * p[b].detach()).sum(1).log().mean() for a, b in pairs) / len(pairs)
    mean = torch.cat(p).mean(0)
    prior = np.log(len(c)) + (mean * mean.log()).sum()
    (consistency + 2 * prior).backward()
    assert result.consistency == pytest.approx(consistency.item(), rel=1e-12)
    assert result.prior == pytest.approx(prior.item(), rel=1e-11)
    for view, gradient in zip(tz, result.grad_views, strict=True):
        assert relative_error(gradient, view.grad.numpy()) < 1e-11
    assert relative_error(result.grad_prototypes, tc.grad.numpy()) < 1e-11
