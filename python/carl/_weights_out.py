"""Weights files, written by the library."""

from __future__ import annotations

import os

from ._c_api import LIB, call
from ._handle import EmbeddingHandle
from ._native_path import writable
from .trainer import Trainer

#: carl_part by name.
PARTS = {"encoder": 0, "model": 1}


def export_weights(
    model: EmbeddingHandle, path: str | os.PathLike[str], part: str = "encoder", teacher: bool = False
) -> None:
    """Writes a safetensors file, which appears only when complete; part and teacher as of ``carl.export``."""
    with writable(path) as file, model._in_turn():
        if isinstance(model, Trainer):
            call(LIB.carl_trainer_export, model._handle, file, PARTS[part], int(teacher))
        else:
            call(model._function("export"), model._handle, file, PARTS[part])


__all__ = ["PARTS", "export_weights"]
