"""Good data files of every kind that the Python package reads, small, and what is inside them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable

import numpy as np

_IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)
_LABELS = np.array([0, 1, 2, 0, 1])


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape[:2]
    colour = 2 if image.ndim == 3 else 0
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def _idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(struct.pack(">I", n) for n in array.shape)
        + array.astype(np.uint8).tobytes()
    )


def _cifar(labels: int) -> bytes:
    random = np.random.default_rng(1)
    return b"".join(
        bytes([i % 10] * labels) + random.integers(0, 256, 3072).astype(np.uint8).tobytes() for i in range(4)
    )


def _tar(format: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for number, image in enumerate(_IMAGES):
            for name, data in ((f"a/{number}.png", png(image)), (f"a/{number}.cls", str(_LABELS[number]).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def good_files() -> dict[str, bytes]:
    """File name -> content. A name with a slash lies in a folder, which is what is opened."""
    return {
        "rgb.npy": _npy(_IMAGES),
        "gray.npy": _npy(_IMAGES[..., 0]),
        "fortran.npy": _npy(np.asfortranarray(_IMAGES)),
        "stored.npz": _npz(np.savez, images=_IMAGES, labels=_LABELS),
        "packed.npz": _npz(np.savez_compressed, x_train=_IMAGES, y_train=_LABELS),
        "train-images-idx3-ubyte": _idx(_IMAGES[..., 0]),
        "colour.idx": _idx(_IMAGES),
        "packed.idx.gz": gzip.compress(_idx(_IMAGES[..., 0]), mtime=0),
        "data_batch_1.bin": _cifar(1),
        "train.bin": _cifar(2),
        "gnu.tar": _tar(tarfile.GNU_FORMAT),
        "pax.tar": _tar(tarfile.PAX_FORMAT),
        "folder/image.png": png(_IMAGES[0]),
    }
