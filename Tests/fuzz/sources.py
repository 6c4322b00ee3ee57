"""Damaged data files through the Python package: images, or an error of the package, and nothing else."""

from __future__ import annotations

import io
import os
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from . import values
from .datafiles import good_files
from .journal import Journal

_NPY_TEXTS = [
    b"'shape': (5, 6, 7, 99999999999)",
    b"'shape': (0,)",
    b"'shape': ()",
    b"'shape': (5, 6, 7, -3)",
    b"'shape': (4611686018427387904, 4)",
    b"'shape': (5,0,7,3)",
    b"'descr': '|O'",
    b"'descr': '<f8'",
    b"'descr': '|V1'",
    b"'descr': '>u8'",
    b"'descr': [('a', '|u1')]",
    b"'descr': '|S3'",
    b"'fortran_order': 7",
    b"'shape': " + b"(" * 300,
    b"'shape': 5",
    b"'shape': ('5',)",
    b"'descr': '|u1', 'x': 1",
]


class SourceFuzzer:
    def __init__(self, journal: Journal, folder: Path, report: Any):
        import carl  # finds the library by CARL_LIBRARY

        self._carl = carl
        self._journal, self._folder, self._report = journal, folder / "data", report
        self._good = good_files()

    def run(self, seed: int, number: int) -> None:
        draw = random.Random(f"{seed}/{number}/sources")
        name = draw.choice(sorted(self._good))
        data = self._good[name]
        for _ in range(draw.choice([1, 1, 2])):
            data = self._mutated(draw, name, data)
        moment = draw.choice(["before", "before", "before", "between opening and reading", "special"])
        shutil.rmtree(self._folder, ignore_errors=True)
        path = self._folder / name
        path.parent.mkdir(parents=True)
        (path.parent / "train-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1, 0, 0, 0, draw.choice([5, 5, 6])]) + bytes(5)
        )
        path.write_bytes(self._good[name] if moment == "between opening and reading" else data)
        if moment == "special":
            path.unlink()
            draw.choice([os.mkfifo, os.mkdir, lambda place: os.symlink(place, place), lambda place: None])(path)
        self._journal.note(number, 0, f"{name}, damaged {moment}: {len(data)} bytes")
        self._journal.add("calls")
        try:
            self._use(
                draw,
                path if "/" not in name else path.parent,
                path,
                data if moment == "between opening and reading" else None,
            )
        except self._carl.CARLError as error:
            if not str(error):
                self._tell(number, "no message", type(error).__name__)
        except Exception as error:  # the point: whatever else a file brings up
            self._tell(number, "raw exception", f"{type(error).__name__}: {error}")

    def _use(self, draw: random.Random, place: Path, path: Path, later: bytes | None) -> None:
        source = self._carl.as_source(str(place), channels=draw.choice([None, None, 3, 1]))
        try:
            if later is not None:
                with open(path, "r+b") as file:  # in place, as a process does that writes the file anew
                    file.truncate(draw.choice([0, len(later) // 2, len(later)]))
                    file.write(later[: draw.choice([0, len(later)])])
            if len(source):
                images = source.read(np.arange(min(len(source), 8)))
                # Looks at every byte: pages that are gone show themselves only then.
                sum(int(np.asarray(image).astype(np.int64).sum()) for image in images)
            if source.labels is not None:
                np.asarray(source.labels).sum()
            source.describe()
            self._journal.add("accepted")
        finally:
            close = getattr(source, "close", None)
            if close:
                close()

    def _mutated(self, draw: random.Random, name: str, data: bytes) -> bytes:
        kind = draw.randrange(5)
        if kind == 0 and data:
            return data[
                : draw.choice([0, 1, 4, 10, 128, 512, 1024, len(data) - 1, len(data) // 2, draw.randrange(len(data))])
            ]
        if kind == 1:
            return data + draw.randbytes(draw.choice([1, 512, 5000]))
        if kind == 2 and name.endswith(".npy"):
            return _npy_header(draw, data)
        if kind == 2 and name.endswith(".npz"):
            return _npz_member(draw)
        if kind == 2 and ("idx" in name or name.endswith("ubyte")) and not name.endswith(".gz"):
            dimensions = draw.choice([0, 1, 2, 4, 5, 33, 64, 65, 70, 255])
            sizes = [
                draw.choice([1, 1, 1, 0, 2**16, 2**31, 2**32 - 1]) if draw.random() < 0.2 else 1
                for _ in range(dimensions)
            ]
            head = bytes([0, 0, draw.choice([8, 8, 9, 11, 12, 13, 14, 7]), dimensions]) + b"".join(
                n.to_bytes(4, "big") for n in sizes
            )
            return head + bytes(draw.choice([1, 1, 2, 4, 8]))
        if kind <= 3:  # where the headers are
            head = bytearray(data[:600])
            values.damage(draw, head)
            return bytes(head) + data[600:]
        changed = bytearray(data)
        values.damage(draw, changed)
        return bytes(changed)

    def _tell(self, number: int, kind: str, what: str) -> None:
        self._report({"kind": kind, "number": number, "call": 0, "doing": self._journal.text(), "what": what})


def _npy_header(draw: random.Random, data: bytes) -> bytes:
    """Another header of the right length field."""
    key = draw.choice(_NPY_TEXTS)
    parts = {
        b"descr": b"'descr': '|u1'",
        b"fortran_order": b"'fortran_order': False",
        b"shape": b"'shape': (5, 6, 7, 3)",
    }
    parts[key[1:].partition(b"'")[0]] = key
    text = b"{" + b", ".join(parts.values()) + b"}"
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return data[:6] + bytes([draw.choice([1, 1, 2, 3, 9]), 0]) + len(text).to_bytes(2, "little") + text + data[128:]


def _npz_member(draw: random.Random) -> bytes:
    """An archive with members of other kinds than arrays of images."""

    def array(value: Any) -> bytes:
        file = io.BytesIO()
        np.save(file, value)
        return file.getvalue()

    images = array(np.zeros((3, 4, 4, 3), np.uint8))
    names = ["images.npy", "labels.npy", "images", "labels", "x", "y.npy", "arr_0.npy", "../up.npy", "notes.txt"]
    others = [array(np.float64(3)), array(np.zeros((3, 4))), array(np.array(["a", "b", "c"]))]
    options = [b"", b"no array", images, images[:90], images[:150], b"\x93NUMPY", *others]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name in draw.sample(names, draw.choice([0, 1, 2, 2, 3])):
            archive.writestr(
                name, images if name.startswith("images") and draw.random() < 0.7 else draw.choice(options)
            )
    return file.getvalue()
