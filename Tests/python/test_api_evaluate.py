"""k-NN and clustering against plain NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest

import carl
from carl.evaluate import cluster, confusion, knn, nearest_neighbours


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    centres = random.standard_normal((5, 16))
    labels, truth = random.integers(0, 5, 300), random.integers(0, 5, 80)
    train = (centres[labels] + 0.8 * random.standard_normal((300, 16))).astype(np.float32)
    test = (centres[truth] + 0.8 * random.standard_normal((80, 16))).astype(np.float32)
    return train, labels, test, truth


def similarity(train, test):
    def unit(x):
        return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)

    return unit(test) @ unit(train).T


def reference_vote(train, labels, test, k, temperature):
    similarities = similarity(train, test)
    found = []
    for row in similarities:
        near = np.argsort(-row, kind="stable")[:k]
        votes = np.zeros(labels.max() + 1)
        np.add.at(votes, labels[near], np.exp(row[near] / temperature) if temperature else 1.0)
        found.append(votes.argmax())
    return np.array(found)


@pytest.mark.parametrize("k", [1, 7, 300])
def test_neighbours(features, k):
    train, _, test, _ = features
    indices, similarities = nearest_neighbours(train, test, k)
    exact = similarity(train, test)
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, indices, 1), similarities, atol=1e-5)
    assert all(len(set(row)) == k for row in indices)


@pytest.mark.parametrize("temperature", [0.07, 1.0, 0.0])
def test_votes(features, temperature):
    train, labels, test, truth = features
    single = {k: knn(train, labels, test, truth, k, temperature) for k in (1, 5, 20)}
    several = knn(train, labels, test, truth, [20, 1, 5], temperature)
    for k, result in single.items():
        expected = reference_vote(train, labels, test, k, temperature)
        assert (result.predictions == expected).mean() >= 0.97  # equal votes may fall either way
        assert result.accuracy == pytest.approx((result.predictions == truth).mean())
        assert abs(several.accuracies[k] - result.accuracy) <= 0.03
    assert several.k == 20 and several.accuracy == several.accuracies[20]
    assert single[20].accuracy > 0.8


def test_labels_may_be_any_numbers(features):
    train, labels, test, truth = features
    names = np.array([3, 1000, 7, 10**12, 0])
    plain, named = knn(train, labels, test, truth), knn(train, names[labels], test, names[truth])
    assert named.accuracy == pytest.approx(plain.accuracy, abs=0.03) and set(named.predictions) <= set(names)
    unjudged = knn(train, labels.astype(np.uint8), test)
    assert not hasattr(unjudged, "accuracy") and (unjudged.predictions == plain.predictions).all()


def test_result_as_json(features, tmp_path):
    train, labels, test, truth = features
    knn(train, labels, test, truth, [5, 10]).to_json(tmp_path / "knn.json")
    figures = json.loads((tmp_path / "knn.json").read_text())
    assert figures["protocol"] == "knn" and set(figures["accuracies"]) == {"5", "10"} and "predictions" not in figures
    assert figures["carl"] == carl.__version__


def test_strided_features(features):
    train, labels, test, truth = features
    wide = np.repeat(train, 2, axis=1)[:, ::2]
    assert np.array_equal(knn(wide, labels, test).predictions, knn(train, labels, test).predictions)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_x": lambda x: x.astype(complex)}, "train_x.*complex128"),
        ({"train_x": lambda x: x[0]}, "train_x"),
        ({"train_x": lambda x: x[:0]}, "train_x.*empty"),
        ({"test_x": lambda x: x[:, :3]}, "test_x"),
        ({"train_x": lambda x: x * np.nan}, "train_x.*finite"),
        ({"train_y": lambda y: y[:5]}, "train_y.*300"),
        ({"train_y": lambda y: y - 3}, "train_y"),
        ({"train_y": lambda y: y * 0.5}, r"train_y\[\d+\]: got \d.5: the labels are continuous"),
        ({"test_y": lambda y: y[:5]}, "test_y"),
        ({"k": lambda k: 301}, "k: got 301"),
        ({"k": lambda k: 0}, "k: got 0"),
        ({"k": lambda k: []}, "k"),
        ({"k": lambda k: 2.5}, "k"),
        ({"temperature": lambda t: -1}, "temperature"),
        ({"temperature": lambda t: "hot"}, "temperature"),
        ({"threads": lambda t: 0}, "threads"),
    ],
)
def test_bad_input(features, changes, words):
    values = dict(zip(("train_x", "train_y", "test_x", "test_y"), features), k=5, temperature=0.07, threads=None)
    for name, change in changes.items():
        values[name] = change(values[name])
    with pytest.raises(carl.InvalidArgumentError, match=words):
        knn(**values)


def test_clustering():
    pytest.importorskip("sklearn")
    labels = np.repeat([4, 9, 11], 10)
    perfect = cluster(np.repeat([2, 0, 1], 10), labels)
    assert perfect.nmi == perfect.ami == perfect.ari == perfect.accuracy == perfect.purity == 1
    assert (perfect.clusters, perfect.labels, perfect.samples) == (3, 3, 30)
    split = cluster(np.arange(30) // 5, labels)
    assert split.purity == 1 and split.accuracy == 0.5
    one = cluster(np.zeros(30, int), labels)
    assert one.nmi == 0 and one.accuracy == pytest.approx(1 / 3)
    table, clusters, classes = confusion(np.repeat([2, 0, 1], 10), labels)
    assert (
        table.tolist() == [[0, 10, 0], [0, 0, 10], [10, 0, 0]]
        and list(classes) == [4, 9, 11]
        and list(clusters) == [0, 1, 2]
    )
    for bad in [
        (labels, labels[:3]),
        (labels * 0.5, labels),
        (labels[:, None], labels),
        (labels, labels - 5),
        (labels[:0], labels[:0]),
        (labels[None], labels),
    ]:
        with pytest.raises(carl.InvalidArgumentError):
            cluster(*bad)
