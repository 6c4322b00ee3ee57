"""How runs end, whatever a callback, a stream or the program around them does: what was trained is where it belongs."""

from __future__ import annotations

import io
import logging
import os
import pickle
import sys
import tempfile
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import carl
from carl import _pickles
from carl.loggers.base import Logger
from carl.progress import Bar, show_beside_bars
from conftest import small_model


def test_a_run_stays_in_its_folder_when_the_program_changes_its_own(images, tmp_path, monkeypatch):
    """A relative run_dir is one of the working directory that fit began in."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "there")
    small_model(seed=1, run_dir="runs/mine").fit(images)
    other = (tmp_path / "there/runs/mine/checkpoints/last.carl").read_bytes()
    monkeypatch.chdir(tmp_path / "here")

    def leave(model, metrics):
        if metrics.step == 2:
            os.chdir(tmp_path / "there")

    model = small_model(run_dir="runs/mine", callbacks=leave).fit(images)
    model.set_params(callbacks=None).partial_fit(images)  # from there
    assert (tmp_path / "there/runs/mine/checkpoints/last.carl").read_bytes() == other
    run = tmp_path / "here/runs/mine"
    assert model.run_dir_ == run
    assert carl.load(run).trainer_.step_count == model.trainer_.step_count == len(carl.runs.read_metrics(run))


@pytest.mark.parametrize("path", ["a" * 300, "a\0b"])
def test_paths_that_no_folder_can_have(images, tmp_path, path):
    with pytest.raises((carl.FileError, carl.InvalidArgumentError), match="run_dir"):
        small_model(run_dir=tmp_path / path).fit(images)


class _Gone(io.StringIO):
    """Standard error whose reader has gone."""

    def __init__(self, error):
        super().__init__()
        self.error, self.writes = error, 0

    def write(self, text):
        self.writes += 1
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
def test_a_broken_standard_error_ends_no_training(images, monkeypatch, error):
    plain = small_model().fit(images)
    gone = _Gone(error)
    monkeypatch.setattr(sys, "stderr", gone)
    ended = []
    callback = carl.Callback()
    callback.on_end = ended.append
    model = small_model(progress=True, callbacks=callback).fit(images)
    with Bar(True, 3, "bar") as bar:
        for text in ("a", None, "c"):
            bar.advance(text)
            bar.rename(str(text))
    show_beside_bars("text\n")
    monkeypatch.undo()
    assert gone.writes > 0 and ended == [model]
    assert model.trainer_.to_bytes({}) == plain.trainer_.to_bytes({})

    def interrupt(model, metrics):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", gone)
    logging.getLogger("carl").warning("nobody handles this")
    with pytest.raises(KeyboardInterrupt):
        small_model(progress=True, callbacks=interrupt).fit(images)


@pytest.mark.parametrize("error", [BrokenPipeError(), KeyboardInterrupt()])
def test_a_bar_that_cannot_be_drawn_stops_no_other_thread(monkeypatch, error):
    """Such as the one that a library's message comes by: tqdm keeps its lock when drawing fails."""
    monkeypatch.setattr(sys, "stderr", _Gone(error))

    def fails(call):
        try:
            call()
        except KeyboardInterrupt:
            pass

    fails(lambda: Bar(True, 3, "bar").advance("a"))
    fails(lambda: show_beside_bars("text\n"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    other = threading.Thread(target=show_beside_bars, args=("further\n",), daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive() and sys.stderr.getvalue() == "further\n"


class _Ends(Logger):
    """Notes how it was closed."""

    def __init__(self, error=None):
        super().__init__()
        self.error, self.closed = error, []

    def write(self, step, figures):
        pass

    def close(self, failed):
        self.closed.append(failed)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt(), RuntimeError("step"), carl.StopTraining("enough")])
def test_every_callback_ends_and_the_first_error_is_raised(images, tmp_path, ending):
    def end(model, metrics):
        if ending is not None:
            raise ending

    loggers = [_Ends(), _Ends(SystemExit("first")), _Ends(OSError("second")), _Ends()]
    failed = isinstance(ending, (KeyboardInterrupt, RuntimeError))
    raised = type(ending) if failed else SystemExit
    with pytest.raises(raised):
        small_model(run_dir=tmp_path / "run", callbacks=[*loggers, end]).fit(images)
    assert [logger.closed for logger in loggers] == [[failed]] * 4
    log = (tmp_path / "run/train.log").read_text()
    assert "SystemExit: first" in log and "OSError: second" in log


def test_a_fit_within_an_except_block_has_not_failed(images):
    logger = _Ends()
    try:
        raise ValueError("of the program")
    except ValueError:
        small_model(callbacks=logger).fit(images)
    assert logger.closed == [False]


def test_the_program_s_exit_leaves_a_checkpoint(images, tmp_path):
    def leave(model, metrics):
        if metrics.step == 3:
            sys.exit(5)

    with pytest.raises(SystemExit):
        small_model(run_dir=tmp_path / "run", callbacks=leave).fit(images)
    assert carl.load(tmp_path / "run").trainer_.step_count == 3
    assert "ended by the program's exit at step 3" in (tmp_path / "run/train.log").read_text()


def test_a_budget_is_over_with_a_fit_that_did_not_begin(images, tmp_path):
    model = small_model(epochs=None, budget="3s", run_dir=tmp_path / "run").fit(images)
    model.set_params(budget="600s", threads=100_000)
    with pytest.raises(carl.ConfigurationError, match="threads"):
        model.fit(images, resume=True)
    step = model.trainer_.step_count
    assert model.set_params(threads=None).partial_fit(images).trainer_.step_count == step + 5


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ValueError])
def test_a_budget_is_over_with_its_fit(images, ending):
    """What comes after a fit that was ended has no budget: partial_fit is one pass, and no time is spent."""

    def end(model, metrics):
        if metrics.step == 2:
            raise ending

    model = small_model(budget="600s", callbacks=end, epochs=None, batch_size=8)
    with pytest.raises(ending):
        model.fit(images)
    notes = model._notes()["carl"]["budget"]
    before = model.trainer_.step_count
    model.set_params(callbacks=None).partial_fit(images)
    assert model.trainer_.step_count == before + 5
    assert model._notes()["carl"]["budget"] == notes and model._pace is None


def test_temporary_files_go_where_there_is_room(images, monkeypatch, make_trainer):
    trainer = make_trainer()
    known = trainer.to_bytes()
    folders = []
    make = tempfile.TemporaryDirectory

    def record(prefix, dir=None):
        folders.append(dir)
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", record)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    assert trainer.to_bytes() == known and folders == [None, _pickles._IN_MEMORY]
    model = small_model(epochs=1).fit(images)
    del folders[:]
    pickle.loads(pickle.dumps(model))
    pickle.dumps(carl.Classifier(model, 3))
    assert folders.count(_pickles._IN_MEMORY) >= 2

    def refuse(prefix, dir=None):
        raise FileNotFoundError(2, "No usable temporary directory")

    def in_memory_alone(prefix, dir=None):
        return make(prefix=prefix, dir=dir) if dir else refuse(prefix)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", in_memory_alone)
    trainer.reconfigure(threads=1)
    assert trainer.to_bytes() != b""
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(carl.FileError, match="TMPDIR"):
        trainer.to_bytes()


def test_what_two_runs_log_at_once_is_told_apart(images, tmp_path):
    """Runs in two threads: a line is in the log of the run that it is of, also from threads that work for it."""
    both = threading.Barrier(2, timeout=60)

    class Source:
        def __init__(self, name):
            self.name = name

        def __len__(self):
            return len(images)

        def __getitem__(self, place):  # in a thread of the reader's
            logging.getLogger("carl").warning("image of %s", self.name)
            return images[place]

    def train(name):
        def step(model, metrics):
            both.wait()
            logging.getLogger("carl").warning("step of %s", name)
            both.wait()

        small_model(run_dir=tmp_path / name, callbacks=step).fit(Source(name))

    threads = [threading.Thread(target=train, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, other in (("one", "two"), ("two", "one")):
        log = (tmp_path / name / "train.log").read_text()
        assert f"step of {name}" in log and f"image of {name}" in log
        assert f"step of {other}" not in log and f"image of {other}" not in log


def test_an_iterator_is_one_pass(images):
    def batches():
        return (images[first : first + 8] for first in range(0, 40, 8))

    model = small_model(epochs=None).fit(batches())
    assert (model.trainer_.step_count, model.epoch_) == (5, 1)
    steps = []
    with pytest.raises(carl.InvalidArgumentError, match="epochs: got 3.*iterator"):
        small_model(epochs=3, callbacks=lambda model, metrics: steps.append(metrics.step)).fit(batches())
    assert steps == []
    assert small_model(epochs=1).fit(batches()).trainer_.step_count == 5


def test_total_steps_may_be_given_once_they_are_known(images, tmp_path):
    class Stream:
        def __iter__(self):
            return iter([images[first : first + 8] for first in range(0, 40, 8)])

    run = tmp_path / "run"
    small_model(epochs=1, run_dir=run).fit(Stream())
    model = small_model(epochs=5, total_steps=12, run_dir=run).fit(Stream(), resume=True)
    assert model.trainer_.step_count == model.config_.total_steps == 12
    rates = [row["learning_rate"] for row in carl.runs.read_metrics(run)]
    assert rates[-1] < rates[5]


def test_layers_of_values_that_overflow_are_told(make_trainer):
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    with carl.Trainer({"encoder": "vit_tiny", "patch_size": 8, "view_size": 16, "prototypes": 4}) as trainer:
        assert np.isfinite(trainer.embed(images * 1e17)).all()
        for factor in (1e19, 1e25):
            with pytest.raises(carl.NotFiniteError):
                trainer.embed(images * np.float32(factor))
