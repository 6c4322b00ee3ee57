"""Budgets: their text, what is chosen for measured speeds, and how long a run is. Clocks and speeds are made up."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl import _calibration, budget
from carl._calibration import Calibration, Measured, make_plan
from carl._encoder_cost import encoder_cost
from carl._memory import _groups
from carl.budget import Given, Setting, parse_duration, parse_memory
from carl.sources import as_source


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# ---- Text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1h30m15s", 5415),
        (" 2M ", 120),
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        (np.int64(7), 7),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "20 m",
        "1h30",
        "30m1h",
        "-5s",
        0,
        -1,
        "0s",
        "soon",
        True,
        None,
        [3],
        float("nan"),
        float("inf"),
        "1e99",
        1e300,
        3j,
    ],
)
def test_what_is_no_duration(text):
    with pytest.raises(carl.InvalidArgumentError, match=r"budget: got .*want a time such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 << 30),
        ("512M", 512 << 20),
        ("1.5g", 3 << 29),
        ("4GB", 4 << 30),
        ("2GiB", 2 << 30),
        (1000, 1000),
        ("1000", 1000),
        ("8k", 8192),
    ],
)
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-1G", 0, True, None, "4 5", float("nan"), 2**70, {}])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(carl.InvalidArgumentError, match=r"memory: got .*want an amount such as"):
        parse_memory(text)


@pytest.mark.parametrize("changes", [{"budget": "soon"}, {"memory": "much"}, {"budget": True}])
def test_fit_names_them(images, changes, model_of):
    with pytest.raises(carl.InvalidArgumentError, match=next(iter(changes))):
        model_of(epochs=None, **changes).fit(images)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 3},
        {"total_steps": 5},
        {"decay_steps": 5},
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"epochs": 100},
    ],
)
def test_what_a_budget_chooses_cannot_be_given(images, model_of, changes):
    with pytest.raises(carl.InvalidArgumentError, match=f"{next(iter(changes))}: got .* and budget='1m'"):
        model_of(**{"epochs": None, "budget": "1m", **changes}).fit(images)


def test_an_iterator_has_no_second_pass_to_measure_on(images, model_of):
    with pytest.raises(carl.InvalidArgumentError, match="budget: wants images that can be gone through again"):
        model_of(epochs=None, budget="1m").fit(iter([images]))


# ---- The rule


def test_rungs():
    every = budget.rungs(400, Given())
    assert every == list(budget.LADDER)
    assert {size for size, _ in budget.rungs(100, Given())} == {96, 64, 48, 32}
    assert budget.rungs(28, Given()) == [(28, width) for width in budget.WIDTHS]
    assert budget.rungs(400, Given(width=2.0)) == [
        (size, 2.0) for size in dict.fromkeys(size for size, _ in budget.LADDER)
    ]
    assert budget.rungs(400, Given(view_size=70)) == [(70, width) for width in budget.WIDTHS]
    assert budget.rungs(400, Given(view_size=70, width=0.5)) == [(70, 0.5)]
    assert budget.rungs(400, Given(own_views=True)) == [(None, width) for width in budget.WIDTHS]


def test_the_largest_that_sees_enough():
    seconds = {(96, 0.5): 0.1, (64, 0.5): 0.02, (64, 0.25): 0.01}
    pairs = list(seconds)
    assert budget.enough(500) == 10_000 and budget.enough(10**6) == budget.enough(None) == 300_000

    def best(time: float) -> tuple[int | None, float]:
        return budget.best_rung(pairs, lambda pair: time / seconds[pair], 500)

    assert (
        best(1000) == (96, 0.5)
        and best(999) == (64, 0.5)
        and best(200) == (64, 0.5)
        and best(199) == (64, 0.25)
        and best(1) == (64, 0.25)
    )


def test_batches_grow_with_the_number_of_steps():
    assert budget.best_batch(Given(), 256_000, 5000) == 128
    assert budget.best_batch(Given(), 255_000, 5000) == 128
    assert budget.best_batch(Given(), 256_000, 600) == 128
    assert budget.best_batch(Given(), 10, 10) == 64
    assert budget.best_batch(Given(batch_size=17), 10**9, None) == 17


def test_memory_is_saved_in_the_stated_order():
    pairs = [(96, 0.5), (64, 0.5), (96, 0.25), (64, 0.25)]
    order = budget.by_memory(Setting(96, 0.5, 128), pairs, Given())
    assert [(s.view_size, s.width, s.batch_size, s.recompute) for s in order[:6]] == [
        (96, 0.5, 128, False),
        (96, 0.5, 64, False),
        (96, 0.5, 128, True),
        (96, 0.5, 64, True),
        (64, 0.5, 128, False),
        (64, 0.5, 64, False),
    ]
    assert [s.rung for s in order[::4]] == [(96, 0.5), (64, 0.5), (96, 0.25), (64, 0.25)]
    fixed = budget.by_memory(Setting(96, 0.5, 128), [(96, 0.5)], Given(batch_size=128, recompute=False))
    assert fixed == [Setting(96, 0.5, 128)]


def test_what_does_not_fit_is_told():
    settings = [Setting(64, 1.0, 128), Setting(64, 1.0, 64)]

    def need(setting: Setting) -> float:
        return setting.batch_size * 2.0**20

    assert budget.fitting(settings, need, 100 * 2**20, None, 0) == settings[1]
    with pytest.raises(
        carl.InvalidArgumentError, match=r"memory: got 80 MiB.*takes 64 MiB beside the 40 MiB.*want at least 104 MiB"
    ):
        budget.fitting(settings, need, 40 * 2**20, 80 * 2**20, 40 * 2**20)
    with pytest.raises(carl.OutOfMemoryError, match=r"takes 64 MiB .*63 MiB are free"):
        budget.fitting(settings, need, 63 * 2**20, None, 0)


def test_too_short_a_budget_is_refused():
    budget.check_steps(60, 55, 2)
    with pytest.raises(carl.InvalidArgumentError, match=r"budget: got 60 s, but a step takes 6 s.*want at least 65 s"):
        budget.check_steps(60, 55, 6)


def test_encoder_cost_is_that_of_the_published_networks():
    # Multiplications and additions at 224 pixels, as torchvision's documentation gives them (1.81 and 4.09 billion; of
    # them the classifier).
    assert encoder_cost("resnet18", "imagenet", 1, 3, 224).operations == pytest.approx(1.81e9, rel=0.01)
    assert encoder_cost("resnet34", "imagenet", 1, 3, 224).operations == pytest.approx(3.66e9, rel=0.01)
    assert encoder_cost("resnet50", "imagenet", 1, 3, 224).operations == pytest.approx(4.09e9, rel=0.01)
    assert (
        encoder_cost("resnet18", "small", 0.5, 3, 32).values == encoder_cost("resnet18", "small", 1, 3, 32).values / 2
    )


def made_up(seconds, images, source=None, measured=None, **config) -> tuple[Calibration, list]:
    """A calibration whose machine takes `seconds(setting)` an image, and what was measured."""
    calls = []

    class MadeUp(Calibration):
        def _measured(self, setting, count):
            calls.append(setting)
            each = (setting.view_size or 32) ** 2 * setting.width * (10 if setting.recompute else 30)
            return Measured(seconds(setting), 1e6, each)

    base = carl.TrainerConfig(in_channels=3, **config)
    return MadeUp(source or as_source(images), base, 1.0), calls


def plan_of(seconds, images, given=Given(), time="20m", memory=None, side=300, **config):
    calibration, calls = made_up(seconds, images, **config)
    clock = Clock()
    plan = make_plan(
        as_source(images),
        carl.TrainerConfig(in_channels=3, **config),
        given,
        side,
        time,
        memory,
        clock.now,
        Setting(side, 1.0, 256),
        calibration,
        clock,
    )
    return plan, calls


@pytest.fixture
def thousand():
    return np.zeros((1000, 8, 8, 3), np.uint8)


def test_a_faster_machine_gets_more(thousand):
    def machine(speed: float):
        return lambda setting: (
            encoder_cost("resnet18", "imagenet", setting.width, 3, setting.view_size).operations * 6 / speed
        )

    slow, _ = plan_of(machine(2e9), thousand)
    fast, calls = plan_of(machine(1e12), thousand)
    assert fast.setting.rung == (224, 1.0) and slow.setting.view_size < 224 and slow.setting.width < 1
    assert fast.changes == {"view_size": 224, "width": 1.0, "batch_size": 64, "recompute": False}
    assert len(calls) <= 3
    for plan in (slow, fast):
        assert 1200 / plan.step_seconds * plan.setting.batch_size >= budget.enough(1000)
        assert plan.epochs == pytest.approx(1200 / plan.step_seconds / (1000 // plan.setting.batch_size), abs=1)
        assert plan.setting.describe() in plan.lines[0] and "20 min" in plan.lines[0]


def test_an_estimate_that_was_wrong_is_corrected(thousand):
    # Small networks wait for memory: the smallest is no faster than the next, whose measurement shows that there is
    # time for more.
    def machine(setting):
        return max(
            2e-3, encoder_cost("resnet18", "imagenet", setting.width, 3, setting.view_size).operations * 6 / 5e10
        )

    plan, calls = plan_of(machine, thousand, time="5m")
    assert [call.rung for call in calls].index(plan.setting.rung) > 0
    assert 300 / machine(plan.setting) >= budget.enough(1000)


def test_a_choice_that_measures_too_slow_is_left_again(thousand):
    plan, calls = plan_of(lambda setting: 1e-3 if setting.rung == (64, 0.25) else 10.0, thousand, time="1m")
    assert plan.setting.rung == calls[0].rung == (64, 0.25) and len(calls) >= 2


def test_given_parameters_stand(thousand):
    given = Given(view_size=40, width=2.0, batch_size=9, recompute=True)
    plan, calls = plan_of(lambda setting: 1.0, thousand, given, time="10h")
    assert plan.setting == Setting(40, 2.0, 9, True) and len(calls) == 1


def test_a_budget_without_room_for_training_is_refused(thousand):
    with pytest.raises(carl.InvalidArgumentError, match="budget: got 60 s, but a step takes"):
        plan_of(lambda setting: 1.0, thousand, time="60s")


def test_memory_reduces_what_time_allows(thousand, monkeypatch):
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 100 << 20)
    monkeypatch.setattr(_calibration, "available_memory", lambda: 64 << 30)
    free, _ = plan_of(lambda setting: 1e-6, thousand)
    tight, _ = plan_of(lambda setting: 1e-6, thousand, memory="150M")
    assert free.setting == Setting(224, 1.0, 128) and tight.setting == Setting(224, 1.0, 64, recompute=True)
    assert tight.lines[0].startswith("memory: ")
    with pytest.raises(carl.InvalidArgumentError, match="memory: got 101 MiB"):
        plan_of(lambda setting: 1e-6, thousand, memory="101M")
    monkeypatch.setattr(_calibration, "available_memory", lambda: 1 << 20)
    with pytest.raises(carl.OutOfMemoryError, match="are free"):
        plan_of(lambda setting: 1e-6, thousand)


def test_memory_alone_leaves_the_rest_as_it_is(thousand, monkeypatch):
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 100 << 20)
    monkeypatch.setattr(_calibration, "available_memory", lambda: 64 << 30)
    plan, _ = plan_of(lambda setting: 1.0, thousand, time=None, memory="8G")
    assert plan.setting == Setting(300, 1.0, 256) and plan.lines == [] and plan.epochs is None
    plan, _ = plan_of(lambda setting: 1.0, thousand, time=None, memory="480M")
    assert plan.setting == Setting(300, 1.0, 128)


def test_free_memory_of_control_groups(tmp_path):
    inner = tmp_path / "root" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("1000\n")
    (inner / "memory.current").write_text("700\n")
    (inner / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    (inner.parent / "memory.max").write_text("max\n")
    (inner.parent / "memory.current").write_text("700\n")
    (tmp_path / "membership").write_text("0::/a/b\n")
    assert _groups(str(tmp_path / "root"), str(tmp_path / "membership")) == [400]
    assert _groups(str(tmp_path / "none"), str(tmp_path / "none")) == []
