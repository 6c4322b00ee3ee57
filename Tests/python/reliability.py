"""Whether training survives what a machine does to it: `python Tests/python/reliability.py`, about a quarter of an
hour.

    200 times kill -9 at random moments, with exact resume and nothing left behind
    a disk that becomes full in training (a tmpfs of its own, which needs root)
    10,000 steps and 1,000 models made and freed, in memory that does not grow

It prints what it found and ends with 1 if something was wrong. test_reliability_*.py do the same a few times. Needs
what the tests need: the package, and CARL_LIBRARY or an installed library. `--seed N` chooses other moments, `--only
kill`, `disk` or `memory` a part.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import carl
from carl import runs

#: Steps of milliseconds, and a checkpoint every third one, so that many kills come while one is written.
SETTINGS: dict[str, Any] = {
    "encoder": "resnet18",
    "stem": "small",
    "width": 0.125,
    "projector": [16, 8],
    "prototypes": 6,
    "learning_rate": 0.01,
    "seed": 3,
    "batch_size": 8,
    "epochs": 40,
    "checkpoint_every": 3,
    "progress": False,
    "threads": 1,
}
_PROGRAM = """
import json, sys
import numpy as np
import carl
class Ready(carl.Callback):
    def on_start(self, model):
        print("ready", flush=True)
carl.CARL(**json.loads(sys.argv[1]), run_dir=sys.argv[2], callbacks=Ready()).fit(np.load(sys.argv[3]), resume=True)
"""


def environment() -> dict[str, str]:
    """For a process that finds the same package."""
    root = str(Path(carl.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}


def some_images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)


def temporaries(folder: Path) -> list[str]:
    """Files that somebody began to write."""
    return [
        str(file)
        for file in folder.rglob("*")
        if re.search(r"\.(tmp|partial)$", file.name) or file.name == ".carl.lock"
    ]


# ---- kill -9


def start(folder: Path, images: Path) -> subprocess.Popen[str]:
    """A process that trains into `folder`, or goes on there, and says when its first step is near."""
    import json

    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(SETTINGS), str(folder), str(images)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def kill_often(place: Path, kills: int, seed: int) -> dict[str, int]:
    """Kills training `kills` times, each time goes on, and compares with a run that nobody disturbed: bitwise the same
    parameters, the same figures of each step, no file of a killed writer. AssertionError says what is not so."""
    moments = random.Random(seed)
    np.save(place / "images.npy", some_images())
    whole = carl.CARL(**SETTINGS).fit(some_images())
    wanted = whole.trainer_.state_dict()
    found = {"kills": 0, "runs": 0, "left by kills": 0, "kills before a checkpoint": 0}
    while found["kills"] < kills:
        folder = place / f"run{found['runs']}"
        finished = False
        while not finished:
            process = start(folder, place / "images.npy")
            with process:
                process.stdout.readline()
                if found["kills"] < kills:
                    time.sleep(moments.uniform(0, 0.25))
                    process.send_signal(signal.SIGKILL)
                process.wait(timeout=300)
            finished = process.returncode == 0
            assert finished or process.returncode == -signal.SIGKILL, f"training ended with {process.returncode}"
            if not finished:
                found["kills"] += 1
                found["left by kills"] += len([name for name in temporaries(folder) if name.endswith(".tmp")])
                _check_killed(folder, found)
        _check_finished(folder, whole, wanted)
        found["runs"] += 1
        shutil.rmtree(folder)
    return found


def _check_killed(folder: Path, found: dict[str, int]) -> None:
    """What readers see of a run that was killed is whole."""
    rows = runs.read_metrics(folder)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)), "metrics.jsonl has not each step once"
    assert runs.read_config(folder)["prototypes"] == SETTINGS["prototypes"]
    if not (folder / "checkpoints" / "last.carl").exists():
        found["kills before a checkpoint"] += 1
        return
    with carl.Trainer.resume(runs.checkpoint_path(folder), threads=1) as trainer:
        assert trainer.step_count <= len(rows), "the checkpoint has steps that metrics.jsonl lacks"


def _check_finished(folder: Path, whole: carl.CARL, wanted: dict[str, np.ndarray]) -> None:
    assert not temporaries(folder), f"left behind: {temporaries(folder)}"
    with carl.Trainer.resume(runs.checkpoint_path(folder), threads=1) as trainer:
        state = trainer.state_dict()
        assert trainer.step_count == whole.trainer_.step_count
    assert all(state[name].tobytes() == value.tobytes() for name, value in wanted.items()), (
        "not bitwise the run without kills"
    )
    rows = runs.read_metrics(folder)
    assert [(row["step"], row["loss"]) for row in rows] == [(row.step, row.loss) for row in whole.history_], (
        "other figures"
    )


# ---- A full disk


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path | None]:
    """A file system of its own in memory; None where this process may not mount one."""
    folder = place / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(disk: Path) -> None:
    """Trains on a disk that another program fills meanwhile: a FileError that names the path, a model that works, the
    checkpoint of before, whole lines; and with room again the run goes on to what it would have been. Once the
    checkpoint finds no room, once the figures."""
    for count, every, full_at, kept in ((40, 3, 7, 6), (160, None, 22, 20)):
        settings = {**SETTINGS, "epochs": 3, "checkpoint_every": every}
        images, folder = some_images(count), disk / f"run{count}"
        whole = carl.CARL(**settings).fit(images)

        def fill(model: carl.CARL, metrics: carl.Metrics) -> None:
            if metrics.step == full_at:
                _fill(disk / "other")

        model = carl.CARL(**settings, run_dir=folder, callbacks=fill)
        try:
            model.fit(images)
        except carl.FileError as error:
            assert str(folder) in str(error) and "space" in str(error), error
        else:
            raise AssertionError("a full disk went unnoticed")
        assert model.transform(images).shape[0] == len(images) and np.isfinite(model.trainer_.step(images[:8]).loss)
        with carl.Trainer.resume(runs.checkpoint_path(folder)) as trainer:
            assert trainer.step_count == kept
        text = (folder / "metrics.jsonl").read_text()
        assert text.endswith("\n") and len(text.splitlines()) >= full_at
        assert not temporaries(disk), temporaries(disk)
        (disk / "other").unlink()
        resumed = carl.CARL(**settings, run_dir=folder).fit(images, resume=True)
        first, second = whole.trainer_.state_dict(), resumed.trainer_.state_dict()
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)
        assert [row["step"] for row in runs.read_metrics(folder)] == [row.step for row in whole.history_]
        shutil.rmtree(folder)


def _fill(path: Path) -> None:
    """Writes to the last byte of room."""
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


# ---- Memory

_MEMORY = """
import gc, re, sys
import numpy as np
import carl
from carl.history import History
steps, cycles = int(sys.argv[1]), int(sys.argv[2])
settings = dict(width=0.125, projector=[16, 8], prototypes=6, view_size=12, threads=2)
images = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)

def kilobytes():
    gc.collect()
    text = open("/proc/self/status").read()
    return [int(re.search(name + r":\\s+(\\d+) kB", text)[1]) for name in ("VmRSS", "VmData")]

def take(count):
    for _ in range(count):
        trainer.step(images)
        history.append(trainer.last_metrics)
        trainer.embed_images(images)

def cycle(count):
    for _ in range(count):
        with carl.Trainer(settings) as made:
            made.step(images)
            with carl.Encoder.from_trainer(made) as encoder:
                encoder.embed_images(images)
            with carl.Classifier(made, 3) as classifier:
                classifier.step(images, np.arange(16) % 3)

history = History()
trainer = carl.Trainer(settings)
for part, warm, count in ((take, steps // 5, steps), (cycle, cycles // 5, cycles)):
    part(warm)
    before = kilobytes()
    part(count)
    after = kilobytes()
    print(part.__name__, *(b - a for a, b in zip(before, after)))
assert carl.live_objects() == 1
"""


def grown(steps: int, cycles: int, timeout: float = 3600) -> dict[str, tuple[int, int]]:
    """Kilobytes by which resident memory and data of a process grew in `steps` steps ("take") and `cycles` models
    ("cycle"), behind a fifth of as many to warm up."""
    process = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(steps), str(cycles)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=timeout,
    )
    assert process.returncode == 0, process.stderr
    return {
        name: (int(resident), int(data))
        for name, resident, data in (line.split() for line in process.stdout.splitlines())
    }


def _memory() -> str:
    found = grown(10_000, 1_000)
    # 190 bytes a step are the history of 10,000 steps: 1.9 MB.
    assert all(kilobytes < 8192 for pair in found.values() for kilobytes in pair), f"memory grew: {found} kB"
    return f"{found} kB (resident, data)"


def _disk() -> str:
    with tempfile.TemporaryDirectory() as place, small_disk(Path(place), 4) as disk:
        if disk is None:
            return "left out: this process may not mount a tmpfs"
        fill_disk(disk)
        return "a FileError, nothing lost"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", choices=["kill", "disk", "memory"])
    arguments = parser.parse_args()

    def kill() -> str:
        with tempfile.TemporaryDirectory() as place:
            return str(kill_often(Path(place), arguments.kills, arguments.seed))

    failed = False
    for name, check in (("kill", kill), ("disk", _disk), ("memory", _memory)):
        if arguments.only not in (None, name):
            continue
        begun = time.monotonic()
        try:
            print(f"{name}: {check()}", end="")
        except AssertionError as error:
            failed = True
            print(f"{name}: FAILED: {error}", end="")
        print(f" ({time.monotonic() - begun:.0f} s)", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
