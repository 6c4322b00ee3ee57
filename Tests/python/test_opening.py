"""What is said before the first step and while it runs: the opening line, hints, warnings, a bar on 80 columns."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import carl
from carl import _opening
from carl._diagnostics import AgreementWatch
from carl.cli import main
from carl.progress import Bar, _width
from conftest import SMALL, small_model


def config(**changes):
    with carl.Trainer({**SMALL, "views": "auto", **changes}) as trainer:
        return trainer.config


def test_the_opening_line_is_told_before_the_first_step(images, tmp_path, capfd):
    small_model(progress=True, run_dir=tmp_path / "run", view_size=12).fit(images)
    line = capfd.readouterr().err.splitlines()[0]
    assert line.startswith(
        "carl: 40 images of 3 channels; views: 2 of 12 pixels; resnet18, width 0.125, 6 prototypes; "
        "10 steps of 8 images, 2 epochs; about "
    )
    assert line.endswith(" of memory")
    log = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert line.removeprefix("carl: ") in log[0]
    small_model(progress=True, run_dir=tmp_path / "run", epochs=3).fit(images, resume=True)
    assert "5 steps of 8 images, 3 epochs" in capfd.readouterr().err


def test_nothing_is_measured_where_nobody_watches(images, tmp_path, monkeypatch, capfd):
    def refuse(*arguments):
        raise AssertionError("measured")

    monkeypatch.setattr("carl._fit.measure", refuse)
    small_model(run_dir=tmp_path / "run").fit(images)
    assert "40 images of 3 channels" in (tmp_path / "run" / "train.log").read_text()
    assert capfd.readouterr().err == ""


def test_a_run_is_the_same_with_and_without_the_measurement(images):
    shown, silent = (small_model(progress=value).fit(images) for value in (True, False))
    assert [row.loss for row in shown.history_] == [row.loss for row in silent.history_]


def test_measured_on_a_source_and_on_a_stream(images):
    for given in (images, iter([images[:20], images[20:]])):
        estimate = _opening.measure(carl.as_source(given), config())
        assert estimate.step(8) > 0 and estimate.bytes(64) > estimate.bytes(8) > 0
    with carl.Trainer({**SMALL, "batch_size": 32}) as trainer:
        used = trainer.step(images[:32]).memory_bytes
    estimate = _opening.measure(carl.as_source(images), config())
    assert 0.5 * used < estimate.bytes(32) < 3 * used + 20e6


def test_decoding_counts_once_where_images_are_kept(png_files, images, monkeypatch, capfd):
    assert _opening.measure(carl.as_source(images), config()).reading == 0
    assert 0 < _opening.measure(carl.as_source(png_files), config()).reading < 5
    monkeypatch.setattr("carl._fit.measure", lambda *given: _opening.Estimate(0.0, 0.0, 0.0, 0.0, reading=2.0))
    told = []
    for changes in ({}, {"keep_images": False}):
        small_model(progress=True, epochs=3, **changes).fit(png_files)
        told.append(capfd.readouterr().err.split("about ")[1].split(",")[0])
    assert told == ["32 s", "96 s"]  # 16 images, 2 s each


def test_a_long_run_names_a_smaller_setting():
    source = carl.as_source(np.zeros((40, 200, 200, 3), np.uint8))
    estimate = _opening.Estimate(0.0, 0.05, 0.0, 1.0)
    given = config(width=1.0, view_size=160, epochs=100)
    (line,) = _opening.hints(source, given, 100, 2_000, estimate)  # 10,000 s
    assert line.startswith("shorter: ") and " min; or budget=1h" in line
    sizes = dict(item.split("=") for item in line.split(",")[0].removeprefix("shorter: ").split())
    assert float(sizes["width"]) <= 1 and int(sizes.get("view_size", 160)) <= 160 and "budget=1h" in line
    assert _opening.hints(source, given, 100, 700, estimate) == []
    (line,) = _opening.hints(source, config(width=0.25, view_size=32, epochs=100), 100, 2_000, estimate)
    assert "epochs=36" in line


def test_a_run_larger_than_the_memory_names_a_smaller_batch(monkeypatch):
    monkeypatch.setattr(_opening, "available_memory", lambda: 1000)
    source = carl.as_source(np.zeros((40, 12, 12, 3), np.uint8))
    (line,) = _opening.hints(source, config(), 64, 10, _opening.Estimate(0.0, 0.001, 100.0, 50.0))
    assert "batch_size=16" in line and "recompute=true" in line
    own = carl.as_source([np.zeros((64, 12, 12, 3), np.uint8)])  # whose size no parameter changes
    (line,) = _opening.hints(own, config(), 64, 10, _opening.Estimate(0.0, 0.001, 100.0, 50.0))
    assert "batches of 16 images take" in line and "batch_size" not in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 64}, "batch_size: 64 is more than the 40 images.*try batch_size=8"),
        ({"prototypes": 50}, "prototypes: 50 are more than the 40 images.*try prototypes=4"),
    ],
)
def test_sizes_beyond_the_set(images, changes, words):
    with pytest.warns(UserWarning, match=words):
        small_model(**changes, epochs=1).fit(images)


def test_fitting_sizes_are_not_warned_of(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_model(batch_size=40, epochs=1).fit(images)


def metrics(step, agreement, assigned):
    values = dict.fromkeys(carl.Metrics.__dataclass_fields__, 0)
    return carl.Metrics(**{**values, "step": step, "agreement": agreement, "assigned_prototypes": assigned})


def told(series):
    watch = AgreementWatch()
    found = [watch.step(metrics(step, *pair)) for step, pair in enumerate(series, start=1)]
    return [text for text in found if text]


def test_agreement_that_falls_is_told_once():
    (text,) = told([(0.8, 20.0)] * 100 + [(0.3, 20.0)] * 200)
    assert "agreement fell from 80%" in text and "learning_rate" in text


@pytest.mark.parametrize(
    "series",
    [
        [(0.8, 20.0)] * 300,
        [(1.0, 1.0)] * 100 + [(0.5, 20.0)] * 200,  # all on one prototype at first: spreading out is what training does
        [(0.3, 20.0)] * 100 + [(0.1, 20.0)] * 100,  # never was high
        [(0.8, 20.0)] * 100 + [(0.1, 20.0)] * 10 + [(0.8, 20.0)] * 100,  # a few steps
    ],
)
def test_agreement_that_is_as_it_should_be(series):
    assert told(series) == []


def test_eighty_columns_show_bar_rate_time_and_loss():
    bar = Bar(True, 10_000, "epoch 13/100")
    inner = bar._bar
    try:
        inner.set_postfix_str("loss 15.933, consistency 1.399, prior 0.848, effective prototypes 5.1", refresh=False)
        shown = {**inner.format_dict, "n": 1234, "elapsed": 118.0, "initial": 0, "ncols": 80}
        line = inner.format_meter(**shown)
    finally:
        bar.close()
    assert len(line) <= 80 and line.startswith("epoch 13/100:  12%|█")
    assert "10.46step/s, 13:58 left, loss 15.9" in line


@pytest.mark.parametrize(("size", "want"), [((0, 0), {"ncols": 80, "nrows": 24}), ((100, 24), {"dynamic_ncols": True})])
def test_a_terminal_without_a_size_has_eighty_columns(monkeypatch, size, want):
    class Terminal:
        def isatty(self):
            return True

        def fileno(self):
            return 2

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("os.get_terminal_size", lambda number: os.terminal_size(size))
    assert _width() == want


def test_what_takes_no_time_has_no_bar(images, capfd):
    model = small_model(epochs=1).fit(images)
    capfd.readouterr()
    model.transform(images, progress=True)
    assert capfd.readouterr().err == ""


def test_embedding_that_takes_longer_has_one(images, capfd, monkeypatch):
    import carl.encoder

    monkeypatch.setattr(carl.encoder, "Bar", lambda shown, total, name, unit, delay: Bar(shown, total, name, unit))
    model = small_model(epochs=1).fit(images)
    capfd.readouterr()
    model.transform(images, progress=True)
    assert "embed: 100%" in capfd.readouterr().err


def test_the_command_line_tells_it(images, tmp_path, capfd):
    np.save(tmp_path / "x.npy", images)
    arguments = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8", "epochs=1"]
    assert main(["train", str(tmp_path / "x.npy"), *arguments, "--out", str(tmp_path / "run")]) == 0
    assert capfd.readouterr().err.startswith("carl: 40 images of 3 channels; views: 2 of 12 pixels; ")


# ---- Lengths that cannot do what they are for


def test_a_run_that_would_update_no_weight_is_refused(images):
    with pytest.raises(carl.InvalidArgumentError, match="accumulate: got 100, but the run has 10 steps, so no weight"):
        small_model(accumulate=100).fit(images)
    small_model(accumulate=10).fit(images)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"warmup_steps": 10}, "warmup_steps: 10 are as many as the 10 steps"),
        ({"epochs": 1, "total_steps": 1000}, "total_steps: the epochs end after 5 of 1000"),
        ({"epochs": 50, "total_steps": 6, "warmup_steps": 7}, "warmup_steps: 7 are as many as the 6 steps"),
    ],
)
def test_schedules_that_do_not_get_anywhere_are_warned_of(images, changes, words):
    with pytest.warns(UserWarning, match=words):
        small_model(**changes).fit(images)


def test_a_learning_rate_does_not_rise_at_its_end(images):
    with pytest.raises(carl.ConfigurationError, match='"min_learning_rate" must be at most "learning_rate"'):
        small_model(learning_rate=0.01, min_learning_rate=1.0).fit(images)


def test_a_budget_s_batch_is_at_most_the_set(images):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small_model(epochs=None, batch_size=None, budget="5s", prototypes=4).fit(images[:20])
    assert model.config_.batch_size == 20


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"optimizer": "sgd", "trust_coefficient": 0.01}, "trust_coefficient"),
        ({"contrast_weight": 0, "contrast_temperature": 0.3}, "contrast_temperature"),
        ({"objective": "carl", "contrast_temperature": 0.3}, "contrast_temperature"),
        ({"early_view_size": 8, "early_steps": 0}, "early_view_size"),
        ({"schedule": "constant", "min_learning_rate": 0.01}, "min_learning_rate"),
        ({"projector": [16], "projector_activation": "gelu"}, "projector_activation"),
        ({"feature_views": 2}, "feature_views"),
        ({"train_encoder": "none", "layer_decay": 0.5}, "layer_decay"),
        ({"checkpoint_every": 2}, "checkpoint_every"),
        ({"cache_size": 20}, "cache_size"),
        ({"on_error": "raise", "max_broken": 0.2}, "max_broken"),
        ({"encoder": "vit_tiny", "width": 1.0, "patch_size": 6, "stem": "small"}, "stem"),
    ],
)
def test_parameters_without_effect_are_told(images, given, key):
    with pytest.warns(UserWarning, match=f"^{key}: .* has no effect: "):
        small_model(epochs=1, **given).fit(images)


def test_parameters_with_effect_are_not_told(images, tmp_path):
    """Nor those at what the default would be."""
    some = {"optimizer": "lars", "trust_coefficient": 0.01, "contrast_temperature": 0.3, "min_learning_rate": 0.01}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_model(epochs=2, early_view_size=8, checkpoint_every=2, run_dir=tmp_path / "run", **some).fit(images)
        small_model(epochs=2, layer_decay=1.0, min_learning_rate=0, schedule="constant", feature_views=8).fit(images)
