"""Retrieval, k-means, and what all protocols say to bad input; the memory they take."""

from __future__ import annotations

import json

import numpy as np
import pytest

import carl
from carl.evaluate import cluster, knn, linear_probe, nearest_neighbours, retrieval
from conftest import run_python


@pytest.fixture
def features():
    """Training and test rows around the centres of five classes, with labels."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((5, 16))
    labels, truth = random.integers(0, 5, 300), random.integers(0, 5, 80)
    train = (centres[labels] + 0.8 * random.standard_normal((300, 16))).astype(np.float32)
    test = (centres[truth] + 0.8 * random.standard_normal((80, 16))).astype(np.float32)
    return train, labels, test, truth


# ---- Retrieval


def reference_precision(train, labels, test, truth, cutoff=None, alone=False):
    """Average precision of each query in Float64, by its definition."""
    unit = [x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (train, test)]
    values = []
    for place, row in enumerate(unit[1] @ unit[0].T):
        order = np.argsort(-row, kind="stable")
        relevant = labels[order[order != place] if alone else order] == truth[place]
        precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
        most = len(relevant) if cutoff is None else cutoff
        values.append((precision * relevant)[:most].sum() / max(1, min(relevant.sum(), most)))
    return np.array(values)


def test_retrieval_against_its_definition(features):
    train, labels, test, truth = features
    result = retrieval(train, labels, test, truth, k=[1, 10, 300])
    np.testing.assert_allclose(result.average_precision, reference_precision(*features), atol=1e-9)
    for k in (1, 10, 300):
        assert result.map_at[k] == pytest.approx(reference_precision(*features, cutoff=k).mean())
    assert (
        result.map == pytest.approx(result.map_at[300])
        and result.precision_at[1] == result.recall_at[1] == result.map_at[1]
    )
    near, _ = nearest_neighbours(train, test, 10)
    right = labels[near] == truth[:, None]
    assert result.precision_at[10] == pytest.approx(right.mean()) and result.recall_at[10] == pytest.approx(
        right.any(axis=1).mean()
    )
    assert (result.references, result.queries, result.unmatched, result.leave_one_out) == (300, 80, 0, False)


def test_retrieval_leaves_one_out(features):
    train, labels, _, _ = features
    result = retrieval(train, labels, k=5)
    np.testing.assert_allclose(
        result.average_precision, reference_precision(train, labels, train, labels, alone=True), atol=1e-9
    )
    assert result.leave_one_out and result.queries == 300
    assert result.map < retrieval(train, labels, train, labels, k=5).map  # there each finds itself first


def test_retrieval_of_lone_labels(features):
    train, labels, _, _ = features
    labels = labels.copy()
    labels[7] = 99  # nothing else to find
    result = retrieval(train, labels, k=3)
    assert result.unmatched == 1 and np.isnan(result.average_precision[7])
    assert result.map == pytest.approx(np.nanmean(result.average_precision))
    with pytest.raises(carl.InvalidArgumentError, match="no two samples share a label"):
        retrieval(train, np.arange(300), k=3)


# ---- k-means


def test_k_means_finds_what_is_there():
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    labels = np.repeat([4, 9, 11], 30)
    centres = {4: [1, 0, 0], 9: [0, 1, 0], 11: [0, 0, 1]}
    features = np.array([centres[label] for label in labels]) + 0.05 * random.standard_normal((90, 3))
    features *= random.uniform(0.1, 10, (90, 1))  # lengths do not matter
    result = cluster(features.astype(np.float32), labels, seed=3)
    assert result.nmi == result.ari == result.accuracy == pytest.approx(1) and result.clusters == 3
    assert (result.method, result.seed) == ("k-means", 3)
    again = cluster(features.astype(np.float32), labels, 7, seed=3, runs=2)
    assert again.clusters == 7 and np.array_equal(
        again.assignments, cluster(features.astype(np.float32), labels, 7, seed=3, runs=2).assignments
    )
    assert cluster(result.assignments, labels).method == "assignments"


def test_hungarian_accuracy_against_all_matchings():
    pytest.importorskip("scipy")
    import itertools

    random = np.random.default_rng(1)
    labels, found = random.integers(0, 4, 60), random.integers(0, 4, 60)
    best = max(np.mean(np.array(order)[found] == labels) for order in itertools.permutations(range(4)))
    assert cluster(found, labels).accuracy == pytest.approx(best)


# ---- Results


def test_results_say_how_they_came_about(features, tmp_path):
    pytest.importorskip("sklearn")
    train, labels, test, truth = features
    for result, seed in [
        (knn(train, labels, test, truth), None),
        (retrieval(train, labels, test, truth), None),
        (cluster(labels, labels), None),
        (cluster(train, labels, seed=5, runs=1), 5),
    ]:
        result.to_json(tmp_path / "result.json")
        figures = json.loads((tmp_path / "result.json").read_text())
        assert figures["carl"] == carl.__version__ and figures["numpy"] == np.__version__ and figures["seed"] == seed
        assert figures["protocol"] == result.protocol and not any(isinstance(value, list) for value in figures.values())
        if result.protocol == "cluster":
            assert figures["scikit-learn"] and figures["scipy"]


def test_several_k_are_what_each_is_alone(features):
    train, labels, test, truth = features
    several = knn(train, labels, test, truth, [20, 1, 300, 20])
    assert list(several.accuracies) == [20, 1, 300]
    for k, accuracy in several.accuracies.items():
        assert accuracy == knn(train, labels, test, truth, k).accuracy
    assert np.array_equal(several.predictions, knn(train, labels, test, truth, 20).predictions)


# ---- Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y, q, t: knn(x, y * 0, q), "train_y: all are the same, want labels of at least 2"),
        (lambda x, y, q, t: knn(x, y, q, t + 10), "test_y: no label of it is in train_y"),
        (lambda x, y, q, t: knn(x, y, q[:0]), "test_x.*empty"),
        (lambda x, y, q, t: knn(x, y, np.where(q > 2, np.inf, q).astype(np.float32)), "test_x.*finite"),
        (lambda x, y, q, t: knn(x, y, q, k=range(1, 2000)), "k: got 301"),
        (lambda x, y, q, t: knn(x, y, q, k="20"), "k: got '20'"),
        (lambda x, y, q, t: retrieval(x, y * 0), "train_y: all are the same"),
        (lambda x, y, q, t: retrieval(x, y[:9]), "train_y: got 9 labels, want 300"),
        (lambda x, y, q, t: retrieval(x, y, q), "test_y: is missing"),
        (lambda x, y, q, t: retrieval(x, y, None, t), "test_x: is missing"),
        (lambda x, y, q, t: retrieval(x, y, q, t[1:]), "test_y: got 79 labels, want 80"),
        (lambda x, y, q, t: retrieval(x, y, q, t + 10), "no label of it is in train_y"),
        (lambda x, y, q, t: retrieval(x, y, k=300), "k: got 300, want 1 .. 299"),
        (lambda x, y, q, t: retrieval(x, y, q, t, k=301), "k: got 301, want 1 .. 300"),
        (lambda x, y, q, t: retrieval(x, y, k=[]), "k: is empty"),
        (lambda x, y, q, t: retrieval(x[:0], y[:0]), "train_x.*empty"),
        (lambda x, y, q, t: retrieval(x * np.nan, y), "train_x.*finite"),
        (lambda x, y, q, t: retrieval(x, y - 1), r"train_y\[\d+\]: got -1"),
        (lambda x, y, q, t: retrieval(x, y, threads=0), "threads"),
        (lambda x, y, q, t: retrieval(x, y, q[:, :3], t), "test_x"),
        (lambda x, y, q, t: cluster(x, y * 0), "labels: all are the same"),
        (lambda x, y, q, t: cluster(y, y * 0), "labels: all are the same"),
        (lambda x, y, q, t: cluster(x, y[:5]), "labels: got 5 labels, want 300"),
        (lambda x, y, q, t: cluster(x * np.nan, y), "features.*finite"),
        (lambda x, y, q, t: cluster(x.astype(np.float64) * np.nan, y), "features: value nan"),
        (lambda x, y, q, t: cluster(x[:0], y[:0]), "features.*empty"),
        (lambda x, y, q, t: cluster(x, y, 301), "clusters: got 301, want 1 .. 300"),
        (lambda x, y, q, t: cluster(x, y, 0), "clusters: got 0"),
        (lambda x, y, q, t: cluster(y, y, 3), "clusters: is for features"),
        (lambda x, y, q, t: cluster(x, y, seed=-1), "seed"),
        (lambda x, y, q, t: cluster(y[:0], y[:0]), "assignments: is empty"),
    ],
)
def test_bad_input(features, call, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        call(*features)


def test_labels_partly_unknown_are_a_warning(features):
    train, labels, test, truth = features
    truth = np.where(truth == 2, 77, truth)
    with pytest.warns(UserWarning, match="test_y: 77 not in train_y"):
        assert knn(train, labels, test, truth).accuracy <= np.mean(truth != 77)
    with pytest.warns(UserWarning, match="77"):
        assert retrieval(train, labels, test, truth).unmatched == np.count_nonzero(truth == 77)


# ---- Memory


def test_memory_is_bounded_by_tiles():
    """All similarities at once would take 400 MB, their indices 800 MB more."""
    code = """
import numpy as np, resource
from carl.evaluate import knn, retrieval
random = np.random.default_rng(0)
x, q = random.standard_normal((20_000, 32), dtype=np.float32), random.standard_normal((5_000, 32), dtype=np.float32)
y, t = random.integers(0, 10, len(x)), random.integers(0, 10, len(q))
knn(x[:500], y[:500], q[:50], t[:50], [1, 5], threads=2)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
knn(x, y, q, t, [20, 200], threads=2)
between = peak()
retrieval(x, y, q, t, threads=2)
print(between - before, peak() - between)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    neighbours, ranking = map(float, done.stdout.split())
    assert neighbours < 60 and ranking < 120


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("logistic", {"epochs": 500}),
        ("logistic", {"learning_rate": 9}),
        ("logistic", {"view": {"flip": 0}}),
        ("logistic", {"standardize": False}),
        ("sgd", {"max_iterations": 5}),
        ("sgd", {"inverse_regularization": 0.1}),
    ],
)
def test_a_probe_refuses_options_of_its_other_method(method, options):
    with pytest.raises(carl.InvalidArgumentError, match=f"{next(iter(options))}: is of method="):
        carl.evaluate.linear_probe("nowhere.carl", None, None, None, None, method=method, **options)


# ---- Numbers


def test_a_number_may_be_an_array_of_no_dimensions(features):
    train, labels, test, truth = features
    assert knn(train, labels, test, truth, np.array(5)).accuracies == knn(train, labels, test, truth, 5).accuracies
    assert retrieval(train, labels, k=np.array(3)).map_at == retrieval(train, labels, k=3).map_at
    seeds = [linear_probe(None, *features, method="logistic", seeds=seed).seeds for seed in (np.array(3), 3, range(2))]
    assert seeds == [[3], [3], [0, 1]]


@pytest.mark.parametrize(
    ("scale", "words"),
    [(1e200, r"train_x: value \S+ at \(0, 0\) is beyond float32"), (1e-200, "train_x: .* 0 as float32")],
)
def test_what_float32_has_no_room_for_is_told(features, scale, words):
    train, labels, test, truth = features
    for call in (knn, retrieval):
        with pytest.raises(carl.InvalidArgumentError, match=words):
            call(scale * train.astype(np.float64), labels, test, truth)
    tiny = train.astype(np.float64)
    tiny[:, 1] = 1e-200  # beside others they are 0
    tiny[7] = 0
    nearest_neighbours(tiny, k=1)
    tiny[7, 3] = 1e-200
    with pytest.raises(carl.InvalidArgumentError, match="references: the values of row 7, 1e-200 at most"):
        nearest_neighbours(tiny, k=1)
