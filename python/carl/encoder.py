"""A trained model that only embeds."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import numpy as np

from . import _arrays
from ._c_api import LIB, EncoderHandle
from ._cards import encoder_card
from ._checkpoint import checkpoint_file, checkpoint_images
from ._handle import EmbeddingHandle, made
from ._input import embedded
from ._native_path import readable
from ._shown import line
from .config import dump_json
from .progress import Bar
from .trainer import Trainer
from .weights import check_heeded, warn_of_notes, weights_config, weights_info


class Encoder(EmbeddingHandle):
    """A trained model that only embeds: it holds neither gradients nor momenta.

    path: a file written by ``Trainer.save``, ``CARL.save`` or ``carl_trainer_save``. Weights of other programs are read
        by ``Encoder.from_weights``.
    threads: None for all processors.
    overrides: configuration keys to change, such as ``precision="float32"`` for a model that was trained with "bf16".
    """

    _prefix = "carl_encoder"

    #: Channels of the images that it takes.
    in_channels_: int
    #: The values that become black and white in images whose pixels are no bytes; see ``carl.as_source``. Those of the
    #: file's model, and yours to set.
    value_range: tuple[float, float] | None = None

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None, **overrides: Any) -> None:
        super().__init__()
        count = _arrays.thread_count(threads)
        text = _arrays.c_text(dump_json(overrides), "overrides") if overrides else None
        with checkpoint_file(path) as file:
            self._pointer = made(EncoderHandle(), LIB.carl_encoder_free, LIB.carl_encoder_load_with, file, text, count)
        channels, self.value_range = checkpoint_images(path)
        self.in_channels_ = channels or 3

    def __repr__(self) -> str:
        if self.closed:
            return "Encoder(closed)"
        return line("Encoder", {"in_channels": self.in_channels_, "features": self.output_width()})

    def _repr_html_(self) -> str:
        return encoder_card(self)

    @classmethod
    def from_trainer(cls, trainer: Trainer, teacher: bool = False) -> Encoder:
        """A copy of a trainer's present model; the teacher's, if it has one, with ``teacher=True``."""
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer: got {type(trainer).__name__}, want a carl.Trainer")
        encoder = cls._empty(int(trainer.config.in_channels or 3))
        with trainer._in_turn():
            encoder._pointer = made(
                EncoderHandle(), LIB.carl_encoder_free, LIB.carl_encoder_from_trainer, trainer._handle, bool(teacher)
            )
        return encoder

    @classmethod
    def from_weights(cls, path: str | os.PathLike[str], threads: int | None = None, **overrides: Any) -> Encoder:
        """An encoder with the weights that another program has trained, ready to embed, without any training::

            encoder = carl.Encoder.from_weights("resnet50.safetensors")
            features = encoder.transform("photos/")  # float32 (N, F)

        path: a safetensors file of torchvision's, timm's, DINOv2's or transformers' names; ``carl.weights_info`` tells
            what it is. Images are made ready as it says.
        threads: None for all processors.
        overrides: configuration keys in the place of the file's: view_size, evaluation_crop, evaluation_interpolation,
            mean, std for other preprocessing; pool ("class", "mean", "class_mean") of vision transformers; in_channels.
            With in_channels=1 the first layer's weights are summed over its three channels, with C channels, channel c
            takes those of channel c mod 3, times 3 / C.

        A key that contradicts the file, such as another encoder, is a ConfigurationError that names both, and so is one
        that only training heeds. Outputs other
        than "features" are an InvalidStateError: there are no prototypes yet.
        """
        count = _arrays.thread_count(threads)
        info = weights_info(path)
        channels = overrides.get("in_channels")
        channels = (
            int(info.config["in_channels"]) if channels is None else _arrays.integer(channels, "in_channels", 1, 1024)
        )
        weights_config(info, overrides, channels)  # for its errors
        check_heeded(overrides)
        warn_of_notes(info)
        text = _arrays.c_text(dump_json({key: value for key, value in overrides.items() if value is not None}), "keys")
        encoder = cls._empty(channels)
        with readable(info.path) as file:
            encoder._pointer = made(
                EncoderHandle(), LIB.carl_encoder_free, LIB.carl_encoder_from_weights, file, text, count
            )
        return encoder

    @classmethod
    def _empty(cls, channels: int) -> Encoder:
        encoder = cls.__new__(cls)
        encoder._pointer, encoder.in_channels_ = None, channels
        return encoder

    @overload
    def transform(
        self,
        images: Any,
        output: str = ...,
        *,
        on_error: str = ...,
        return_paths: Literal[False] = ...,
        progress: bool = ...,
    ) -> np.ndarray: ...

    @overload
    def transform(
        self, images: Any, output: str = ..., *, on_error: str = ..., return_paths: Literal[True], progress: bool = ...
    ) -> tuple[np.ndarray, list[str]]: ...

    def transform(
        self,
        images: Any,
        output: str = "features",
        *,
        on_error: str = "raise",
        return_paths: bool = False,
        progress: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, list[str]]:
        """float32 (N, width) of whatever ``carl.as_source`` takes: folders, files, arrays, lists, data sets. Arguments
        and result are those of ``CARL.transform``."""
        self._check_open()
        rows, names = embedded_rows(
            self, images, output, self.in_channels_, on_error, return_paths, progress, self.value_range
        )
        return (rows, names) if return_paths else rows

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a carl.Encoder cannot be pickled: pickle the carl.Trainer or carl.CARL, or pass the file's path"
        )


def embedded_rows(
    model: EmbeddingHandle,
    images: Any,
    output: str,
    channels: int,
    on_error: str,
    names: bool,
    progress: bool,
    value_range: Any,
    *,
    size: int = 0,
    task: str = "embed",
) -> tuple[np.ndarray, list[str]]:
    """The output of each image, and with `names` how the images are called. size: as of ``embed_images``. task: what
    the bar says is done."""
    width = model.output_width(output)
    with Bar(progress, None, task, "image", delay=1.0) as bar:
        return embedded(
            lambda part: model.embed_images(part, size, output),
            images,
            channels,
            width,
            on_error,
            bar=bar,
            names=names,
            value_range=value_range,
        )
