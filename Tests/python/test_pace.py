"""The length of a run with a budget: the end that is decided on the way, by a made-up clock."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from carl._pace import DECAY_AT, STAGES, Pace
from test_budget_rule import Clock


def run(
    pace: Pace,
    clock: Clock,
    seconds,
    start: int = 0,
    save_every: int = 0,
    save: float = 0.0,
    last: float = 0.0,
    stop: float = 1e9,
    all_read: int | None = None,
    kept: float = 1.0,
    wait: float = 0.0,
):
    """Steps that take seconds(share of the budget that is over), with a checkpoint after every save_every-th, to the
    end that `pace` decides; until step all_read `wait` seconds more each, afterwards the share of them that is not
    kept. Returns the steps and every decision."""
    begun = clock.now
    pace.begin(
        start, lambda a, b: {"save": b // save_every - a // save_every if save_every else 0}, all_read, lambda: kept
    )
    step, decisions = start, []
    for step in itertools.count(start + 1):
        waited = wait if all_read is None or step <= all_read else wait * (1 - kept)
        clock.now += seconds((clock.now - begun) / pace.seconds) + waited
        if save_every and step % save_every == 0:
            with pace.aside("save"):
                clock.now += save
        if changes := pace.after_step(step, waited):
            decisions.append(dict(changes))
        if step == pace.total_steps or clock.now - begun > stop:
            break
    if save:
        with pace.aside("save"):
            clock.now += last or save
    return step, decisions


SPEEDS = {
    "steady": lambda share: 0.1,
    "slower and slower": lambda share: 0.1 * (1 + share),
    "twice as slow from the middle on": lambda share: 0.1 if share < 0.5 else 0.2,
    "twice as slow in the decay": lambda share: 0.1 if share < 0.75 else 0.2,
    "twice as fast in the decay": lambda share: 0.1 if share < 0.75 else 0.05,
    "waves": lambda share: 0.1 + 0.05 * np.sin(60 * share),
    "large steps": lambda share: 1.0,
}


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("seconds", [120, 1200])
def test_the_budget_is_kept_whatever_the_speed(name, seconds):
    clock = Clock()
    pace = Pace(seconds, clock.now, step_seconds=0.4, clock=clock)
    _, decisions = run(pace, clock, SPEEDS[name])
    assert clock.now - 1000 == pytest.approx(seconds, rel=0.03)
    assert len(decisions) == STAGES
    first = decisions[0]
    assert (first["total_steps"] - sum(first["decay_steps"])) > 0
    for after in decisions[1:]:
        assert after["total_steps"] - sum(after["decay_steps"]) == first["total_steps"] - sum(first["decay_steps"])
    for number, (before, after) in enumerate(zip(decisions, decisions[1:]), start=1):
        assert before["decay_steps"][:number] == after["decay_steps"][:number]  # what was walked is not changed


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_budget_is_kept_with_small_views_first(name, share):
    """Steps take `share` of their time for half of the budget, then all of it."""
    clock = Clock()
    pace = Pace(600, clock.now, step_seconds=0.4, early=0.6, clock=clock)
    begun = clock.now
    _, decisions = run(pace, clock, lambda at: SPEEDS[name](at) * (share if clock.now - begun < 300 else 1))
    assert clock.now - begun == pytest.approx(600, rel=0.03)
    assert [list(decision) for decision in decisions] == [["early_steps"]] + [["total_steps", "decay_steps"]] * STAGES
    assert 0 < decisions[0]["early_steps"] < decisions[1]["total_steps"] - sum(decisions[1]["decay_steps"])


def test_an_interruption_among_the_small_views():
    clock = Clock()
    pace = Pace(100, clock.now, step_seconds=0.05, early=0.5, clock=clock)
    step, _ = run(pace, clock, lambda share: 0.05, stop=30)
    notes = pace.to_notes()
    clock.now += 10_000
    resumed = Pace(
        100, clock.now, spent=notes["spent"], step_seconds=notes["step_seconds"], early=notes["early"], clock=clock
    )
    assert notes["early"] == 0.5
    assert resumed.estimate(step) == pytest.approx(step + 20 / 0.05 + 50 / 0.1, abs=2)
    begun = clock.now
    end, decisions = run(resumed, clock, lambda share: 0.05 if clock.now - begun < 20 else 0.1, start=step)
    assert decisions[0] == {"early_steps": pytest.approx(step + 400, abs=2)} and resumed.early is None
    assert clock.now - begun == pytest.approx(70, abs=2) and end == pytest.approx(step + 900, rel=0.03)


def test_checkpoints_count():
    for every, save in ((7, 0.5), (400, 5.0)):
        clock = Clock()
        pace = Pace(300, clock.now, clock=clock)
        run(pace, clock, lambda share: 0.1, save_every=every, save=save)
        assert clock.now - 1000 == pytest.approx(300, rel=0.02)


def test_steps_longer_than_a_stage():
    clock = Clock()
    pace = Pace(60, clock.now, clock=clock)
    steps, decisions = run(pace, clock, lambda share: 9.0)
    assert steps == 6 and decisions[0]["total_steps"] == 6 and decisions[0]["decay_steps"] == 1
    clock = Clock()
    pace = Pace(60, clock.now - 59, clock=clock)  # calibration took nearly all
    steps, decisions = run(pace, clock, lambda share: 2.0)
    assert steps == 2 and decisions[0] == {"total_steps": 2, "decay_steps": 1}


@pytest.mark.parametrize("stop", [30, 70, 90, 99])
def test_what_is_left_counts_after_an_interruption(stop):
    clock = Clock()
    pace = Pace(100, clock.now, chosen={"width": 0.5}, clock=clock)
    step, _ = run(pace, clock, lambda share: 0.1, stop=stop)
    notes = pace.to_notes()
    assert (
        notes["spent"] == pytest.approx(stop, abs=0.2) and notes["seconds"] == 100 and notes["chosen"] == {"width": 0.5}
    )
    clock.now += 10_000
    again = clock.now
    resumed = Pace(
        100,
        again,
        spent=notes["spent"],
        step_seconds=notes["step_seconds"],
        total_steps=pace.total_steps,
        decay_steps=list(pace.decay),
        clock=clock,
    )
    # On a machine that is busier now.
    run(resumed, clock, lambda share: 0.13, start=step)
    assert clock.now - again + stop == pytest.approx(100, abs=4)
    if stop > 72:  # the first stage was over
        assert resumed.decay[0] == pace.decay[0]


def test_a_budget_that_is_over_ends_the_run_without_losing_the_decay():
    clock = Clock()
    pace = Pace(100, clock.now, spent=500, step_seconds=0.1, clock=clock)
    steps, decisions = run(pace, clock, lambda share: 0.1, start=40)
    assert steps == 42 and decisions[0] == {"total_steps": 42, "decay_steps": 1}
    pace = Pace(100, clock.now, spent=500, step_seconds=0.1, early=0.5, clock=clock)
    steps, decisions = run(pace, clock, lambda share: 0.1, start=40)
    assert steps == 42 and decisions[0] == {"early_steps": 41, "total_steps": 42, "decay_steps": 1}


def test_the_estimate_before_the_decision():
    clock = Clock()
    pace = Pace(100, clock.now, step_seconds=0.5, clock=clock)
    assert pace.estimate(0) == 200
    assert Pace(100, clock.now, clock=clock).estimate(0) is None
    assert 0 < DECAY_AT < 1


@pytest.mark.parametrize("passes", [0.1, 0.5, 0.66, 0.8, 0.97, 3])
@pytest.mark.parametrize("kept", [1.0, 0.4])
@pytest.mark.parametrize("early", [None, 0.5])
def test_the_budget_is_kept_where_images_are_read_once(passes, kept, early):
    """The first pass waits four times as long for images as its steps take, and ends after a share of the budget; later
    ones wait for what is not kept."""
    clock = Clock()
    pace = Pace(600, clock.now, step_seconds=0.5, early=early, clock=clock)
    begun = clock.now

    def seconds(share: float) -> float:
        return 0.1 * (0.5 if early and clock.now - begun < 300 else 1)

    run(pace, clock, seconds, all_read=int(600 * passes / 0.5), kept=kept, wait=0.4)
    assert clock.now - begun == pytest.approx(600, rel=0.03)


def test_it_expects_to_wait_for_the_first_pass_only():
    clock = Clock()
    pace = Pace(600, clock.now, step_seconds=0.5, clock=clock)
    run(pace, clock, lambda share: 0.1, all_read=400, wait=0.4, stop=100)
    # 100 s are over, 100 s are left of the first pass.
    assert pace.estimate(200) == pytest.approx(400 + 400 / 0.1, rel=0.01)
