"""The reference of the diagnostics in cases whose answers are known."""

import numpy as np
import pytest

from reference.assignment import assignment_loss
from reference.diagnostics import diagnose


def test_one_hot_assignments_to_all_prototypes():
    z = np.eye(6)
    seen = diagnose([z, z], np.eye(6), temperature=1e-3)
    assert seen.effective_prototypes == pytest.approx(6)
    assert seen.max_probability == pytest.approx(1)
    assert seen.agreement == 1
    assert seen.used == set(range(6))
    # Every coordinate is 1 once in six rows.
    assert seen.embedding_std == pytest.approx(np.sqrt(1 / 6 - 1 / 36))


def test_collapse_to_one_prototype():
    z = np.tile([[0.0, 3.0, 0.0]], (4, 1))
    seen = diagnose([z, 2 * z], np.eye(3), temperature=1e-3)
    assert seen.effective_prototypes == pytest.approx(1)
    assert seen.embedding_std == 0
    assert seen.used == {1}


def test_uniform_assignments():
    z = np.ones((4, 2))
    seen = diagnose([z, z], np.ones((5, 2)))
    assert seen.effective_prototypes == pytest.approx(5)
    assert seen.max_probability == pytest.approx(0.2)


def test_agreement_counts_images_and_pairs():
    c = np.eye(4)
    one, two, three = c[[0, 1, 2, 3]], c[[0, 1, 3, 2]], c[[0, 2, 2, 3]]
    # (1, 2): 2 of 4; (1, 3): 3 of 4; (2, 3): 1 of 4.
    assert diagnose([one, two, three], c, symmetric=True).agreement == pytest.approx(6 / 12)
    assert diagnose([one, two, three], c, symmetric=False).agreement == pytest.approx(6 / 12)
    # A teacher that sees the first view only: pairs (2, 1) and (3, 1).
    assert diagnose([one, two, three], c, targets=[one]).agreement == pytest.approx(5 / 8)


@pytest.mark.parametrize("prior_over_targets", [False, True])
def test_effective_prototypes_belong_to_the_prior(prior_over_targets):
    """log of the effective number = entropy = log K - prior, with and without a teacher."""
    rng = np.random.default_rng(0)
    z, t = [rng.standard_normal((7, 5)) for _ in range(3)], [rng.standard_normal((7, 5)) for _ in range(2)]
    c, tc = rng.standard_normal((9, 5)), rng.standard_normal((9, 5))
    options = dict(targets=t, target_prototypes=tc, temperature=0.4, prior_over_targets=prior_over_targets)
    prior = assignment_loss(z, c, **options).prior
    assert np.log(diagnose(z, c, **options).effective_prototypes) == pytest.approx(np.log(9) - prior, rel=1e-12)
