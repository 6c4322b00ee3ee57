"""Reading in threads: errors come through, a forked child can read, Ctrl-C ends what would never end, batches come ahead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import carl
from carl.sources import as_source
from carl.sources.loader import BatchReader, read_parts
from carl.sources.threads import Workers
from conftest import run_python, small_model

pytest.importorskip("PIL")


def test_workers_give_results_in_order_and_the_first_error():
    workers = Workers(3, "test")
    assert workers.map(lambda number: (time.sleep(0.002 * (5 - number)), number)[1], range(5)) == list(range(5))
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda number: 1 // (number - 2), range(5))
    assert workers.map(str, range(3)) == ["0", "1", "2"]  # an error ends no thread
    workers.close(wait=True)
    assert workers.map(str, [7]) == ["7"]  # and they begin again when they are needed
    workers.close()
    workers.close()


def test_closing_cancels_what_has_not_begun():
    workers, begun = Workers(1, "test"), threading.Event()
    gate = threading.Event()
    first = workers.submit(lambda: (begun.set(), gate.wait(5)))
    rest = [workers.submit(int) for _ in range(4)]
    begun.wait(5)
    workers.close()
    assert all(future.cancelled() for future in rest)
    gate.set()
    first.result(5)


def test_a_forked_child_reads(tmp_path):
    code = """
import os, sys, numpy as np, carl
from PIL import Image
from carl.sources import as_source
for n in range(8):
    Image.fromarray(np.full((12, 12, 3), n, np.uint8)).save(os.path.join(sys.argv[1] if len(sys.argv) > 1 else FOLDER, f"{n}.png"))
source = as_source(FOLDER)
model = carl.CARL(width=0.125, projector=[16, 8], prototypes=6, epochs=1, batch_size=4, progress=False)
model.fit(source)                       # the threads of this process are running
child = os.fork()
if child == 0:
    images = source.read(np.arange(8))  # would wait for ever for its parent's threads
    ok = [int(image[0, 0, 0]) for image in images] == list(range(8)) and model.transform(source).shape == (8, 64)
    model.fit(source)
    os._exit(0 if ok else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), source.read(np.arange(2))[1][0, 0, 0])
"""
    done = run_python(f"FOLDER = {str(tmp_path)!r}\n" + code, timeout=60)
    assert done.stdout.split() == ["0", "1"], done.stderr


def test_ctrl_c_ends_a_read_that_never_ends():
    code = """
import numpy as np, time, carl

class Hangs(carl.sources.ImageSource):
    def __len__(self): return 100
    def describe(self): return "hangs"
    def read(self, indices):
        if len(indices) == 4 and 50 in indices:
            print("hanging", flush=True)
            time.sleep(1000)
        return np.zeros((len(indices), 12, 12, 3), np.uint8)

carl.CARL(width=0.125, projector=[16, 8], prototypes=6, epochs=1, batch_size=4, progress=False).fit(Hangs())
"""
    root = os.path.dirname(os.path.dirname(carl.__file__))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}
    process = subprocess.Popen(
        [sys.executable, "-c", "import carl.sources\n" + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout.readline() == "hanging\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)  # the interpreter itself must end too
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err


def test_the_first_batch_of_an_epoch_is_read_in_the_one_before(images):
    read = []

    class Noted(type(as_source(images))):
        def read(self, indices):
            read.append(tuple(indices))
            return super().read(indices)

    with BatchReader(Noted(images), 16, seed=1, epoch=2, skip=1, epochs=4) as reader:
        first = list(reader.epoch())
        deadline = time.monotonic() + 5
        while len(read) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(first) == 1 and len(read) == 3  # one of this epoch, two of the next one
        second = list(reader.epoch())
    assert [tuple(batch.indices) for batch in first + second] == read == [
        tuple(carl.sources.epoch_order(40, 1, epoch)[start : start + 16]) for epoch, start in ((2, 16), (3, 0), (3, 16))
    ]


def test_parts_come_in_order(images):
    parts = list(read_parts(as_source(images), 16))
    assert [len(part) for part in parts] == [16, 16, 8] and np.array_equal(np.concatenate(parts), images)
    assert [len(part) for part in read_parts(as_source(images), 16, start=30)] == [10]
    assert list(read_parts(as_source(images), 16, start=40)) == []


def test_training_ends_its_threads(images, tmp_path):
    from PIL import Image

    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    before = threading.active_count()
    small_model().fit(tmp_path)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
