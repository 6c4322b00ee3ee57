"""Files that another process changes after they were opened, and what is no file at all."""

from __future__ import annotations

import gzip
import os
import pickle
import socket
import threading

import numpy as np
import pytest

import carl
from carl._checkpoint import read_header
from carl.runs import read_config, read_metrics
from carl.sources import as_source, read_idx
from carl.sources.cache import CachedSource
from carl.sources.labelled import open_labelled
from conftest import run_python, small_model
from test_sources_kinds import encoded, write_tar

Image = pytest.importorskip("PIL.Image")


def write_cifar(path, images):
    records = np.zeros((len(images), 3073), np.uint8)
    records[:, 1:] = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(records.tobytes())


def write_idx(path, images):
    path.write_bytes(bytes([0, 0, 8, images.ndim]) + np.array(images.shape, ">u4").tobytes() + images.tobytes())


@pytest.fixture
def pictures():
    return np.random.default_rng(3).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


KINDS = ["x.npy", "x.npz", "x.bin", "x.idx", "cache", "x.tar"]


def opened(kind, pictures, folder):
    """A source, its images, and the file that it reads them from."""
    path = folder / kind
    if kind == "x.npy":
        np.save(path, pictures)
    elif kind == "x.npz":
        np.savez(path, images=pictures)
    elif kind == "x.bin":
        write_cifar(path, pictures)
    elif kind == "x.idx":
        write_idx(path, pictures[..., 0])
        return as_source(path), pictures[..., :1], path
    else:
        archive = write_tar(
            folder / "x.tar", {f"{number:02d}.png": encoded(image) for number, image in enumerate(pictures)}
        )
        if kind == "x.tar":
            return as_source(archive), pictures, archive
        source = CachedSource(as_source(archive), path, 32)
        return source, pictures, path / "pixels.bin"
    return as_source(path), pictures, path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_becomes_shorter(kind, pictures, tmp_path):
    source, wanted, path = opened(kind, pictures, tmp_path)
    source.read(np.array([0, 39]))
    os.truncate(path, os.path.getsize(path) // 2)
    assert np.array_equal(source.read(np.array([0]))[0], wanted[0])  # what is left can be read
    with pytest.raises(carl.FileError, match=f"{path}.* became shorter"):
        source.read(np.arange(40))
    broken = source.read_each(np.arange(40))
    assert [isinstance(image, carl.FileError) for image in broken] == sorted(
        isinstance(image, carl.FileError) for image in broken
    )
    with pytest.raises(carl.BrokenImagesError, match="became shorter"):
        small_model().fit(source)
    os.truncate(path, 0)
    with pytest.raises(carl.FileError, match="became shorter"):
        source.read(np.array([0]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_grows_is_replaced_or_vanishes(kind, pictures, tmp_path):
    source, wanted, path = opened(kind, pictures, tmp_path)
    source.read(np.array([0]))
    with open(path, "ab") as file:
        file.write(b"x" * 100_000)
    assert np.array_equal(np.stack(source.read(np.arange(40))), wanted)
    (tmp_path / "other").write_bytes(b"y" * 10)
    os.replace(tmp_path / "other", path)
    assert np.array_equal(np.stack(source.read(np.arange(40))), wanted)
    os.remove(path)
    assert np.array_equal(np.stack(source.read(np.arange(40))), wanted)
    source.close()  # what is opened again must be the same
    with pytest.raises(carl.FileError, match=str(path)):
        source.read(np.array([0]))
    path.write_bytes(b"y" * 10)
    with pytest.raises(carl.FileError, match=f"{path} has changed"):
        source.read(np.array([0]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_or_pickled_source_reads_on(kind, pictures, tmp_path):
    source, wanted, _ = opened(kind, pictures, tmp_path)
    with source as same:
        assert same is source
        source.read(np.array([5]))
    assert np.array_equal(source.read(np.array([7]))[0], wanted[7])
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(np.array([9]))[0], wanted[9])


def test_a_mapping_of_the_callers_own_is_looked_at_first(images, tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(images, 20, axis=0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source, model = as_source(mapped), small_model().fit(images)
    assert np.array_equal(source.read(np.array([25]))[0], images[1])
    os.truncate(tmp_path / "x.npy", 5000)
    for read in (
        lambda: source.read(np.array([700])),
        lambda: as_source(mapped),
        lambda: model.transform(mapped),
        lambda: model.fit(mapped),
        lambda: model.trainer_.embed_images(mapped[600:616]),
        lambda: carl.make_views(list(mapped[600:616]), [{"size": 12}]),
    ):
        with pytest.raises(carl.FileError, match="shorter"):
            read()


def test_a_file_cut_short_again_and_again_never_ends_the_process(tmp_path):
    """In a process of its own, which a SIGBUS would end: another thread cuts the file and lets it grow while it is
    read."""
    code = f"""
import os, threading, numpy as np, carl
from carl.sources import as_source
path = {str(tmp_path / "x.npy")!r}
np.save(path, np.zeros((2000, 64, 64, 3), np.uint8))
size, done = os.path.getsize(path), threading.Event()
def cut():
    while not done.is_set():
        os.truncate(path, 4096)
        os.truncate(path, size)
source = as_source(path)
thread = threading.Thread(target=cut)
thread.start()
told = 0
for turn in range(200):
    try:
        source.read(np.arange(turn, 2000, 9))
    except carl.FileError as error:
        told += "became shorter" in str(error)
done.set()
thread.join()
print("told", told > 0)
"""
    result = run_python(code)
    assert result.returncode == 0 and result.stdout == "told True\n", (result.returncode, result.stderr)


@pytest.mark.parametrize("suffix", ["bmp", "pgm", "tif", "png"])
def test_image_files_are_not_mapped_by_their_decoders(suffix, pictures, tmp_path):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(pictures[0, ..., 0]).save(path)
    code = f"""
import mmap, carl
from carl.sources import as_source
def no(*arguments, **options): raise SystemExit("mapped")
mmap.mmap = no
print(as_source([{str(path)!r}]).read([0])[0].sum())
"""
    assert run_python(code).stdout == f"{pictures[0, ..., 0].sum()}\n"


# ---- What is no file


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)  # the path itself may be too long for a socket
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


THINGS = {
    "a named pipe": make_pipe,
    "a socket": make_socket,
    "a folder": os.mkdir,
    "a device": lambda path: os.symlink("/dev/zero", path),
}


def within(seconds, function):
    """Calls a function that may wait for ever; what it raises is raised here."""
    found = []

    def call():
        try:
            found.append((function(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits"
    if found[0][1] is not None:
        raise found[0][1]
    return found[0][0]


@pytest.mark.parametrize("thing", THINGS)
def test_what_is_no_file_is_refused_at_once(thing, images, tmp_path):
    np.save(tmp_path / "good.npy", images)
    good = str(tmp_path / "good.npy")
    np.savez(tmp_path / "labelled.npz", images=images, labels=np.arange(40))
    readers = dict.fromkeys(
        ("x.npy", "x.npz", "x.idx", "x.idx.gz", "train-images-idx3-ubyte", "x.tar", "x.bin", "x.tar.gz"), as_source
    ) | {
        "a.idx": read_idx,
        "labels.npy": lambda path: open_labelled(good, str(path), 3),
        "labels.idx": lambda path: open_labelled(good, str(path), 3),
        "one.png": lambda path: as_source([path]),
        "header": read_header,
        "resumed": carl.Trainer.resume,
        "encoder": carl.Encoder,
        "classifier": carl.Classifier.load,
        "loaded": carl.load,
        "metrics.jsonl": read_metrics,
        "other.npy": lambda path: small_model().fit(images, eval_set=(good, str(path))),
    }
    if thing == "a folder":  # which is a data set, or a run
        for name in (
            "x.npy",
            "x.npz",
            "x.idx",
            "x.idx.gz",
            "train-images-idx3-ubyte",
            "x.tar",
            "x.bin",
            "x.tar.gz",
            "one.png",
            "loaded",
            "metrics.jsonl",
        ):
            del readers[name]
    for name, read in readers.items():
        path = tmp_path / name
        THINGS[thing](path)
        with pytest.raises(carl.FileError, match=f"{name}.*{thing}"):
            within(30, lambda: read(path))
            pytest.fail(name)


def test_pipes_inside_of_folders(images, tmp_path):
    from carl.cli import main

    run = tmp_path / "run"
    small_model(run_dir=run, epochs=1).fit(images)
    for name, read in {"config.json": read_config, "metrics.jsonl": read_metrics}.items():
        os.remove(run / name)
        os.mkfifo(run / name)
        with pytest.raises(carl.FileError, match=f"{name}.*a named pipe"):
            within(30, lambda: read(run))
    write_cifar(tmp_path / "data.bin", np.zeros((4, 32, 32, 3), np.uint8))
    os.mkfifo(tmp_path / "batches.meta.txt")
    assert within(30, lambda: as_source(tmp_path / "data.bin")).class_names is None
    os.mkfifo(tmp_path / "settings.json")
    np.save(tmp_path / "x.npy", images)
    assert (
        within(30, lambda: main(["train", str(tmp_path / "x.npy"), "--config", str(tmp_path / "settings.json")])) != 0
    )
    archive = write_tar(tmp_path / "x.tar", {f"{number}.png": encoded(image) for number, image in enumerate(images)})
    for name in ("cache.json", "lock", "building.json", "pixels.bin.partial"):
        folder = tmp_path / f"cache of {name}"
        folder.mkdir()
        os.mkfifo(folder / name)
        with pytest.raises(carl.FileError, match=f"{name}.*a named pipe"):
            within(30, lambda: CachedSource(as_source(archive), folder, 12))


def test_packed_data_of_a_pipe_behind_a_link(images, tmp_path):
    """What a link leads to counts, and a packed file may not be a stream either: it is read twice."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.idx.gz").symlink_to(tmp_path / "pipe")
    with pytest.raises(carl.FileError, match="a named pipe"):
        within(30, lambda: as_source(tmp_path / "x.idx.gz"))
    (tmp_path / "y.idx").write_bytes(
        gzip.compress(bytes([0, 0, 8, 3]) + np.array([40, 12, 12], ">u4").tobytes() + images[..., 0].tobytes())
    )
    (tmp_path / "y.idx.gz").symlink_to(tmp_path / "y.idx")
    assert len(as_source(tmp_path / "y.idx.gz")) == 40
