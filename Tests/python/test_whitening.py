"""Whitening against its definition in float64, and what it does to similarities."""

import numpy as np
import pytest

import carl
from carl.evaluate import Whitening


def spread(rng, count, dimension):
    """Features with means and a covariance far from the identity."""
    mixing = rng.standard_normal((dimension, dimension)) * np.geomspace(1, 0.01, dimension)
    return (rng.standard_normal((count, dimension)) @ mixing + 3 * rng.standard_normal(dimension)).astype(np.float32)


@pytest.mark.parametrize("count, dimension, shrinkage", [(500, 7, 0.03), (40, 64, 0.5), (2, 3, 1.0), (70_000, 5, 1e-3)])
def test_it_is_the_definition(count, dimension, shrinkage):
    rng = np.random.default_rng(0)
    features, others = spread(rng, count, dimension), spread(rng, 9, dimension)
    exact = features.astype(np.float64)
    covariance = np.cov(exact.T)
    values, vectors = np.linalg.eigh(covariance + shrinkage * np.trace(covariance) / dimension * np.eye(dimension))
    want = (others - exact.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
    got = Whitening(shrinkage).fit(features).transform(others)
    assert got.dtype == np.float32
    assert np.allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_whitened_features_have_equal_variances():
    features = spread(np.random.default_rng(1), 5000, 12)
    covariance = np.cov(Whitening(1e-9).fit_transform(features).T)
    assert np.allclose(covariance, np.eye(12), atol=0.02)


def test_nearest_neighbours_see_what_a_strong_direction_hid():
    rng = np.random.default_rng(2)
    labels = np.arange(4000) % 2
    features = rng.standard_normal((4000, 8)).astype(np.float32) * [10, 10, 10, 1, 1, 1, 1, 1]
    features[:, 3] += 4 * labels
    split = (features[:3000], labels[:3000], features[3000:], labels[3000:])
    plain = carl.evaluate.knn(*split).accuracy
    whitened = carl.evaluate.knn(*split, whiten=True)
    assert whitened.accuracy > plain + 0.03
    by_hand = Whitening().fit(split[0])
    alone = carl.evaluate.knn(by_hand.transform(split[0]), split[1], by_hand.transform(split[2]), split[3])
    assert alone.accuracies == whitened.accuracies
    assert np.array_equal(alone.predictions, whitened.predictions)


@pytest.mark.parametrize("shrinkage", [0, -1, np.nan, np.inf, "much"])
def test_shrinkage_must_be_positive(shrinkage):
    with pytest.raises(carl.InvalidArgumentError, match="shrinkage: got"):
        Whitening(shrinkage)


def test_features_that_cannot_be_whitened():
    with pytest.raises(carl.InvalidArgumentError, match="features: got 1 row"):
        Whitening().fit(np.zeros((1, 4), np.float32))
    with pytest.raises(carl.InvalidArgumentError, match="all 5 rows are alike"):
        Whitening().fit(np.ones((5, 4), np.float32))
    with pytest.raises(carl.InvalidArgumentError, match="features"):
        Whitening().fit(np.full((5, 4), np.nan, np.float32))
    with pytest.raises(carl.NotFittedError):
        Whitening().transform(np.ones((5, 4), np.float32))
    fitted = Whitening().fit(spread(np.random.default_rng(3), 50, 4))
    with pytest.raises(carl.InvalidArgumentError, match="features"):
        fitted.transform(np.ones((5, 3), np.float32))


def test_what_cannot_be_whitened_is_named():
    rng = np.random.default_rng(4)
    train, test, labels = spread(rng, 60, 4), spread(rng, 20, 4), np.arange(60) % 2
    equal = np.full((60, 4), 0.1, np.float32)
    tiny = train * np.float32(1e-39)
    for references, queries, words in (
        (equal, test, "train_x: all 60 rows are alike"),
        (tiny, tiny[:20], "train_x: vary by .* too little for float32"),
        (train * np.float32(1e-20), test * np.float32(1e30), "test_x: row 0 is beyond float32 when whitened"),
    ):
        with pytest.raises(carl.InvalidArgumentError, match=f"^{words}"):
            carl.evaluate.knn(references, labels, queries, whiten=True)
    with pytest.raises(carl.InvalidArgumentError, match="features: row 0 is beyond float32 when whitened"):
        Whitening().fit(train * np.float32(1e-20)).transform(test * np.float32(1e30))


def test_features_far_from_zero_keep_their_digits():
    values = np.round(8 * np.random.default_rng(0).normal(size=(60, 3))) / 8  # which float32 has at 1e6 too
    whitened = Whitening().fit_transform(values)
    for offset in (1e4, 1e6):
        np.testing.assert_allclose(Whitening().fit_transform(values + offset), whitened, rtol=0, atol=1e-4)
