"""CARL.fit with a budget or a limit of memory, by a clock that goes on with each training step."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

import carl
from carl import _calibration
from carl import budget as budget_rule
from carl.budget import NO_TRAINING
from conftest import same_state, small_model

REAL_STEP = carl.Trainer.step
#: Narrow enough for tests.
WIDTHS = (0.125, 0.0625)


@pytest.fixture
def images(images):
    """Fewer than elsewhere: a budget is some fifty steps."""
    return images[:20]


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def budgeted(monkeypatch, step: float = 0.02, budget="1s", **changes) -> carl.CARL:
    """An unfitted model of the small network with a budget, by a clock on which a step takes `step` seconds, those of
    calibration as much as they have images, and all else takes none."""
    clock, an_image = Clock(), step / changes.get("batch_size", 20)

    def stepped(trainer, batch, *arguments):
        clock.now += an_image * len(batch)
        return REAL_STEP(trainer, batch, *arguments)

    monkeypatch.setattr(carl.Trainer, "step", stepped)
    monkeypatch.setattr(budget_rule, "WIDTHS", WIDTHS)
    monkeypatch.setattr(carl.CARL, "_clock", clock)
    return small_model(
        **{"epochs": None, "batch_size": None, "width": None, "view_size": 12, "budget": budget, **changes}
    )


def test_it_trains_as_long_as_the_budget_and_the_result_can_be_had_without(images, monkeypatch, tmp_path):
    model = budgeted(monkeypatch, run_dir=tmp_path).fit(images)
    config = model.config_
    assert model._kept_budget["spent"] == pytest.approx(1, abs=0.03)
    assert model.trainer_.step_count == config.total_steps == len(model.history_) > NO_TRAINING
    assert (
        config.schedule == "trapezoid" and len(config.decay_steps) > 1 and sum(config.decay_steps) < config.total_steps
    )
    assert config.epochs == config.total_steps  # 20 images are one batch
    assert (config.view_size, config.batch_size) == (12, 20) and config.width in WIDTHS
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(json.dumps(vars(config)))
    rates = [metrics.learning_rate for metrics in model.history_]
    start = config.total_steps - sum(config.decay_steps)
    warm = config.warmup_steps
    assert 0 < warm <= config.total_steps / 10 and rates[:warm] == sorted(rates[:warm])
    assert (
        set(rates[warm : start + 1]) == {0.01}
        and rates[start:] == sorted(rates[start:], reverse=True)
        and 0 < rates[-1] < 0.002
    )

    again = carl.CARL(**json.loads((tmp_path / "config.json").read_text()), progress=False).fit(images)
    assert again.budget is None and same_state(model.trainer_, again.trainer_)
    assert [metrics.loss for metrics in again.history_] == [metrics.loss for metrics in model.history_]
    assert again.config_ == config and carl.load(tmp_path).config_ == config


def test_a_budget_ends_within_an_epoch(images, monkeypatch):
    model = budgeted(monkeypatch, step=0.0198, batch_size=4).fit(images)
    config = model.config_
    assert config.total_steps % 5 and config.epochs == config.total_steps // 5 + 1 == model.epoch_ + 1
    assert same_state(carl.CARL(**vars(config), progress=False).fit(images).trainer_, model.trainer_)


def test_given_parameters_stand(images, monkeypatch):
    model = budgeted(monkeypatch, width=0.125, batch_size=10, recompute=True, teacher_momentum=0.9, warmup_steps=3).fit(
        images
    )
    config = model.config_
    assert (config.width, config.batch_size, config.view_size, config.recompute) == (0.125, 10, 12, True)
    momenta = [metrics.teacher_momentum for metrics in model.history_]
    assert momenta[0] == 0.9 and 0.98 < momenta[-1] < 1
    assert model.width == 0.125 and model.epochs is None  # parameters stay as they were given
    assert same_state(carl.CARL(**vars(config), progress=False).fit(images).trainer_, model.trainer_)


def test_it_says_what_it_chose(images, monkeypatch, tmp_path, capsys):
    budgeted(monkeypatch, run_dir=tmp_path, progress=True).fit(images)
    shown, log = capsys.readouterr().err, (tmp_path / "train.log").read_text()
    for text in (shown, log):
        for word in ("budget of 1 s: views of 12 pixels, width ", "images/s", "epochs of 20", "why: "):
            assert word in text
    assert shown.index("why: ") < shown.index("loss ")
    assert "total_steps" in log and "as long as the budget lasts" in log
    budgeted(monkeypatch).fit(images)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("changes", [{"train_encoder": "none"}, {"weights": True}, {"value_range": (0, 255)}])
def test_the_result_can_be_had_again_from_the_file(images, monkeypatch, tmp_path, changes):
    """By config.json, which knows the weights and how the images are read; `config_` has the trainer's keys alone."""
    if "weights" in changes:
        small_model(epochs=1, run_dir=tmp_path / "first").fit(images)
        changes = {"weights": tmp_path / "first" / "exported" / "encoder.safetensors", "stem": None}
    if "value_range" in changes:
        images = images.astype(np.float32)
    model = budgeted(monkeypatch, run_dir=tmp_path / "run", **changes).fit(images)
    again = carl.CARL(**json.loads((tmp_path / "run" / "config.json").read_text()), progress=False).fit(images)
    assert again.budget is None and same_state(model.trainer_, again.trainer_)


def test_batches_of_the_callers_are_planned_with_their_size(images, monkeypatch, capsys):
    batches = [images[:10], images[10:]]
    model = budgeted(monkeypatch, progress=True).fit(batches)
    assert model.config_.batch_size == 10 and model.config_.total_steps == model.trainer_.step_count > NO_TRAINING
    shown = capsys.readouterr().err
    assert "10 images a step" in shown and " epochs;" in shown and "None" not in shown
    assert same_state(carl.CARL(**vars(model.config_), progress=False).fit(batches).trainer_, model.trainer_)
    with pytest.raises(carl.InvalidArgumentError, match="fewer than 10 steps are no training"):
        budgeted(monkeypatch, step=0.2).fit([images])


@pytest.mark.parametrize("budget", [7, 9, 10.5])
def test_calls_at_the_ends_of_epochs_count(images, monkeypatch, budget):
    """An epoch and what is called behind it take a second each."""

    class Slow(carl.Callback):
        def on_epoch(self, model, epoch):
            model._clock.now += 1

    model = budgeted(monkeypatch, step=0.1, budget=budget, batch_size=2, callbacks=Slow()).fit(images)
    assert budget - 1.11 < model._kept_budget["spent"] < budget + 0.11


def test_calibration_leaves_no_trace(images, monkeypatch, no_leak):
    seen = []
    model = budgeted(monkeypatch, callbacks=lambda model, metrics: seen.append(metrics.step)).fit(images)
    assert seen == list(range(1, model.trainer_.step_count + 1)) and model.broken_images_ == {}
    model.trainer_.close()


@pytest.mark.parametrize("kind", ["list", "folder", "stream"])
def test_other_sources(images, monkeypatch, tmp_path, kind):
    if kind == "folder":
        from PIL import Image

        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    data = {"list": list(images), "folder": tmp_path, "stream": [images[:10], images[10:]]}[kind]
    model = budgeted(monkeypatch).fit(data)
    assert model.trainer_.step_count == model.config_.total_steps > NO_TRAINING
    assert same_state(carl.CARL(**vars(model.config_), progress=False).fit(data).trainer_, model.trainer_)


@pytest.mark.parametrize("stop_at", [5, 32, 38])
def test_an_interrupted_run_goes_on_with_what_is_left(images, monkeypatch, tmp_path, stop_at):
    def stop(model, metrics):
        if metrics.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        budgeted(monkeypatch, batch_size=8, run_dir=tmp_path, callbacks=stop).fit(images)
    before = carl.load(tmp_path)
    assert before.trainer_.step_count == stop_at
    spent = before.trainer_.notes["carl"]["budget"]["spent"]
    assert 0 < spent < 1
    resumed = budgeted(monkeypatch, batch_size=8, run_dir=tmp_path).fit(images, resume=True)
    config = resumed.config_
    assert resumed.trainer_.step_count == config.total_steps > stop_at
    # No further calibration, and no second budget.
    assert len(resumed.history_) - stop_at == pytest.approx((1 - spent) / 0.02, abs=1.5)
    assert same_state(carl.CARL(**vars(config), progress=False).fit(images).trainer_, resumed.trainer_)
    assert [row["step"] for row in carl.runs.read_metrics(tmp_path)] == list(range(1, config.total_steps + 1))
    over = budgeted(monkeypatch, batch_size=8, run_dir=tmp_path).fit(images, resume=True)
    assert over.history_ == resumed.history_ and same_state(over.trainer_, resumed.trainer_)


def test_a_budget_cannot_be_put_on_a_run_without_one(images, monkeypatch, tmp_path):
    small_model(run_dir=tmp_path).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match=r"budget: got '1s', but .* was made without one"):
        budgeted(monkeypatch, run_dir=tmp_path).fit(images, resume=True)


def test_the_budget_is_kept_in_files_that_are_read_again(images, monkeypatch, tmp_path):
    model = budgeted(monkeypatch).fit(images)
    model.save(tmp_path / "a.carl")
    carl.load(tmp_path / "a.carl").save(tmp_path / "b.carl")
    notes = [carl.load(tmp_path / name).trainer_.notes["carl"]["budget"] for name in ("a.carl", "b.carl")]
    assert (
        notes[0] == notes[1]
        and notes[0]["spent"] == pytest.approx(1, abs=0.03)
        and notes[0]["chosen"]["view_size"] == 12
    )
    model.set_params(budget=None, epochs=1).fit(images)
    assert "budget" not in model._notes()["carl"]


def test_damaged_notes_of_a_budget_are_named(images, tmp_path):
    model = small_model(epochs=1).fit(images)
    for note in (3, {"seconds": "1"}, {"seconds": 1, "spent": -1, "chosen": {}}, {"seconds": 1, "spent": 1}):
        notes = model._notes()
        notes["carl"]["budget"] = note
        model.trainer_.save(tmp_path / "damaged.carl", notes)
        with pytest.raises(carl.FileError, match="notes are damaged: budget"):
            carl.load(tmp_path / "damaged.carl")


def test_fit_ends_at_total_steps(images):
    model = small_model(epochs=3, total_steps=7, batch_size=4).fit(images)
    assert model.trainer_.step_count == 7 and model.epoch_ == 1
    assert small_model(epochs=1, total_steps=7, batch_size=4).fit(images).trainer_.step_count == 5


def test_a_trapezoid_by_hand(images):
    model = small_model(schedule="trapezoid", decay_steps=4, batch_size=4).fit(images)
    rates = [metrics.learning_rate / 0.01 for metrics in model.history_]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    unspecified = small_model(schedule="trapezoid", batch_size=4).fit(images)
    assert [m.learning_rate for m in unspecified.history_][-2:] == pytest.approx([0.01, 0.005])
    with pytest.raises(carl.ConfigurationError, match="decay_steps"):
        small_model(schedule="trapezoid", decay_steps=11, batch_size=4).fit(images)
    with pytest.raises(carl.ConfigurationError, match="decay_steps.*trapezoid"):
        small_model(schedule="cosine", decay_steps=1).fit(images)


def test_reconfigure_is_exact(images, make_trainer):
    a, b = (
        make_trainer(schedule="trapezoid", accumulate=2),
        make_trainer(schedule="trapezoid", accumulate=2, total_steps=6, decay_steps=2),
    )
    for trainer in (a, b):
        for _ in range(3):
            trainer.step(images)
    a.reconfigure(total_steps=6, decay_steps=2)
    assert a.step_count == 3 and a.config == b.config
    for trainer in (a, b):
        for _ in range(3):
            trainer.step(images)
    assert same_state(a, b)
    with pytest.raises(carl.ConfigurationError, match="width"):
        a.reconfigure(width=1)
    assert a.step_count == 6 and same_state(a, b)


# ---- Memory


def test_stochastic_depth_leaves_recompute_out_of_a_choice_for_memory(images, monkeypatch):
    """The two do not go together; the error is about the memory."""
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 0)
    vit = {"encoder": "vit_tiny", "width": None, "stem": None, "patch_size": 6, "batch_size": None}
    with pytest.raises(carl.InvalidArgumentError, match=r"memory: got 64 MiB, .* a step\) takes .*want at least"):
        small_model(**vit, drop_path=0.2, memory="64M").fit(images)
    with pytest.raises(carl.InvalidArgumentError, match=r"memory: got 64 MiB, .* a step, recompute\) takes "):
        small_model(**vit, memory="64M").fit(images)


def test_memory_is_kept_by_smaller_batches_then_recompute(images, monkeypatch):
    source = np.concatenate([images] * 8)
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 0)
    needs = {}
    for limit in ("64G", "30M"):
        model = small_model(epochs=1, batch_size=None, memory=limit).fit(source)
        needs[limit] = model.config_.batch_size, model.config_.recompute, model.trainer_.last_metrics.memory_bytes
    assert needs["64G"][:2] == (128, False)
    assert needs["30M"][:2] < (128, False) and needs["30M"][2] < 30 << 20
    given = small_model(epochs=1, batch_size=256, memory="52M", view_size=12).fit(source)
    assert given.config_.recompute and given.trainer_.last_metrics.memory_bytes < 52 << 20
    with pytest.raises(
        carl.InvalidArgumentError, match=r"memory: got 3 MiB, and the smallest setting .* want at least"
    ):
        small_model(epochs=1, memory="3M").fit(source)


def test_memory_counts_the_batches_that_are_given(images, monkeypatch):
    source = np.concatenate([images] * 16)
    monkeypatch.setattr(_calibration, "resident_memory", lambda: 0)
    with pytest.raises(carl.InvalidArgumentError, match="320 images a step, recompute.* want at least"):
        small_model(epochs=1, batch_size=None, memory="20M").fit([source])
    model = small_model(epochs=1, batch_size=None, memory="20M").fit([source[:64], source[64:128]])
    assert model.config_.batch_size == 64 and model.trainer_.last_metrics.memory_bytes < 20 << 20


@pytest.mark.parametrize("early", [None, 0])
def test_measuring_keeps_within_the_limit_too(images, monkeypatch, early):
    from carl.budget import Setting
    from carl.sources import as_source

    held = []
    monkeypatch.setattr(_calibration, "resident_memory", lambda: held[-1] if held else 0)
    step = carl.Trainer.step

    def recorded(trainer, *arguments):
        metrics = step(trainer, *arguments)
        held.append(metrics.memory_bytes)
        return metrics

    monkeypatch.setattr(carl.Trainer, "step", recorded)
    source = as_source(np.concatenate([images] * 2))
    base = carl.TrainerConfig(in_channels=3, prototypes=6, projector=[16, 8], stem="small", early_steps=early)
    setting = Setting(32, 0.125, 64)
    need = _calibration.Calibration(source, base, 0.0).need(setting)
    limit = max(held) // 2
    held.clear()
    assert _calibration.Calibration(source, base, 0.0, limit=limit).need(setting) == pytest.approx(need, rel=0.15)
    assert max(held) < limit


def test_what_is_planned_is_what_is_held(images):
    source = np.concatenate([images] * 8)
    from carl.budget import Setting
    from carl.sources import as_source

    base = carl.TrainerConfig(in_channels=3, prototypes=6, projector=[16, 8], stem="small", seed=0)
    calibration = _calibration.Calibration(as_source(source), base, 0.0)
    for setting in (Setting(12, 0.125, 128), Setting(20, 0.25, 64), Setting(12, 0.25, 128, recompute=True)):
        with carl.Trainer(calibration.config(setting)) as trainer:
            for _ in range(2):
                held = trainer.step(source[: setting.batch_size]).memory_bytes
        assert 0.9 * held < calibration.need(setting) < 2 * held + (4 << 20)


def test_timing_is_not_left_to_chance(images):
    """The real clock is looked at: a budget of a few seconds of steps of milliseconds trains, and says truly what it
    spent."""
    start = time.perf_counter()
    try:
        model = small_model(epochs=None, width=0.125, view_size=12, budget=4.0).fit(images)
    except carl.InvalidArgumentError as error:  # a machine that is very busy
        assert "fewer than" in str(error)
        return
    assert model._kept_budget["spent"] <= time.perf_counter() - start
    assert model.trainer_.step_count == model.config_.total_steps


# ---- The command line


def test_command_line(images, monkeypatch, tmp_path, capsys):
    from carl.cli import main

    np.save(tmp_path / "images.npy", images)
    data, run = str(tmp_path / "images.npy"), str(tmp_path / "run")
    budgeted(monkeypatch)  # for its clock
    small = ["width=0.125", "projector=[16,8]", "prototypes=6", "learning_rate=0.01", "stem=small"]
    assert main(["train", data, *small, "--budget", "1s", "--memory", "64G", "--out", run, "--quiet"]) == 0
    model = carl.load(run)
    assert (model.budget, model.memory, model.epochs) == ("1s", "64G", None)
    assert model.trainer_.step_count == model.config_.total_steps > NO_TRAINING and model.config_.width == 0.125
    capsys.readouterr()
    assert main(["train", run, "--resume", "budget=2s", "--quiet"]) == 0
    assert "nothing to do: the run is over" in capsys.readouterr().out
    again = str(tmp_path / "again")
    assert main(["train", data, "--config", f"{run}/config.json", "--out", again, "--quiet"]) == 0
    assert same_state(carl.load(again).trainer_, model.trainer_)
    for arguments, word in (
        (["--budget", "1w"], "budget: got '1w'"),
        (["budget=1m", "epochs=3"], "epochs: got 3"),
        (["--memory", "4X"], "memory: got '4X'"),
    ):
        assert main(["train", data, *small, *arguments, "--out", str(tmp_path / "none"), "--quiet"]) == 1
        assert word in capsys.readouterr().err
