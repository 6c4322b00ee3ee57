"""SIGTERM, as `docker stop` and batch systems send it, ends training like Ctrl-C; what a program does with signals of
its own stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import carl
from carl import _signals, runs
from conftest import same_state, small_model

SMALL = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8"]


@pytest.fixture(autouse=True)
def default_handlers():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


def kill(number, at=3):
    """A callback that sends a signal to this process behind step `at`."""

    def send(model, metrics):
        if metrics.step == at:
            os.kill(os.getpid(), number)

    return send


# ---- The command line


def start(folder, images, *more, ignore=None, quiet=True):
    np.save(folder / "x.npy", images)
    root = str(Path(carl.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "carl",
            "train",
            str(folder / "x.npy"),
            *SMALL,
            "epochs=100000",
            "--out",
            str(folder / "run"),
            *(["--quiet"] if quiet else []),
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        preexec_fn=None if ignore is None else lambda: signal.signal(ignore, signal.SIG_IGN),
    )


def stop(process, folder, number):
    """Sends the signal once some steps are done. Returns what was printed to standard error."""
    metrics = folder / "run" / "metrics.jsonl"
    try:
        until = time.monotonic() + 120
        while not (metrics.is_file() and metrics.stat().st_size > 2000):
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        return process.communicate(timeout=120)[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "ignore"), [(signal.SIGTERM, None), (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, None)]
)
def test_a_run_ends_with_a_checkpoint_and_status_143(images, tmp_path, number, ignore):
    process = start(tmp_path, images, ignore=ignore)
    errors = stop(process, tmp_path, number)
    assert process.returncode == 143, errors
    assert errors.splitlines() == [f"to go on: carl train {tmp_path / 'run'} --resume", "carl: terminated"]
    model = carl.load(tmp_path / "run")
    steps = model.trainer_.step_count
    assert steps == runs.read_metrics(tmp_path / "run")[-1]["step"] > 0
    assert f"terminated by {number.name} at step {steps}; checkpoint" in (tmp_path / "run" / "train.log").read_text()
    reference = small_model(**{**model.get_params(), "callbacks": lambda _, metrics: stop_at(metrics, steps)}).fit(
        str(tmp_path / "x.npy")
    )
    assert same_state(model.trainer_, reference.trainer_)


def stop_at(metrics, steps):
    if metrics.step == steps:
        raise carl.StopTraining


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_twice_costs_no_checkpoint(images, tmp_path, monkeypatch, number):
    """As programs send it that hand signals on to their children: the second one meets the checkpoint half written."""
    write, calls = runs.RunFolder.save, []

    def save(run, *arguments):
        calls.append(len(calls))
        if len(calls) == 1:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # its handler has run
        return write(run, *arguments)

    monkeypatch.setattr(runs.RunFolder, "save", save)
    with pytest.raises((KeyboardInterrupt, carl.Terminated)):
        small_model(run_dir=tmp_path, callbacks=kill(number)).fit(images)
    assert calls == [0] and carl.load(tmp_path).trainer_.step_count == 3


@pytest.mark.parametrize("ending", [ValueError, carl.StopTraining])
def test_a_signal_while_an_error_is_saved_changes_nothing(images, tmp_path, monkeypatch, ending):
    write = runs.RunFolder.save

    def save(run, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        return write(run, *arguments)

    def fail(model, metrics):
        if metrics.step == 3:
            monkeypatch.setattr(runs.RunFolder, "save", save)
            raise ending("of a callback")

    model = small_model(run_dir=tmp_path, callbacks=fail)
    if ending is ValueError:
        with pytest.raises(ValueError, match="of a callback"):
            model.fit(images)
        assert "failed: ValueError: of a callback" in (tmp_path / "train.log").read_text()
    else:
        with pytest.raises(KeyboardInterrupt):  # behind the checkpoint
            model.fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 3


def test_a_callback_that_hangs_at_the_end_can_be_ended(images, tmp_path):
    class Hangs(carl.Callback):
        def on_step(self, model, metrics):
            if metrics.step == 3:
                raise carl.StopTraining

        def on_end(self, model):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            pytest.fail("it went on")

    with pytest.raises(carl.Terminated):
        small_model(run_dir=tmp_path, callbacks=[Hangs()]).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 3


def test_a_signal_that_comes_twice_behind_a_pair_that_was_lost(images, tmp_path, monkeypatch):
    monkeypatch.setattr(_signals, "_TWICE", 0.05)
    write, sent = runs.RunFolder.save, []

    def lose(model, metrics):
        sent.append(metrics.step)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        except KeyboardInterrupt:
            if len(sent) > 1:
                monkeypatch.setattr(runs.RunFolder, "save", save)
                raise
            time.sleep(0.1)

    def save(run, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        return write(run, *arguments)

    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=lose).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 2


def test_a_signal_whose_exception_is_lost_does_not_hold_the_next_ones_off(images, monkeypatch):
    """As one that comes within a `__del__`, or a callback's own `except`."""
    monkeypatch.setattr(_signals, "_TWICE", 0.0)
    sent = []

    def lose(model, metrics):
        sent.append(metrics.step)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        except carl.Terminated:
            if len(sent) > 1:
                raise

    with pytest.raises(carl.Terminated):
        small_model(callbacks=lose).fit(images)
    assert len(sent) == 2


def test_a_terminal_that_hangs_up(images, tmp_path):
    """Its writes fail, and the status is that of the signal."""
    import pty

    np.save(tmp_path / "x.npy", images)
    child, master = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "carl", "train", str(tmp_path / "x.npy"), *SMALL, "epochs=100000"]
        os.execv(sys.executable, [*command, "--out", str(tmp_path / "run")])
    metrics = tmp_path / "run" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size > 2000):
        assert time.monotonic() < until
        os.read(master, 65536)
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert "terminated by SIGHUP" in (tmp_path / "run" / "train.log").read_text()
    assert carl.load(tmp_path / "run").trainer_.step_count > 0


def test_a_third_ctrl_c_gives_the_checkpoint_up(images, tmp_path, monkeypatch, capfd):
    def save(run, *arguments):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        pytest.fail("it was written")

    monkeypatch.setattr(runs.RunFolder, "save", save)
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=kill(signal.SIGINT)).fit(images)
    assert "the last checkpoint was given up" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGINT, "carl: stopping; a checkpoint"), (signal.SIGTERM, "carl: SIGTERM: stopping; a")],
)
def test_a_run_that_shows_progress_says_that_it_stops(images, tmp_path, number, words):
    process = start(tmp_path, images, quiet=False)
    errors = stop(process, tmp_path, number)
    assert process.returncode == 128 + number and words in errors, errors


def test_an_ignored_signal_stays_ignored(images, tmp_path):
    process = start(tmp_path, images, "epochs=40", ignore=signal.SIGTERM)
    errors = stop(process, tmp_path, signal.SIGTERM)
    assert process.returncode == 0, errors


def test_the_report_says_so(images, tmp_path):
    from carl.report import _subtitle

    with pytest.raises(SystemExit):
        small_model(run_dir=tmp_path, callbacks=kill(signal.SIGTERM)).fit(images)
    assert "terminated by SIGTERM at step 3" in _subtitle(tmp_path, {})


# ---- fit


def test_fit_raises_and_leaves_a_usable_model(images, tmp_path):
    model = small_model(run_dir=tmp_path, callbacks=kill(signal.SIGTERM))
    with pytest.raises(carl.Terminated) as caught:
        model.fit(images)
    assert caught.value.code == 143 and model.trainer_.step_count == 3
    assert carl.load(tmp_path).trainer_.step_count == 3 and model.transform(images).shape[0] == 40
    assert (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    model.callbacks = None
    model.fit(images, resume=True)
    assert same_state(model.trainer_, small_model().fit(images).trainer_)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_inside_a_step_it_is_said_before_the_step_ends(images, monkeypatch, number, measured):
    """The step is as long as it takes until the line is there; measured: one of those timed for the opening line."""
    said, real = threading.Event(), carl.trainer.LIB.carl_trainer_step
    monkeypatch.setattr(carl._fit if measured else carl._training, "say_on_stderr", lambda text: said.set())
    if not measured:
        monkeypatch.setattr(carl._fit, "measure", lambda source, config: None)

    def long_step(*arguments):
        os.kill(os.getpid(), number)
        assert said.wait(60), "nothing was said"
        return real(*arguments)

    monkeypatch.setattr(carl.trainer.LIB, "carl_trainer_step", long_step)
    with pytest.raises((KeyboardInterrupt, carl.Terminated)):
        small_model(progress=True).fit(images)


@pytest.mark.parametrize("ending", ["normal", "error", "terminated", "interrupted", "callback"])
def test_handlers_are_there_again(images, ending):
    def fail(model, metrics):
        raise {"error": ZeroDivisionError, "callback": carl.StopTraining}[ending]

    seen = []
    callbacks = [lambda model, metrics: seen.append(signal.getsignal(signal.SIGTERM))]
    callbacks += {"terminated": [kill(signal.SIGTERM)], "interrupted": [kill(signal.SIGINT)], "normal": []}.get(
        ending, [fail]
    )
    try:
        small_model(callbacks=callbacks).fit(images)
    except (ZeroDivisionError, KeyboardInterrupt, SystemExit):
        pass
    assert callable(seen[0])
    assert (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def test_a_handler_of_the_program_stays_and_decides(images):
    handled = []
    own = lambda number, frame: handled.append(number)  # noqa: E731
    signal.signal(signal.SIGTERM, own)
    signal.signal(signal.SIGINT, own)
    seen = []

    def note(model, metrics):
        seen.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))

    model = small_model(callbacks=[note, kill(signal.SIGTERM, 3), kill(signal.SIGINT, 4)]).fit(images)
    assert model.trainer_.step_count == 10 and handled == [signal.SIGTERM, signal.SIGINT] and set(seen) == {(own, own)}
    assert signal.getsignal(signal.SIGTERM) is own


def test_other_threads_leave_signals_alone(images):
    seen, errors = [], []

    def fit():
        try:
            small_model(callbacks=lambda model, metrics: seen.append(signal.getsignal(signal.SIGTERM))).fit(images)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert not errors and set(seen) == {signal.SIG_DFL}


def test_a_fit_inside_a_fit(images):
    def inner(model, metrics):
        if metrics.step == 2:
            small_model(epochs=1).fit(images)

    with pytest.raises(carl.Terminated):
        small_model(callbacks=[inner, kill(signal.SIGTERM)]).fit(images)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_sigterm_does_not_disturb_the_checkpoint(images, tmp_path, monkeypatch):
    real = carl.Trainer.save

    def save(trainer, path, notes=None):
        os.kill(os.getpid(), signal.SIGTERM)
        real(trainer, path, notes)

    monkeypatch.setattr(carl.Trainer, "save", save)
    with pytest.raises(carl.Terminated):
        small_model(run_dir=tmp_path, callbacks=kill(signal.SIGTERM)).fit(images)
    assert carl.load(tmp_path).trainer_.step_count == 3


def test_a_forked_child_has_the_handlers_of_before():
    with _signals.Stopping(lambda cause: None):
        assert callable(signal.getsignal(signal.SIGTERM))
        child = os.fork()
        if child == 0:
            restored = (
                signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                and signal.getsignal(signal.SIGINT) is signal.default_int_handler
            )
            os._exit(0 if restored else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert callable(signal.getsignal(signal.SIGTERM))


def test_a_program_ends_with_status_143(images, tmp_path):
    np.save(tmp_path / "x.npy", images)
    code = (
        "import os, signal, sys, carl\n"
        f"def send(model, metrics): os.kill(os.getpid(), signal.SIGTERM)\n"
        "carl.CARL(width=0.125, projector=[16, 8], prototypes=6, batch_size=8, progress=False, "
        f"callbacks=send).fit({str(tmp_path / 'x.npy')!r})\n"
        "print('not reached')\n"
    )
    from conftest import run_python

    done = run_python(code)
    assert done.returncode == 143 and done.stdout == "" and done.stderr == ""
