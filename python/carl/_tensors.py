"""The tensors of weights files that the library has exported, as arrays."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ._checkpoint import read_header
from ._reading import parse_json


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors by name, float32, and the configuration keys that are noted of them. For files just written by ``export``
    of a model: nothing is checked."""
    header = read_header(path)
    keys: dict[str, Any] = parse_json(header.pop("__metadata__")["carl"])
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            tensors[name] = np.fromfile(file, "<f4", (end - begin) // 4).reshape(entry["shape"])
    return tensors, keys


__all__ = ["read_tensors"]
