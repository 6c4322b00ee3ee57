"""Damaged and hostile files of every format that the package reads: errors of the package or success, and no memory
that is not needed.

The mutations are seeded, so a failure names bytes that can be made again.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import struct
import tarfile
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

import carl
from carl import runs
from carl._checkpoint import read_header, steps_taken
from carl.sources import as_source, read_idx
from carl.sources.cache import CachedSource
from carl.sources.formats import read_npy
from carl.sources.labelled import open_labelled
from conftest import small_model
from test_sources_kinds import encoded, write_tar

Image = pytest.importorskip("PIL.Image")

#: Bytes that reading one of these files, of a few kilobytes, may take at a time.
BOUND = 32 << 20


@contextlib.contextmanager
def within_bounds():
    """No more memory than BOUND, as Python and NumPy count it."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    yield
    assert tracemalloc.get_traced_memory()[1] - before < BOUND


@pytest.fixture(autouse=True)
def counted():
    tracemalloc.start(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged images
        yield
    tracemalloc.stop()


def attempt(read, path, name):
    """Whether it could be read; anything but an error of the package fails."""
    try:
        with within_bounds():
            read(path)
    except carl.CARLError as error:
        assert str(error), name
        return False
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    return True


def mutated(data: bytes, random: np.random.Generator, head: int) -> bytes:
    """`data` with one to three changes, most of them within its first `head` bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        size = len(changed)
        if size == 0:
            break
        place = int(random.integers(0, min(head, size) if random.random() < 0.7 else size))
        length = int(random.integers(1, 17))
        kind = random.integers(0, 8)
        if kind == 0:
            del changed[place:]
        elif kind == 1:
            changed[place] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            changed[place : place + length] = random.bytes(length)
        elif kind == 3:
            changed[place:place] = random.bytes(length)
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place : place + length] = bytes([255 * int(random.integers(0, 2))]) * length
        elif kind == 6:
            digits = [n for n, byte in enumerate(changed[:head]) if chr(byte).isdigit()]
            if digits:
                place = digits[int(random.integers(0, len(digits)))]
                changed[place : place + 1] = [
                    b"99999999999",
                    b"-7",
                    b"0",
                    b"1e999",
                    b"[",
                    b"{",
                    b"()",
                    b"None",
                    b'"x"',
                    b"1.5",
                ][random.integers(0, 10)]
        else:
            changed[place:place] = changed[place : place + 8 * length]
    return bytes(changed)


def use(path):
    with as_source(path) as source:
        places = np.linspace(0, len(source) - 1, 5).astype(int)
        for image in source.read_each(places):
            assert isinstance(image, carl.FileError) or image.dtype == np.uint8 and image.ndim == 3 and image.size
        assert source.labels is None or source.labels.dtype == np.int64 and len(source.labels) == len(source)
        assert source.describe() and source.identity(0) is not None and source.channels and source.side


def idx(array):
    code = {"uint8": 8, "int32": 12}[array.dtype.name]
    return (
        bytes([0, 0, code, array.ndim])
        + np.array(array.shape, ">u4").tobytes()
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def saved(write, *arguments, **options):
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


@pytest.fixture
def formats(images, tmp_path):
    """Name: content, bytes of its header, reader."""
    images = np.ascontiguousarray(images[:12])
    labels = np.arange(12) % 3
    records = np.zeros((4, 3073), np.uint8)
    members = {f"{number}.png": encoded(image) for number, image in enumerate(images[:4])}
    archive = write_tar(tmp_path / "good.tar", members | {f"{number}.cls": str(number).encode() for number in range(4)})
    np.save(tmp_path / "good.npy", images)
    good = str(tmp_path / "good.npy")
    found = {
        "x.npy": (saved(np.save, images), 128, use),
        "fortran.npy": (saved(np.save, np.asfortranarray(images)), 128, use),
        "stored.npz": (saved(np.savez, images=images[:3], labels=labels[:3]), 300, use),
        "deflated.npz": (saved(np.savez_compressed, images=images[:3], labels=labels[:3]), 300, use),
        "x.idx": (idx(images[..., 0]), 16, use),
        "x.idx.gz": (gzip.compress(idx(images[..., 0])), 40, use),
        "wide.idx": (idx(np.arange(12, dtype=np.int32)), 8, read_idx),
        "x.bin": (records.tobytes(), 16, use),
        "x.tar": (archive.read_bytes(), 600, use),
        "labels.npy": (saved(np.save, labels), 128, lambda path: open_labelled(good, str(path), 3)),
        "labels.idx": (idx(labels.astype(np.uint8)), 8, lambda path: open_labelled(good, str(path), 3)),
        "any.npy": (saved(np.save, np.zeros((3, 2))), 128, read_npy),
    }
    large = np.kron(images[0], np.ones((3, 3, 1), np.uint8))
    for form in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
        found[f"image.{form}"] = (encoded(large, form), 80, lambda path: as_source([path]).read(np.array([0])))
    return found


def test_mutations_of_data_files(formats, tmp_path):
    random = np.random.default_rng(11)
    for name, (content, head, read) in formats.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert attempt(read, path, name), name
        good = 0
        for turn in range(50):
            path.write_bytes(mutated(content, random, head))
            good += attempt(read, path, f"{name}, mutation {turn}")
        assert good < 50, name  # something must have been noticed
        for length in {0, 1, 2, 7, 8, 10, 16, 127, 128, 129, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:length])
            attempt(read, path, f"{name}, {length} bytes")


def npy(text, version=b"\1\0", length=None, body=b"\0" * 64):
    text = text.encode("latin1")
    size = len(text) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version == b"\1\0" else 4, "little") + text + body


def header(descr="'|u1'", fortran="False", shape="(2, 4, 4)"):
    return "{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n" % (descr, fortran, shape)


HEADERS = [
    header(shape="(1000000000, 1000, 1000)"),
    header(shape=f"({2**62}, 4, 4)"),
    header(shape=f"({2**70}, 4, 4)"),
    header(shape="(-2, 4, -4)"),
    header(shape="(-1, 4, 4)"),
    header(shape="(True, 4, 4)"),
    header(shape="(2.0, 4, 4)"),
    header(shape="4"),
    header(shape="()"),
    header(shape="(0, 4, 4)"),
    header(shape=f"(0, {2**40}, {2**40})"),
    header(shape="(" + "1, " * 70 + ")"),
    header("'|O'"),
    header("'<M8[us]'"),
    header("'|S0'"),
    header("'|V0'"),
    header("[('a', '|u1'), ('b', '|u1')]"),
    header("('|u1', (100000, 100000))"),
    header("('|u1', 4)"),
    header("[('a', '|O')]"),
    header("'x'"),
    header("7"),
    header("None"),
    header("[]"),
    header("[[]]"),
    header(fortran="True", shape="(1000000000, 1000, 1000)"),
    header(fortran="True"),
    header(fortran="7"),
    header("'>f4'", shape="(1,)"),
    "{" * 90,
    "(" * 900,
    "[" * 1000,
    "-" * 1000 + "1",
    "",
    "\0" * 50,
    "{}",
    "{'descr': 1}",
    "__import__('os').getpid()",
    header(shape="(9" + "9" * 5000 + ",)"),
    "{'a': 1, 'b': 2, 'c': 3}",
    "7",
    header(shape="(2, 4, 4)") + " " * 20_000,
]


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_hostile_headers(number, tmp_path):
    content = npy(HEADERS[number])
    wide = npy(HEADERS[number], b"\2\0")
    for name, data in {
        "a.npy": content,
        "b.npy": wide,
        "c.npy": npy(HEADERS[number], b"\3\0"),
        "d.npy": npy(HEADERS[number], length=60_000),
        "e.npy": npy(HEADERS[number], b"\2\0", length=2**32 - 1),
    }.items():
        (tmp_path / name).write_bytes(data)
        attempt(use, tmp_path / name, name)
        attempt(read_npy, tmp_path / name, name)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for key, other in (("images", "labels"), ("labels", "images")):
            path = tmp_path / f"{key}-{method}.npz"
            with zipfile.ZipFile(path, "w", method) as archive:
                archive.writestr(f"{key}.npy", content)
                archive.writestr(
                    f"{other}.npy",
                    saved(np.save, np.zeros((2, 4, 4), np.uint8) if other == "images" else np.zeros(2, int)),
                )
            attempt(use, path, path.name)


def test_hostile_archives(images, tmp_path):
    good = saved(np.save, images)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "other.npz", "w", method) as archive:
            archive.writestr("images.npy", good)
        assert not attempt(use, tmp_path / "other.npz", method)
    cases = {
        "no npy": {"images.npy": good, "labels": b"text"},
        "images are no npy": {"images": b"text"},
        "empty": {},
        "a folder": {"images.npy/": b""},
        "empty member": {"images.npy": b""},
        "empty labels": {"images.npy": good, "labels.npy": b""},
    }
    for name, members in cases.items():
        path = tmp_path / f"{name}.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        assert not attempt(use, path, name)
    with pytest.raises(carl.FileError, match=r"no npy.npz\['labels'\] is no .npy array"):
        as_source(tmp_path / "no npy.npz")
    # Much that is packed into little: 200 MB of zeros that a header speaks of, and some more.
    bomb = npy(header(shape="(100000, 64, 64)"), body=bytes(20 << 20))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bomb)
    (tmp_path / "bomb.idx.gz").write_bytes(
        gzip.compress(bytes([0, 0, 8, 3]) + np.array([4, 4, 4], ">u4").tobytes() + bytes(64 << 20))
    )
    (tmp_path / "claim.idx.gz").write_bytes(
        gzip.compress(bytes([0, 0, 8, 3]) + np.array([2**31, 4000, 4000], ">u4").tobytes() + bytes(1000))
    )
    for name in ("bomb.npz", "bomb.idx.gz", "claim.idx.gz"):
        assert not attempt(use, tmp_path / name, name)


@pytest.mark.parametrize("dimensions", [0, 1, 2, 5, 33, 65, 255])
def test_idx_of_any_number_of_dimensions(dimensions, tmp_path):
    for length in (0, 1, 2**32 - 1):
        content = bytes([0, 0, 8, dimensions]) + np.full(dimensions, length, ">u4").tobytes() + b"\0"
        (tmp_path / "x.idx").write_bytes(content)
        (tmp_path / "x.idx.gz").write_bytes(gzip.compress(content))
        for name in ("x.idx", "x.idx.gz"):
            attempt(use, tmp_path / name, name)
            attempt(read_idx, tmp_path / name, name)
    # An empty array of lengths whose product is beyond any address.
    (tmp_path / "y.idx").write_bytes(bytes([0, 0, 8, 9]) + np.array([0] + [2**32 - 1] * 8, ">u4").tobytes())
    attempt(read_idx, tmp_path / "y.idx", "y.idx")


def test_hostile_tar_archives(images, tmp_path):
    def block(name=b"a.png", size=b"00000000100", kind=b"0", extra=b"", magic=b"ustar\x0000"):
        head = bytearray(512)
        head[0 : len(name)], head[100:107], head[124 : 124 + len(size)] = name, b"0000644", size
        head[156:157], head[257:265] = kind, magic
        head[345 : 345 + len(extra)] = extra
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head)

    png = encoded(images[0]).ljust(1024, b"\0")
    below_zero = b"\xff" * 12  # a size in base 256
    large = b"\x80" + (2**62).to_bytes(11, "big")
    pax = b"30 size=99999999999999999999\n\n".ljust(512, b"\0")
    cases = {
        "negative": block(size=below_zero) + png,
        "large": block(size=large) + png,
        "long name": block(kind=b"L", size=large) + block() + png,
        "chain": b"".join(block(kind=b"L", size=b"00000000001") + b"x".ljust(512, b"\0") for _ in range(3000))
        + block()
        + png,
        "pax size": block(kind=b"x", size=b"00000000036") + pax + block() + png,
        "pax large": block(kind=b"x", size=large) + pax,
        "pax chain": b"".join(
            block(kind=b"x", size=b"00000000012") + b"10 path=a\n".ljust(512, b"\0") for _ in range(2000)
        )
        + block()
        + png,
        "sparse": block(kind=b"S", magic=b"ustar  \0", extra=b"\xff" * 120) + png,
        "back": block() + png + block(size=b"\xff" * 4 + b"\xfb" * 8) + png,
        "link": block(kind=b"1") + png,
        "device": block(kind=b"3") + png,
        "name": block(name=b"\xff\xfe" * 20 + b".png", size=b"00000000400") + png,
        "global": block(kind=b"g", size=b"00000000005") + b"99 x=".ljust(512, b"\0") + block() + png,
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.tar"
        path.write_bytes(content + bytes(1024))
        attempt(use, path, name)
    with tarfile.open(tmp_path / "labels.tar", "w") as archive:
        for number, label in enumerate([b"9" * 30, b"9" * 5000, b"-1", b"\xff", b""]):
            for member, content in ((f"{number}.png", png), (f"{number}.cls", label)):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    assert attempt(use, tmp_path / "labels.tar", "labels") and as_source(tmp_path / "labels.tar").labels is None


def test_images_that_decoders_refuse(images, tmp_path, monkeypatch):
    """Whatever a decoder raises, the image is a broken one."""
    path = tmp_path / "a.png"
    Image.fromarray(images[0]).save(path)
    source = as_source([path, path])
    raised = [
        SyntaxError("x"),
        struct.error("x"),
        MemoryError(),
        ValueError("x"),
        RecursionError("x"),
        OverflowError("x"),
        EOFError(),
        IndexError("x"),
        Image.DecompressionBombError("x"),
        Image.DecompressionBombWarning("x"),
        OSError("x"),
        KeyError("x"),
        ZeroDivisionError("x"),
    ]
    for error in raised:

        def fail(*arguments, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(type(Image.open(path)), "load", fail)
            assert all(
                isinstance(image, carl.FileError) and str(path) in str(image)
                for image in source.read_each(np.arange(2))
            ), error
            with pytest.raises(carl.FileError, match=r"images\[1\]"):  # those that come as objects too
                picture = Image.open(path)
                as_source([picture, picture] if error is None else [np.zeros((4, 4, 3), np.uint8), picture])
            with pytest.raises(carl.FileError, match="item 0"):
                next(as_source([[Image.open(path)] * 2]).batches_of(2))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert [type(image) for image in source.read_each(np.arange(2))] == [carl.FileError] * 2


# ---- The cache


def test_mutations_of_a_cache(images, tmp_path):
    archive = write_tar(
        tmp_path / "x.tar", {f"{n}.png": encoded(image) for n, image in enumerate(images[:6])} | {"bad.png": b"x"}
    )
    source = as_source(archive)
    whole = CachedSource(source, tmp_path / "good", 12).read_each(np.arange(6))

    def read(folder):
        cached = CachedSource(source, folder, 12)
        assert len(cached.read_each(np.arange(7))) == 7

    random = np.random.default_rng(5)
    contents = {
        name: (tmp_path / "good" / name).read_bytes()
        for name in ("cache.json", "images.bin", "broken.jsonl", "pixels.bin")
    }
    key = {name: value for name, value in json.loads(contents["cache.json"]).items() if name != "bytes"}
    records = np.frombuffer(
        contents["images.bin"], [("offset", np.int64), ("height", np.int32), ("width", np.int32)]
    ).copy()

    def hostile():
        for field, value in (
            ("offset", -1),
            ("offset", 2**62),
            ("height", -12),
            ("height", 2**31 - 1),
            ("width", -(2**31)),
            ("width", 0),
            ("height", 0),
        ):
            changed = records.copy()
            changed[field][2] = value
            yield "images.bin", changed.tobytes()
        yield "cache.json", b"[" * 100_000
        yield "broken.jsonl", b"[" * 100_000
        yield "broken.jsonl", b'[1]\n{"place": [1], "reason": 2}\n'
        yield "broken.jsonl", b'{"place": 1e999, "reason": 2}\n'
        yield "broken.jsonl", b""
        for _ in range(25):
            name = list(contents)[int(random.integers(0, 4))]
            yield name, mutated(contents[name], random, 200)

    for finished in (True, False):  # and what an interruption left
        for number, (name, content) in enumerate(hostile()):
            folder = tmp_path / f"cache {finished} {number}"
            folder.mkdir()
            ending = "" if finished else ".partial"
            for other, good in contents.items():
                if finished or other != "cache.json":
                    (folder / f"{other}{ending}").write_bytes(content if other == name else good)
            if not finished:
                (folder / "building.json").write_bytes(content if name == "cache.json" else json.dumps(key).encode())
            assert attempt(read, folder, f"{name}, {number}, finished: {finished}")
            if name not in ("pixels.bin", "broken.jsonl"):  # a cache that is damaged where it can be seen is made anew
                assert all(
                    np.array_equal(a, b)
                    for a, b in zip(whole, CachedSource(source, folder, 12).read_each(np.arange(6)))
                )


# ---- Checkpoints and run folders


def safetensors(text, length=None, body=b"\0" * 64):
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def test_hostile_checkpoint_headers(images, tmp_path):
    path = tmp_path / "x.carl"
    small_model(epochs=1).fit(images).save(path)
    assert steps_taken(path) == 5
    content = path.read_bytes()
    random = np.random.default_rng(2)
    for turn in range(150):
        (tmp_path / "y.carl").write_bytes(mutated(content, random, 400))
        attempt(steps_taken, tmp_path / "y.carl", f"mutation {turn}")

    def counters(step):
        return json.dumps({"__metadata__": {"counters": '{"step": %s}' % step}}).encode()

    for text in (
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"{}",
        b"[]",
        b"7",
        b"",
        b"\xff" * 20,
        b'{"__metadata__": []}',
        b'{"__metadata__": {"counters": 7}}',
        b'{"__metadata__": {"counters": "[[["}}',
        b'{"__metadata__": {"counters": "' + b"[" * 100_000 + b'"}}',
        *map(counters, ("1e999", "-1", "9" * 4000, "9" * 5000, "[]", "null", '\\"x\\"', str(2**63), "NaN")),
    ):
        (tmp_path / "y.carl").write_bytes(safetensors(text))
        assert not attempt(steps_taken, tmp_path / "y.carl", text[:40])
    for length in (2**63, 2**64 - 1, 100_000_000, 15_000_000, 1, 0):
        (tmp_path / "y.carl").write_bytes(safetensors(b"{}", length))
        assert not attempt(read_header, tmp_path / "y.carl", str(length))


@pytest.mark.parametrize(
    "notes",
    [
        7,
        "x",
        [],
        [[1]],
        {"position": 7},
        {"position": {"epoch": "x"}},
        {"position": {"epoch": -1}},
        {"position": {"samples": [1]}},
        {"params": []},
        {"params": {"run_dir": {"bytes": "zz"}}},
        {"params": {"run_dir": {}}},
        {"params": {"cache": 7}},
        {"data": {"bytes": 7}},
        {"data": []},
        {"eval": 7},
        {"eval": [7]},
        {"classes": [[1], [2, 3]]},
    ],
)
def test_hostile_notes(notes, images, tmp_path):
    from carl.cli import main

    model = small_model(epochs=1).fit(images)
    model.trainer_.save(tmp_path / "x.carl", {"carl": notes})
    readable = attempt(carl.load, tmp_path / "x.carl", notes)
    assert readable == (isinstance(notes, dict) and "classes" in notes)
    attempt(lambda path: small_model().fit(images, resume=path), tmp_path / "x.carl", notes)
    assert main(["info", str(tmp_path / "x.carl")]) == (0 if readable else 1)


@pytest.fixture
def run(images, tmp_path):
    small_model(run_dir=tmp_path / "run", epochs=2).fit(images, eval_set=(images, np.arange(40) % 3))
    (tmp_path / "run" / "broken_images.jsonl").write_text('{"image": "a.png", "reason": "x"}\n')
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "knn.json").write_text('{"accuracy": 0.5, "parts": {"a": [1, 2]}}')
    return tmp_path / "run"


READERS = {
    "config.json": runs.read_config,
    "metrics.jsonl": runs.read_metrics,
    "usage.jsonl": runs.read_usage,
    "eval.jsonl": runs.read_evaluations,
    "broken_images.jsonl": runs.read_broken,
}
LINES = [
    b"[" * 100_000,
    b'{"step":' * 100_000,
    b"\xff\xfe\n\xff",
    b"7\n7\n",
    b"[]\n[]\n",
    b'{"step": "x"}\n{}\n',
    b'{"step": 1, "loss": "x"}\n{"step": 2}\n',
    b'{"step": 1e999}\n{"step": 1}\n',
    b'{"step": 1, "loss": 1' + b"0" * 400 + b'}\n{"step": 2}\n',
    b'{"step": 1, "assignments": [1, "x"]}\n{"step": 2}\n',
    b'{"step": 1, "assignments": [1, -1]}\n{"step": 2, "assignments": [1]}\n',
    b'{"step": true}\n{"step": 1}\n',
    b"\n" * 1000,
    b"\0" * 1000,
    b'{"image": [1], "reason": {}}\n',
    b'{"step": 1, "knn": "x", "linear": []}\n{"step": 2}\n',
    b'{"step": 1}\n' * 3,
    b'{"step": 1, "loss": "\\ud800"}\n{"step": 1}',
    b'{"step": 1, "assignments": [2000000000]}\n',
    b'{"step": 1, "loss": 1e308, "seconds": -1e308, "data_wait": 0.999}\n{"step": 2, "loss": -1e308}\n',
]
CONFIGS = [
    b"[]",
    b"[" * 100_000,
    b"",
    b"\xff",
    b'{"width": "x"}',
    b'{"prototypes": []}',
    b'{"prototypes": 1e999}',
    b'{"prototypes": true}',
    b'{"projector": [0]}',
    b'{"projector": ["x"]}',
    b'{"encoder": 7, "width": null}',
    b'{"a": "\\ud800"}',
    b'{"views": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"prototypes": 9223372036854775807}',
]


def test_mutations_of_a_run_folder(run, tmp_path):
    random = np.random.default_rng(4)
    for name, read in READERS.items():
        content = (run / name).read_bytes()
        assert attempt(lambda path: read(run), run, name)
        for turn in range(100):
            (run / name).write_bytes(mutated(content, random, 600))
            attempt(lambda path: read(run), run, f"{name}, mutation {turn}")
        for hostile in LINES + CONFIGS:
            (run / name).write_bytes(hostile)
            attempt(lambda path: read(run), run, f"{name}: {hostile[:60]!r}")
        (run / name).write_bytes(content)
    for hostile in LINES:  # a run that goes on keeps what it can read
        for name in ("metrics.jsonl", "usage.jsonl", "eval.jsonl"):
            (run / name).write_bytes(hostile)
        with runs.RunFolder(run) as folder:
            assert attempt(lambda path: (folder.open(10), folder.close()), run, hostile[:60])


def test_reports_of_damaged_runs(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from carl import report

    tracemalloc.stop()  # pictures are slow enough
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    pictures, shown = report._pictures, []
    # Those that are drawn from the files looked at here, where it matters.
    monkeypatch.setattr(
        report, "_pictures", lambda *arguments: [part for part in pictures(*arguments) if part[0] in shown]
    )
    monkeypatch.setattr(report.page, "_DPI", 20)
    cases = [
        ("metrics.jsonl", LINES[16:19], ()),
        ("metrics.jsonl", LINES[19:], ("curves",)),
        ("usage.jsonl", LINES[18:19], ("usage",)),
        ("usage.jsonl", [LINES[10], b'{"step": 1}\n'], ("usage",)),
        ("eval.jsonl", [b'{"step": 1, "loss": 1}\n'], ()),
        ("config.json", CONFIGS, ()),
        ("config.json", [b'{"projector": [0]}', b'{"prototypes": 9223372036854775807}'], ("curves", "usage")),
        ("train.log", [b"\xff" * 100, b"  training on \n"], ()),
        (
            "evaluation/knn.json",
            [b"[" * 100_000, b'{"a":' * 900 + b"7" + b"}" * 900, b'{"a": "\\ud800"}', b'{"a":' * 50 + b"7" + b"}" * 50],
            (),
        ),
    ]
    for name, contents, shown in cases:  # noqa: B007
        for content in contents:
            (run / name).write_bytes(content)
            attempt(lambda path: report.write(run), run, f"{name}: {content[:60]!r}")
        shutil.copy(whole / name, run / name)
