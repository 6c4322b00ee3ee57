"""Reading in threads: errors come through, a forked child can read, Ctrl-C ends what would never end, batches come
ahead."""

from __future__ import annotations

import gc
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
from test_sources_kinds import MapStyle, encoded, write_tar

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
folder = sys.argv[1] if len(sys.argv) > 1 else FOLDER
for n in range(8):
    Image.fromarray(np.full((12, 12, 3), n, np.uint8)).save(os.path.join(folder, f"{n}.png"))
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
        [sys.executable, "-c", "import carl.sources\n" + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
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
    assert (
        [tuple(batch.indices) for batch in first + second]
        == read
        == [
            tuple(carl.sources.epoch_order(40, 1, epoch)[start : start + 16])
            for epoch, start in ((2, 16), (3, 0), (3, 16))
        ]
    )


def test_parts_come_in_order(images):
    parts = list(read_parts(as_source(images), 16))
    assert [len(part) for part in parts] == [16, 16, 8] and np.array_equal(np.concatenate(parts), images)
    assert [len(part) for part in read_parts(as_source(images), 16, start=30)] == [10]
    assert list(read_parts(as_source(images), 16, start=40)) == []


def test_training_ends_its_threads(images, tmp_path):
    from PIL import Image

    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    before, seen = set(threading.enumerate()), set()
    small_model(callbacks=lambda model, metrics: seen.update(own_threads() - before)).fit(tmp_path)
    assert any(thread.name.startswith("carl-read") for thread in seen) and any(
        thread.name.startswith("carl-decode") for thread in seen
    )
    assert_ended(seen)


def own_threads():
    """Those of readers; the one in which the library is called stays for the next call."""
    return {
        thread for thread in threading.enumerate() if thread.name.startswith("carl-") and thread.name != "carl-call"
    }


def assert_ended(threads):
    """They may still be busy with what nobody waits for any more."""
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), thread.name


def open_files(folder):
    """What this process has open below a folder."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the descriptor of the listing itself
            continue
    return [link for link in links if link.startswith(str(folder))]


@pytest.fixture
def sets(images, tmp_path):
    """A way to open each kind of source."""
    from PIL import Image

    from carl.sources.cache import CachedSource

    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02d}.png")
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(40))
    records = np.zeros((40, 3073), np.uint8)
    records.tofile(tmp_path / "x.bin")
    (tmp_path / "x.idx").write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 12, 0, 0, 0, 12]) + images[..., 0].tobytes()
    )
    archive = write_tar(tmp_path / "x.tar", {f"{number}.png": encoded(image) for number, image in enumerate(images)})
    return {
        "folder": lambda: as_source(tmp_path / "photos"),
        "npy": lambda: as_source(tmp_path / "x.npy"),
        "npz": lambda: as_source(tmp_path / "x.npz"),
        "idx": lambda: as_source(tmp_path / "x.idx"),
        "cifar": lambda: as_source(tmp_path / "x.bin"),
        "tar": lambda: as_source(archive),
        "joined": lambda: as_source([tmp_path / "photos", tmp_path / "x.npy"]),
        "cache": lambda: CachedSource(as_source(tmp_path / "photos"), tmp_path / "cache", 12),
        "data set": lambda: as_source(MapStyle(list(images))),
    }


def test_dropped_and_closed_sources_leave_nothing(sets, tmp_path):
    for name, make in sets.items():
        for ending in ("dropped", "closed", "with"):
            before = set(threading.enumerate())
            source = make()
            source.read(np.arange(8))
            seen = own_threads() - before
            # A cache decodes when it is made, which was the first time.
            assert name == "cache" or bool(seen) == (name in ("folder", "tar", "joined", "data set")), name
            assert bool(open_files(tmp_path)) == (name not in ("folder", "data set")), name
            if ending == "closed":
                source.close()
            elif ending == "with":
                with source:
                    pass
            else:
                del source
            assert_ended(seen)
            gc.collect()
            assert open_files(tmp_path) == [], (name, ending)
            source = None


def test_a_source_that_cannot_be_opened_leaves_nothing(images, tmp_path):
    """Half of it was there when the error came."""
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", images[..., :2])
    archive = write_tar(tmp_path / "x.tar", {"a.png": b"no image"})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    (tmp_path / "z.npz").write_bytes(b"PK nothing")
    before = set(threading.enumerate())
    for given in ([tmp_path / "x.npy", tmp_path / "y.npy"], archive, tmp_path / "photos", tmp_path / "z.npz"):
        with pytest.raises(carl.CARLError):
            as_source(given)
    gc.collect()
    assert_ended(own_threads() - before)
    assert open_files(tmp_path) == []


def test_iterations_that_end_early_leave_nothing(sets, images, tmp_path, monkeypatch):
    def parts(source):
        for _ in read_parts(source, 8):
            raise ZeroDivisionError

    def abandoned(source):
        next(read_parts(source, 8))
        raise ZeroDivisionError

    def batches(source):
        for _ in BatchReader(source, 8, 0, epochs=3).epoch():  # without its context
            raise ZeroDivisionError

    def training(source):
        small_model(callbacks=lambda model, metrics: 1 / 0).fit(source)

    def embedding(source):
        model = small_model(epochs=1).fit(images)
        model.trainer_.embed_images = lambda *arguments, **options: 1 / 0
        model.transform(source)

    for name in ("folder", "npy", "tar"):
        for run in (parts, abandoned, batches, training, embedding):
            before, source = set(threading.enumerate()), sets[name]()
            begun = []
            read_each = type(source).read_each

            def noted(*arguments, begun=begun, before=before, read_each=read_each):
                begun.append(own_threads() - before)
                return read_each(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(type(source), "read_each", noted)
                with pytest.raises(ZeroDivisionError):
                    run(source)
            assert begun and begun[-1], (name, run.__name__)
            del source
            gc.collect()
            assert_ended(set.union(*begun))
            assert open_files(tmp_path) == [], (name, run.__name__)


def test_streams_leave_nothing(images):
    before = set(threading.enumerate())
    stream = as_source(iter([{"png": encoded(image)} for image in images]))
    assert len(next(stream.batches_of(8))) == 8
    seen = own_threads() - before
    assert seen
    del stream
    gc.collect()
    assert_ended(seen)
    with as_source([images[:8], images[8:]]) as stream:
        assert len(next(BatchReader(stream, 8, 0).epoch()).images) == 8
    gc.collect()
    assert_ended(own_threads() - before)


def test_no_thread_to_be_had(monkeypatch):
    """Of threads that the system refuses the work is done by those that there are, or by the one that wants it done."""
    start, allowed = threading.Thread.start, [1]

    def refuse(thread):
        if thread.name.startswith("test") and allowed[0] == 0:
            raise RuntimeError("can't start new thread")
        allowed[0] -= thread.name.startswith("test")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in (1, 0):
        allowed[0] = number
        workers = Workers(3, "test")
        assert workers.map(lambda item: item + 1, range(5)) == [1, 2, 3, 4, 5]
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda item: 1 // item, [1, 0])
        workers.close(wait=True)


# ---- Many files

LIMITED = """
import resource, sys
import numpy as np
import carl
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from carl.sources import as_source
kind, folder = sys.argv[1:]
source = as_source(folder + ("/*.tar" if kind == "tar" else "/*.npy"))
for round in range(2):
    images = source.read_each(np.random.default_rng(round).permutation(len(source)))
    assert len(images) == len(source) and not any(isinstance(image, BaseException) for image in images), images
print(len(source))
"""


@pytest.mark.parametrize("kind", ["tar", "npy"])
def test_more_files_than_a_process_may_open(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        if kind == "npy":
            np.save(tmp_path / f"{number}.npy", image[None])
        else:
            write_tar(tmp_path / f"{number}.tar", {"a.png": encoded(image)})
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, kind, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout == "150\n", done.stderr


EXHAUSTED = """
import os, resource, sys
import numpy as np
import carl
from PIL import Image
from carl.sources import BatchStream, MapStyleSource, as_source
Image.init()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
folder = sys.argv[1]
names = sorted(os.path.join(folder, name) for name in os.listdir(folder))

class Opens:  # as a user's set does
    def __len__(self): return len(names)
    def __getitem__(self, place):
        with open(names[place], "rb") as file: return Image.open(file).copy()

sources = [as_source(names, 3), MapStyleSource(Opens(), 3)]
for source in sources: source.read(np.arange(2))
held = []
try:
    while True: held.append(os.open(os.devnull, os.O_RDONLY))
except OSError: pass
for source in sources:
    try: source.read_each(np.arange(3))
    except carl.FileError: raise
    except carl.CARLError as error: assert "Too many open files" in str(error) and "ulimit -n" in str(error), error
    else: raise AssertionError("nothing was raised")
os.close(held.pop())
for source in sources: assert not any(isinstance(image, Exception) for image in source.read_each(np.arange(3)[:1]))
"""


def test_no_descriptor_left_is_no_broken_image(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.full((8, 8, 3), number, np.uint8)))
    done = subprocess.run([sys.executable, "-c", EXHAUSTED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
