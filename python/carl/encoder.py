"""A trained model that only embeds."""

from __future__ import annotations

import os
from typing import Any

from . import _arrays
from ._c_api import LIB, EncoderHandle
from ._handle import EmbeddingHandle, made
from ._native_path import readable
from .trainer import Trainer


class Encoder(EmbeddingHandle):
    """A trained model that only embeds: it holds neither gradients nor momenta.

    path: a file written by ``Trainer.save``, ``CARL.save`` or ``carl_trainer_save``.
    threads: None for all processors.
    """

    _prefix = "carl_encoder"

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        super().__init__()
        count = _arrays.thread_count(threads)
        with readable(path) as file:
            self._pointer = made(EncoderHandle(), LIB.carl_encoder_free, LIB.carl_encoder_load, file, count)

    @classmethod
    def from_trainer(cls, trainer: Trainer, teacher: bool = False) -> Encoder:
        """A copy of a trainer's present model; the teacher's, if it has one, with ``teacher=True``."""
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer: got {type(trainer).__name__}, want a carl.Trainer")
        encoder = cls.__new__(cls)
        encoder._pointer = None
        encoder._pointer = made(
            EncoderHandle(), LIB.carl_encoder_free, LIB.carl_encoder_from_trainer, trainer._handle, int(bool(teacher))
        )
        return encoder

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a carl.Encoder cannot be pickled: pickle the carl.Trainer or carl.CARL, or pass the file's path"
        )
