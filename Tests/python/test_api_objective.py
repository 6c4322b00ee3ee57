"""carl.assignment_loss against the definition in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

import carl


def reference(
    views, prototypes, temperature, prior_weight, normalize_embedding=True, normalize_prototypes=True, symmetric=True
):
    """Loss, consistency, prior as defined; no gradients."""

    def rows(x, unit):
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x

    logs = []
    for view in views:
        logits = rows(view, normalize_embedding) @ rows(prototypes, normalize_prototypes).T / temperature
        logs.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    count = len(logs)
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b and (symmetric or a < b)]
    consistency = np.mean([-np.logaddexp.reduce(logs[a] + logs[b], axis=1).mean() for a, b in pairs])
    mean = np.mean([np.exp(log).mean(0) for log in logs], axis=0)
    prior = math.log(len(prototypes)) + np.sum(mean * np.log(mean))
    return consistency + prior_weight * prior, consistency, prior


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    base = random.standard_normal((12, 7))
    views = [(base + 0.4 * random.standard_normal(base.shape)).astype(np.float32) for _ in range(3)]
    return views, random.standard_normal((9, 7)).astype(np.float32)


@pytest.mark.parametrize(
    "options", [{}, {"normalize_embedding": False}, {"normalize_prototypes": False}, {"symmetric": False}]
)
def test_values(data, options):
    views, prototypes = data
    found = carl.assignment_loss(views, prototypes, temperature=0.3, prior_weight=2, **options)
    expected = reference(views, prototypes, 0.3, 2, **options)
    np.testing.assert_allclose([found.loss, found.consistency, found.prior], expected, rtol=1e-5)
    assert len(found.grad_views) == 3 and found.grad_views[0].shape == (12, 7) and found.grad_prototypes.shape == (9, 7)


def test_gradients_by_finite_differences(data):
    views, prototypes = data
    found = carl.assignment_loss(views, prototypes, temperature=0.3, prior_weight=2, stop_gradient=False)
    for array, gradient, rebuild in [
        (views[1], found.grad_views[1], lambda x: ([views[0], x, views[2]], prototypes)),
        (prototypes, found.grad_prototypes, lambda x: (views, x)),
    ]:
        for place in [(0, 0), (3, 4), (8, 6)]:
            ends = []
            for sign in (1, -1):
                moved = array.astype(np.float64)
                moved[place] += sign * 1e-5
                ends.append(reference(*rebuild(moved), 0.3, 2)[0])
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-6)


def test_detached_symmetric_gradient_is_half_in_the_consistency(data):
    views, prototypes = data
    kept = carl.assignment_loss(views[:2], prototypes, prior_weight=0, stop_gradient=False)
    detached = carl.assignment_loss(views[:2], prototypes, prior_weight=0)
    np.testing.assert_allclose(detached.grad_views[0], kept.grad_views[0] / 2, rtol=1e-4, atol=1e-8)
    assert detached.loss == pytest.approx(kept.loss)


def test_known_values():
    zeros = np.zeros((4, 3), np.float32)
    uniform = carl.assignment_loss([zeros, zeros], np.eye(3, dtype=np.float32), normalize_embedding=False)
    assert uniform.prior == pytest.approx(0, abs=1e-6) and uniform.consistency == pytest.approx(math.log(3))
    sharp = (np.eye(3) * 1e4).astype(np.float32)
    found = carl.assignment_loss([sharp, sharp], np.eye(3, dtype=np.float32), normalize_embedding=False)
    assert found.consistency == pytest.approx(0, abs=1e-6) and found.prior == pytest.approx(0, abs=1e-6)
    apart = carl.assignment_loss(
        [sharp, sharp[::-1].copy()], np.eye(3, dtype=np.float32), normalize_embedding=False, stop_gradient=False
    )
    assert math.isfinite(apart.loss) and apart.loss > 1000
    assert all(np.isfinite(gradient).all() for gradient in [*apart.grad_views, apart.grad_prototypes])
    assert np.abs(apart.grad_views[0]).max() > 0


def test_targets_get_no_gradient_and_count(data):
    views, prototypes = data
    found = carl.assignment_loss(views[:2], prototypes, targets=views[:2])
    assert len(found.grad_views) == 2
    same = carl.assignment_loss(views[:2], prototypes)
    assert found.loss == pytest.approx(same.loss, rel=1e-5)
    other = carl.assignment_loss(views[:2], prototypes, targets=views[1:], target_prototypes=prototypes[::-1].copy())
    assert other.loss != pytest.approx(same.loss)


def test_strided_input(data):
    views, prototypes = data
    strided = [np.repeat(view, 2, axis=1)[:, ::2] for view in views]
    assert (
        carl.assignment_loss(strided, np.asfortranarray(prototypes)).loss
        == carl.assignment_loss(views, prototypes).loss
    )
    assert carl.assignment_loss(np.stack(views), prototypes).loss == carl.assignment_loss(views, prototypes).loss


def _z(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([_z(4, 3)], _z(2, 3)), {}, "at least 2"),
        (([], _z(2, 3)), {}, "views"),
        (([_z(4, 3), _z(5, 3)], _z(2, 3)), {}, r"views\[1\]"),
        (([_z(4, 3), _z(4, 2)], _z(2, 3)), {}, r"views\[1\]"),
        (([_z(4, 3), _z(4, 3)], _z(2, 4)), {}, "prototypes"),
        (([_z(4, 3), _z(4, 3)], _z(0, 3)), {}, "prototypes.*empty"),
        (([_z(4, 3), _z(4, 3).astype(np.float64)], _z(2, 3)), {}, "float64"),
        (([_z(4, 3), _z(4, 3) * np.inf], _z(2, 3)), {}, r"views\[1\].*finite"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"temperature": 0}, "temperature"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"temperature": float("nan")}, "temperature"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"prior_weight": -1}, "prior_weight"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"seed": -1}, "seed"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"partition_size": 0}, "partition_size"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"targets": [_z(4, 2)]}, "targets"),
        (([_z(4, 3), _z(4, 3)], _z(2, 3)), {"target_prototypes": _z(2, 3)}, "without targets"),
        (("ab", _z(2, 3)), {}, "views"),
    ],
)
def test_bad_input(arguments, options, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        carl.assignment_loss(*arguments, **options)


# ---- Views


def test_make_views_is_what_training_sees(images):
    views = carl.make_views(images, {"size": 10, "count": 2}, seed=5)
    assert [view.shape for view in views] == [(40, 10, 10, 3)] * 2 and views[0].dtype == np.float32
    assert np.array_equal(views[0], carl.make_views(images, {"size": 10, "count": 2}, seed=5)[0])
    assert not np.array_equal(views[0], carl.make_views(images, {"size": 10, "count": 2}, seed=6)[0])
    assert not np.array_equal(views[0], carl.make_views(images, {"size": 10, "count": 2}, seed=5, epoch=1)[0])
    part = carl.make_views(images[[7, 3]], {"size": 10, "count": 2}, seed=5, indices=[7, 3])
    assert np.array_equal(part[1], views[1][[7, 3]])
    assert np.array_equal(carl.make_views(images, {"size": 10, "count": 2}, 5, threads=1)[1], views[1])
    mixed = carl.make_views(images, [{"size": 10, "count": 2}, {"size": 6}], seed=5)
    assert [view.shape[1] for view in mixed] == [10, 10, 6] == carl.view_sizes([{"size": 10, "count": 2}, {"size": 6}])
    assert np.array_equal(mixed[1], views[1])
    spec = [{"size": 10, "count": 2}]
    with (
        carl.Trainer(width=0.125, views=spec, seed=5, prototypes=4) as a,
        carl.Trainer(width=0.125, views=spec, seed=5, prototypes=4) as b,
    ):
        first = a.step(images, np.arange(40), 2)
        second = b.step_views(carl.make_views(images, spec, 5, epoch=2))
        assert first.loss == second.loss


@pytest.mark.parametrize(
    ("spec", "seed", "error"),
    [
        ({"size": 0}, 0, carl.ConfigurationError),
        ({"size": 10, "flop": 1}, 0, carl.ConfigurationError),
        ([], 0, carl.ConfigurationError),
        ("unknown", 0, carl.ConfigurationError),
        (3, 0, carl.InvalidArgumentError),
        ({"size": 10, "flip": 2}, 0, carl.ConfigurationError),
        ({"size": 10, "count": 0}, 0, carl.ConfigurationError),
        ({"size": 10, "scale": [0.5]}, 0, carl.ConfigurationError),
        ({"size": 10}, -1, carl.InvalidArgumentError),
    ],
)
def test_bad_views(images, spec, seed, error):
    with pytest.raises(error):
        carl.make_views(images, spec, seed)


@pytest.mark.parametrize("dimension, count", [(1, 100_000), (16, 2**19), (16, 2**19 + 1)])
def test_sums_over_many_prototypes_keep_their_digits(dimension, count):
    random = np.random.default_rng(0)
    views = random.standard_normal((2, 2, dimension)).astype(np.float32)
    prototypes = random.standard_normal((count, dimension)).astype(np.float32)
    found = carl.assignment_loss(views, prototypes, temperature=1 if dimension == 1 else 0.1, prior_weight=1)
    z = views.astype(np.float64) / np.linalg.norm(views.astype(np.float64), axis=-1, keepdims=True)
    c = prototypes.astype(np.float64) / np.linalg.norm(prototypes.astype(np.float64), axis=-1, keepdims=True)
    scores = z @ c.T / (1 if dimension == 1 else 0.1)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    mean = p.mean((0, 1))
    prior = np.log(count) + (mean * np.log(mean)).sum()
    consistency = -np.log((p[0] * p[1]).sum(-1)).mean()
    assert found.prior == pytest.approx(prior, abs=2e-6) and found.prior > -2e-6
    assert found.consistency == pytest.approx(consistency, rel=1e-6)
