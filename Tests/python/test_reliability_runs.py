"""Run folders: one run at a time, none overwritten, and what becomes of a fit whose folder fails."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

import carl
import reliability
from carl import runs
from carl.cli import main
from carl.history import History
from conftest import same_state, small_model

# ---- Two at once


def test_two_processes_cannot_train_into_one_folder(images, tmp_path, capsys):
    np.save(tmp_path / "images.npy", images)
    first = reliability.start(tmp_path / "run", tmp_path / "images.npy")
    with first:
        try:
            assert first.stdout.readline() == "ready\n"
            os.kill(first.pid, 19)  # SIGSTOP: it holds the folder for as long as this takes
            for resume in (False, True):
                with pytest.raises(carl.BusyError, match=f"process {first.pid} on .*choose another folder"):
                    small_model(run_dir=tmp_path / "run").fit(images, resume=resume)
            shown = main(["train", str(tmp_path / "images.npy"), "--out", str(tmp_path / "run"), "--resume"])
            assert shown == 1 and f"in use by process {first.pid}" in capsys.readouterr().err
            with pytest.raises(carl.BusyError):
                small_model(run_dir=tmp_path / "run").partial_fit(images)
        finally:
            first.kill()
    model = carl.CARL(**reliability.SETTINGS, run_dir=tmp_path / "run").fit(images, resume=True)
    assert same_state(model.trainer_, carl.CARL(**reliability.SETTINGS).fit(images).trainer_)


def test_two_models_of_a_process_cannot_train_into_one_folder(images, tmp_path):
    seen = []

    def second(model, metrics):
        with pytest.raises(carl.BusyError, match="another model of this process"):
            small_model(run_dir=tmp_path).fit(images, resume=True)
        seen.append(metrics.step)

    small_model(run_dir=tmp_path, callbacks=second).fit(images)
    assert len(seen) == 10 and [row["step"] for row in runs.read_metrics(tmp_path)] == list(range(1, 11))
    assert reliability.temporaries(tmp_path) == []


def test_a_forked_child_of_a_run_writes_nothing_into_it(images, tmp_path):
    def fork(model, metrics):
        if metrics.step == 2:
            run = next(each for each in gc.get_objects() if isinstance(each, runs.RunFolder) and each.path == tmp_path)
            child = os.fork()
            if child == 0:
                try:  # the child goes on as a second run would
                    with pytest.raises(carl.BusyError, match="copy of"):
                        run.write_metrics(metrics, 0)
                    with pytest.raises(carl.BusyError, match="copy of"):
                        run.save(model.trainer_, {})
                    os._exit(0)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0

    small_model(run_dir=tmp_path, callbacks=fork).fit(images)
    assert [row["step"] for row in runs.read_metrics(tmp_path)] == list(range(1, 11))


# ---- None is overwritten


def _content(folder):
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_finished_run_is_refused(images, tmp_path, capsys):
    small_model(run_dir=tmp_path / "run").fit(images)
    (tmp_path / "run" / "report.html").write_text("report")
    before = _content(tmp_path / "run")
    for again in (lambda model: model.fit(images), lambda model: model.partial_fit(images)):
        with pytest.raises(carl.InvalidArgumentError, match="holds a run already.*resume=True.*another folder"):
            again(small_model(run_dir=tmp_path / "run", epochs=1))
    # The same object a second time would overwrite too, and so would another run's checkpoint.
    small_model().fit(images).save(tmp_path / "other.carl")
    with pytest.raises(carl.InvalidArgumentError, match="holds a run already"):
        small_model(run_dir=tmp_path / "run").fit(images, resume=tmp_path / "other.carl")
    np.save(tmp_path / "images.npy", images)
    assert main(["train", str(tmp_path / "images.npy"), "--out", str(tmp_path / "run")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert _content(tmp_path / "run") == before
    assert small_model(run_dir=tmp_path / "run", epochs=3).fit(images, resume=True).trainer_.step_count == 15
    # Named by its path it is the same run.
    assert (
        small_model(run_dir=tmp_path / "run", epochs=4).fit(images, resume=tmp_path / "run").trainer_.step_count == 20
    )


def test_load_does_not_carry_the_folder_along(images, tmp_path):
    small_model(run_dir=tmp_path / "run").fit(images)
    before = _content(tmp_path / "run")
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.carl"):
        model = carl.load(path)
        assert model.run_dir is None and model.get_params()["run_dir"] is None
        model.set_params(epochs=1, progress=False).fit(images)
        assert _content(tmp_path / "run") == before
    model.set_params(run_dir=tmp_path / "run", epochs=3).fit(images, resume=True)
    assert len(runs.read_metrics(tmp_path / "run")) == 15


def test_files_of_earlier_versions_do_not_carry_it_either(images, tmp_path):
    model = small_model().fit(images)
    notes = model._notes()
    notes["carl"]["params"]["run_dir"] = str(tmp_path / "run")
    model.trainer_.save(tmp_path / "old.carl", notes)
    assert carl.load(tmp_path / "old.carl").run_dir is None


def test_partial_fit_goes_on_in_its_own_folder_alone(images, tmp_path):
    model = small_model(run_dir=tmp_path).partial_fit(images).partial_fit(images)
    assert len(runs.read_metrics(tmp_path)) == 10 and runs.checkpoint_path(tmp_path)
    for stranger in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        with pytest.raises(carl.InvalidArgumentError, match="holds a run already"):
            stranger.partial_fit(images)
    model.partial_fit(images)
    small_model(run_dir=tmp_path, epochs=4).fit(images, resume=True)
    with pytest.raises(carl.InvalidArgumentError, match="holds a run already"):
        model.partial_fit(images)  # another has gone on with it
    assert len(runs.read_metrics(tmp_path)) == 20


def test_a_search_gets_a_folder_a_fit(images, tmp_path):
    search = pytest.importorskip("sklearn.model_selection")
    base = pytest.importorskip("sklearn.base")
    model = small_model(run_dir=tmp_path / "search", epochs=1)
    grid = search.GridSearchCV(
        model, {"seed": [1, 2]}, cv=2, scoring=lambda model, x, y=None: -model.history_[-1].loss, error_score="raise"
    )
    grid.fit(images)
    folders = sorted(folder.name for folder in tmp_path.iterdir())
    assert folders == ["search-2", "search-3", "search-4", "search-5", "search-6"]
    for folder in folders:
        assert [row["step"] for row in runs.read_metrics(tmp_path / folder)] == list(
            range(1, 3 if folder != "search-6" else 6)
        )
    model.fit(images)  # whose folder is still its own
    assert model.run_dir_ == tmp_path / "search"
    assert (
        grid.best_estimator_.run_dir_ == tmp_path / "search-6" and grid.best_estimator_.run_dir == tmp_path / "search"
    )
    assert base.clone(model).get_params() == model.get_params()


def test_clones_go_on_with_folders_of_their_own(images, tmp_path):
    base = pytest.importorskip("sklearn.base")

    def stop(model, metrics):
        if metrics.step == 4:
            raise KeyboardInterrupt

    model = small_model(run_dir=tmp_path / "run", epochs=1).fit(images)
    first, second = base.clone(model), base.clone(model)
    for clone in (first, second):
        clone.set_params(callbacks=stop)
        with pytest.raises(KeyboardInterrupt):
            clone.fit(images)
    second.set_params(callbacks=None).fit(images, resume=True)
    assert second.run_dir_ == tmp_path / "run-3" and [row.step for row in second.history_] == [1, 2, 3, 4, 5]
    assert len(runs.read_metrics(tmp_path / "run-2")) == 4 and len(runs.read_metrics(tmp_path / "run")) == 5
    with pytest.raises(carl.FileError):
        first.set_params(callbacks=None).fit(images, resume=tmp_path / "no file")
    first = pickle.loads(pickle.dumps(first)).fit(images, resume=True)
    assert first.run_dir_ == tmp_path / "run-2" and len(first.history_) == 5
    third = base.clone(model).fit(images, resume=True)  # which has nothing to go on with
    assert third.run_dir_ == tmp_path / "run-4"
    other = base.clone(model).set_params(run_dir=tmp_path / "other").fit(images)
    assert other.run_dir_ == tmp_path / "other"
    again = pickle.loads(pickle.dumps(second))
    assert again._shares_run_dir() and not pickle.loads(pickle.dumps(other))._shares_run_dir()


def test_a_clone_stays_in_its_folder_too(images, tmp_path, monkeypatch):
    base = pytest.importorskip("sklearn.base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    clone = base.clone(small_model(run_dir="run")).partial_fit(images)
    monkeypatch.chdir(tmp_path / "elsewhere")
    clone.partial_fit(images)
    assert clone.run_dir_ == tmp_path / "run-2" and list((tmp_path / "elsewhere").iterdir()) == []


def test_a_callback_that_fails_before_the_first_step_leaves_the_folder_free(images, tmp_path):
    class Fails(carl.Callback):
        def on_start(self, model):
            raise OSError("no server")

    small_model(run_dir=tmp_path / "a", epochs=1).fit(images)
    model = small_model(run_dir=tmp_path / "b", callbacks=[Fails()])
    with pytest.raises(OSError, match="no server"):
        model.fit(images, resume=tmp_path / "a")
    assert model.set_params(callbacks=None).fit(images, resume=tmp_path / "a").trainer_.step_count == 10


def test_nothing_is_left_of_a_fit_that_did_not_begin(images, tmp_path):
    with pytest.raises(carl.CARLError):
        small_model(run_dir=tmp_path / "run").fit(tmp_path / "no images")
    with pytest.raises(carl.ConfigurationError):
        small_model(run_dir=tmp_path / "run", projector=[-1]).fit(images)
    assert not (tmp_path / "run").exists()


# ---- Folders that fail


def _raised(model, images, match, **arguments):
    with pytest.raises(carl.FileError, match=match) as caught:
        model.fit(images, **arguments)
    assert model.transform(images).shape == (len(images), model.n_features_out_)
    assert np.isfinite(model.trainer_.step(images[:8]).loss)
    return str(caught.value)


def test_a_limit_on_file_sizes_keeps_the_last_checkpoint(images, tmp_path):
    """As a full disk does: the figures find no room, or the checkpoint does not."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(room):
        def callback(model, metrics):
            if metrics.step == 7:
                size = (model.run_dir_ / "metrics.jsonl").stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))

        return callback

    for name, room, steps in (("metrics", 300, 7), ("checkpoint", 8000, 10)):
        folder = tmp_path / name
        try:
            shown = _raised(small_model(run_dir=folder, epochs=3, callbacks=limit(room)), images, "too large")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(folder) in shown
        assert carl.load(folder).trainer_.step_count == 5
        rows = (folder / "metrics.jsonl").read_text()
        assert rows.endswith("\n") and [json.loads(row)["step"] for row in rows.splitlines()] == list(
            range(1, steps + 1)
        )
        assert reliability.temporaries(folder) == []
        resumed = small_model(run_dir=folder, epochs=3).fit(images, resume=True)
        assert same_state(resumed.trainer_, small_model(epochs=3).fit(images).trainer_)


@pytest.mark.parametrize("what", ["run", "checkpoints", "metrics.jsonl"])
def test_a_folder_that_vanishes(images, tmp_path, what):
    def remove(model, metrics):
        if metrics.step == 3:
            place = tmp_path / "run" if what == "run" else tmp_path / "run" / what
            shutil.rmtree(place) if place.is_dir() else place.unlink()

    model = small_model(run_dir=tmp_path / "run", callbacks=remove)
    shown = _raised(model, images, "removed|No such file")
    assert str(tmp_path / "run") in shown
    assert model.trainer_.step_count >= 3


def test_a_folder_that_becomes_a_file_or_was_one(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(carl.FileError, match="run_dir: .* is a file, want a folder"):
        small_model(run_dir=tmp_path / "file").fit(images)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").mkdir()
    with pytest.raises(carl.FileError, match="metrics.jsonl"):
        small_model(run_dir=tmp_path / "run").fit(images)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").mkdir()
    with pytest.raises(carl.FileError, match="config.json: it is a folder"):
        small_model(run_dir=tmp_path / "config").fit(images)


def test_a_run_folder_where_a_file_is_wanted_names_its_file(tmp_path, images):
    run = tmp_path / "run"
    small_model(epochs=1, run_dir=run).fit(images)
    for load in (carl.Encoder, carl.Trainer.resume, lambda path: carl.CARL(weights=path).fit(images)):
        with pytest.raises(carl.FileError) as caught:
            load(run)
        for part in ("it is a folder, want a file", "checkpoints/last.carl", "exported/encoder.safetensors"):
            assert part in str(caught.value)
        with pytest.raises(carl.FileError, match="it is a folder, want a file$"):
            load(tmp_path)


_READ_ONLY = """
import ctypes, os, sys, tempfile
if os.getuid() == 0:  # root may write everywhere: by capabilities, which are given away here
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0
import numpy as np
import carl
images = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
settings = dict(width=0.125, projector=[16, 8], prototypes=6, batch_size=8, epochs=2, progress=False)
for folder in sys.argv[1:]:
    try:
        carl.CARL(**settings, run_dir=folder).fit(images)
    except carl.FileError as error:
        assert folder in str(error) and "ermission" in str(error), error
    else:
        raise SystemExit(f"{folder} was written")
def close(model, metrics):
    if metrics.step == 3:
        os.chmod(model.run_dir_ / "checkpoints", 0o500)
place = tempfile.mkdtemp()
model = carl.CARL(**settings, run_dir=os.path.join(place, "run"), callbacks=close)
try:
    model.fit(images)
except carl.FileError as error:
    assert place in str(error), error
    assert model.transform(images).shape[0] == 16
    assert carl.load(os.path.join(place, "run")).trainer_.step_count == 2
    print("fine")
os.chmod(os.path.join(place, "run", "checkpoints"), 0o700)
"""


@pytest.mark.skipif(os.getuid() == 0 and not sys.platform.startswith("linux"), reason="root may write everywhere")
def test_read_only_folders(tmp_path):
    (tmp_path / "run").mkdir(mode=0o555)
    command = [sys.executable, "-c", _READ_ONLY, str(tmp_path / "run"), str(tmp_path / "run" / "in")]
    result = subprocess.run(command, capture_output=True, text=True, env=reliability.environment())
    assert result.stdout == "fine\n", result.stderr


def test_readers_skip_a_line_that_was_cut_off(images, tmp_path):
    small_model(run_dir=tmp_path).fit(images, eval_set=(images, [0, 1] * 20))
    for name, read in (
        ("metrics.jsonl", runs.read_metrics),
        ("usage.jsonl", runs.read_usage),
        ("eval.jsonl", runs.read_evaluations),
    ):
        whole = read(tmp_path)
        text = (tmp_path / name).read_text()
        for end in (text[:-1], text + text.splitlines()[-1][:-1], text + "{"):
            (tmp_path / name).write_text(end)
            assert read(tmp_path) == whole, (name, end[-30:])


def test_every_rewritten_file_goes_through_the_helper():
    """No module opens a file to replace it by itself: a full disk or a kill would leave half of it."""
    from pathlib import Path

    package = Path(carl.__file__).parent
    found = []
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package).as_posix()
        if place.startswith("sources/") or place in (
            "_writing.py",
            "_pickles.py",
        ):  # cache files have their own protocol; a folder that is temporary
            continue
        text = file.read_text().replace('open(os.devnull, "w")', "")
        found += [
            f"{place}: {word}"
            for word in ("write_text(", "write_bytes(", '"w"', '"wb"', '"a"', "os.replace(", "save_file(")
            if word in text
        ]
    assert found == []


# ---- History


def test_history_is_a_list_of_metrics_in_little_memory(images):
    import tracemalloc

    model = small_model().fit(images)
    rows = list(model.history_)
    assert isinstance(model.history_, History) and len(rows) == len(model.history_) == 10
    assert all(type(row) is carl.Metrics for row in rows)
    for row in rows:
        assert (
            type(row.step) is int
            and type(row.memory_bytes) is int
            and type(row.collapsed) is int
            and type(row.updated) is bool
        )
    assert rows[-1] == model.trainer_.last_metrics.with_data_wait(rows[-1].data_wait)
    assert model.history_[-1] == rows[9] and model.history_[2:5] == rows[2:5] and model.history_[::-3] == rows[::-3]
    assert model.history_ == rows and model.history_ != rows[:-1] and History() == [] and not History()
    assert pickle.loads(pickle.dumps(model.history_)) == rows
    assert model.history_.column("loss").tolist() == [row.loss for row in rows]
    assert "10 steps" in repr(model.history_)
    for place in (10, -11):
        with pytest.raises(IndexError):
            model.history_[place]
    with pytest.raises(KeyError):
        model.history_.column("los")
    tracemalloc.start()
    try:
        history = History()
        for _ in range(5000):
            history.append(rows[0])
        assert tracemalloc.get_traced_memory()[0] < 5000 * 220
    finally:
        tracemalloc.stop()


def test_histories_of_earlier_pickles_are_read(images):
    model = small_model().fit(images)
    state = model.__getstate__()
    state["history"] = [row.to_dict() for row in model.history_]
    again = carl.CARL.__new__(carl.CARL)
    again.__setstate__(state)
    assert again.history_ == model.history_
