"""Random partitions (CARP, arXiv 2310.12692) and long softmaxes that pass by in tiles, against the float64
reference."""

import numpy as np
import pytest

import carl
from reference import partition
from reference.differences import relative_error
from test_parity_assignment import compare, problem

RAW = dict(normalize_embedding=False, normalize_prototypes=False)


def test_philox_known_answers():
    """The published test vectors of Random123."""
    ones, pi = (0xFFFFFFFF,) * 4, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert partition.philox((0,) * 4, (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert partition.philox(ones, ones[:2]) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert partition.philox(pi, (0xA4093822, 0x299F31D0)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def compare_blocks(views, prototypes, size, seed=4, **options):
    """`compare`, with the partition drawn by either side for itself."""
    order = partition.permutation(len(prototypes), seed)
    return compare(
        views,
        prototypes,
        own=dict(partition_size=size, seed=seed),
        reference=dict(permutation=order, block_size=size),
        **options,
    )


@pytest.mark.parametrize(
    "shape, size",
    [
        # V, B, D, K
        ((2, 16, 8, 64), 16),
        ((2, 5, 7, 63), 16),
        ((2, 5, 7, 63), 8),
        ((2, 4, 3, 5), 4),
        ((3, 9, 6, 40), 7),
        ((2, 1, 5, 24), 6),
        ((2, 1, 4, 3), 3),
        ((2, 6, 5, 12), 12),
        ((2, 6, 5, 12), 1),
        ((2, 6, 5, 1), 1),
        ((2, 33, 20, 1030), 512),
        ((4, 17, 33, 300), 100),
    ],
)
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_shapes(shape, size, stop_gradient):
    scale = 1.0 if size == 1 else None
    compare_blocks(*problem(*shape), size, stop_gradient=stop_gradient, temperature=0.5, prior_weight=2.0, scale=scale)


@pytest.mark.parametrize("normalize_embedding", [True, False])
@pytest.mark.parametrize("normalize_prototypes", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("prior_weight", [0.0, 3.5])
def test_options(normalize_embedding, normalize_prototypes, symmetric, prior_weight):
    compare_blocks(
        *problem(3, 12, 10, 43, seed=5),
        10,
        temperature=0.8,
        normalize_embedding=normalize_embedding,
        normalize_prototypes=normalize_prototypes,
        symmetric=symmetric,
        prior_weight=prior_weight,
    )


@pytest.mark.parametrize("students, teachers", [(1, 2), (2, 2), (8, 2), (3, 1)])
@pytest.mark.parametrize("over_targets", [True, False])
def test_carp_pairs(students, teachers, over_targets):
    """All student views with the teacher's global ones, never a view with itself."""
    (z, c), (t, other) = problem(students, 9, 12, 35, seed=7), problem(teachers, 9, 12, 35, seed=8)
    for own in (None, other):
        compare_blocks(
            z,
            c,
            16,
            targets=t,
            target_prototypes=own,
            prior_over_targets=over_targets,
            temperature=0.3,
            prior_weight=1.5,
        )


def test_left_over_prototypes_have_no_gradient():
    z, c = problem(2, 8, 6, 21, seed=9)
    got, _ = compare_blocks(z, c, 8)
    left = partition.permutation(21, 4)[16:]
    assert not got.grad_prototypes[left].any()
    assert np.abs(np.delete(got.grad_prototypes, left, 0)).min(1).max() > 0


def test_the_partition_depends_on_the_seed_alone():
    z, c = problem(2, 8, 6, 64, seed=10)
    z, c = [view.astype(np.float32) for view in z], c.astype(np.float32)
    call = lambda seed, threads: carl.assignment_loss(z, c, partition_size=16, seed=seed, threads=threads)
    assert call(1, 2).loss == call(1, 2).loss != call(2, 2).loss
    assert call(None, 2).loss == call(0, 2).loss
    for threads in (1, 3, 7):
        assert call(1, threads).loss == pytest.approx(call(1, 2).loss, rel=1e-6)
        assert relative_error(call(1, threads).grad_prototypes, call(1, 2).grad_prototypes) < 1e-5
    assert np.array_equal(call(1, 2).grad_views[0], call(1, 2).grad_views[0])


@pytest.mark.parametrize("size", [50.0, 1e3, 1e4])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_extreme_logits(size, stop_gradient):
    """Views that agree, views that do not, at logits of up to +-size in every block."""
    rng = np.random.default_rng(11)
    z = [size * rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], (6, 24)) for _ in range(2)]
    z[1][0] = z[0][0]
    compare_blocks(z, np.eye(24), 8, stop_gradient=stop_gradient, prior_weight=2.0, scale=1e-3, **RAW)


def test_identical_and_opposite_one_hot_views():
    """In each block the views agree with certainty, or are as far apart as the logits are long."""
    rows = 1e4 * np.eye(12)
    # Rounding of the logits' gradients, which vanish, is multiplied by rows of length 1e4.
    got, _ = compare_blocks([rows, rows], np.eye(12), 12, scale=10.0, **RAW)
    assert got.consistency == pytest.approx(0, abs=1e-6) and got.prior == pytest.approx(0, abs=1e-6)
    same, _ = compare_blocks(*[[problem(2, 7, 5, 20)[0][0]] * 2, problem(2, 7, 5, 20)[1]], 5, stop_gradient=False)
    assert same.consistency > 0
    apart, _ = compare_blocks([rows, np.roll(rows, 1, 0)], np.eye(12), 12, prior_weight=0.0, stop_gradient=False, **RAW)
    assert apart.consistency == pytest.approx(1e4, rel=1e-3)
    assert min(np.abs(gradient).max() for gradient in apart.grad_views) > 0.01


@pytest.mark.parametrize(
    "size, words",
    [(0, "partition_size"), (10, "partition_size.*10.*9"), (-1, "partition_size"), (2.5, "partition_size")],
)
def test_bad_partition_size(size, words):
    z, c = problem(2, 4, 3, 9)
    with pytest.raises(carl.InvalidArgumentError, match=words):
        carl.assignment_loss([view.astype(np.float32) for view in z], c.astype(np.float32), partition_size=size)


# ---- One softmax over so many prototypes that it is not kept: 2 x 40 x 60,001 logits and more


LONG = 60_001


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop_gradient": False},
        {"prior_weight": 0.0},
        {"temperature": 0.05, "symmetric": False},
        {"normalize_embedding": False, "normalize_prototypes": False},
    ],
)
def test_long_softmax(options):
    views, prototypes = problem(2, 40, 6, LONG, seed=12)
    compare(views, prototypes, **{"temperature": 0.3, "prior_weight": 2.0, **options})


@pytest.mark.parametrize("prior_over_targets", [True, False])
def test_long_softmax_with_a_teacher(prior_over_targets):
    z, c = problem(3, 20, 5, LONG, seed=13)
    t, tc = problem(2, 20, 5, LONG, seed=14)
    compare(
        z, c, targets=t, target_prototypes=tc, prior_over_targets=prior_over_targets, temperature=0.3, prior_weight=1.5
    )


@pytest.mark.parametrize("size", [1e3, 1e4])
def test_long_softmax_of_extreme_logits(size):
    """Exact in float32; the best prototypes of two views lie in different tiles, and a row of zeros is alike
    everywhere."""
    rng = np.random.default_rng(15)
    prototypes = np.zeros((LONG, 8))
    prototypes[rng.choice(LONG, 400, replace=False)] = np.eye(8)[rng.integers(0, 8, 400)]
    z = [size * rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], (40, 8)) for _ in range(2)]
    z[1][0], z[0][1], z[1][1] = z[0][0], 0, 0
    compare(z, prototypes, prior_weight=2.0, stop_gradient=False, scale=1e-3, **RAW)
