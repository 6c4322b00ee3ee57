"""kill -9, a full disk, and memory over time: a few times what `python Tests/python/reliability.py` does many times."""

from __future__ import annotations

import sys

import pytest

import reliability


def test_kill_at_random_moments_loses_nothing(tmp_path):
    found = reliability.kill_often(tmp_path, kills=8, seed=1)
    assert found["kills"] == 8


def test_a_disk_that_becomes_full(tmp_path):
    with reliability.small_disk(tmp_path, 4) as disk:
        if disk is None:
            pytest.skip(
                "a tmpfs cannot be mounted by this user; test_reliability_runs.py does the like by a limit on file "
                "sizes"
            )
        reliability.fill_disk(disk)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat():
    found = reliability.grown(300, 100, timeout=600)
    # A model that is not freed takes 300 kB; a step's activations 1 MB.
    assert all(resident < 8192 and data < 16384 for resident, data in found.values()), found
