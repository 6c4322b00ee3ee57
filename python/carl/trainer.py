"""Training one step at a time, with access to all of the state."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from ctypes import byref, sizeof
from typing import Any

import numpy as np

from . import _arrays, _images
from ._array_like import is_array_like
from ._c_api import LIB, TrainerHandle, call, carl_metrics, check_call, string_from
from ._cards import trainer_card, trainer_line
from ._checkpoint import checkpoint_file, steps_taken
from ._handle import made
from ._native_path import readable, writable
from ._pickles import file_of, telling_versions, temporary_folder, written_bytes
from ._state import StateHandle
from ._version import __version__
from .config import TrainerConfig, dump_json, merged_json, parse_object
from .errors import InvalidArgumentError
from .metrics import Metrics
from .weights import weights_path


class Trainer(StateHandle):
    """A model in training: encoder, projection head, prototypes, optimizer, and the state of all of them.

    ::

        trainer = carl.Trainer(encoder="resnet18", stem="small", prototypes=128)
        for batch in batches:                # uint8 (B, H, W, C)
            metrics = trainer.step(batch)
        features = trainer.embed_images(images)

    config: TrainerConfig, dict or JSON text; keyword arguments go on top. Unknown keys and values out of range are a
    ConfigurationError. Threads that embed wait for one another; other calls of one trainer at once are a
    BusyError. Different trainers may run at once.
    Trainers can be pickled and copied, with everything needed to go on exactly.
    """

    _prefix = "carl_trainer"

    def __init__(self, config: TrainerConfig | Mapping[str, Any] | str | None = None, **overrides: Any) -> None:
        super().__init__()
        text = _arrays.c_text(merged_json(config, overrides), "config")
        self._adopt(made(TrainerHandle(), LIB.carl_trainer_free, LIB.carl_trainer_create, text), 0)

    def _adopt(self, pointer: Any, steps: int) -> None:
        self._pointer = pointer
        # The library writes here: the step count stays right even if Ctrl-C ends step() after the call came back.
        self._report = carl_metrics(struct_size=sizeof(carl_metrics), step=steps)
        self._config: TrainerConfig | None = None

    # ---- Training

    def step(self, batch: Any, indices: Any = None, epoch: int = 0) -> Metrics:
        """One training step: makes the views the configuration describes, runs forward and backward, updates.

        batch: uint8 (B, H, W) or (B, H, W, C) of any strides, or a list of images of any sizes; at least 2.
        indices: the images' places in the data set, by default counted as they come. A view depends on
            (seed, epoch, index, view) alone.
        epoch: used with `indices`.

        Raises NotFiniteError when the loss or a gradient is NaN or infinite; the parameters are then unchanged.
        """
        handle = self._handle
        packed = _images.pack_images(batch, "batch")
        places = None if indices is None else _arrays.index_array(indices, len(packed))
        epoch = _arrays.integer(epoch, "epoch", 0, 2**24 - 1)
        call(LIB.carl_trainer_step, handle, packed, len(packed), places, epoch, byref(self._report))
        return Metrics.from_struct(self._report)

    def step_views(self, views: Sequence[Any]) -> Metrics:
        """One training step on views made by the caller.

        views: at least 2 float32 arrays (B, H, W, C), already normalised, of the same images in the same order. H and W
            may differ from view to view. BatchNorm takes its statistics from each view by itself.
        """
        handle = self._handle
        if is_array_like(views) and getattr(views, "ndim", 0) == 5:
            views = list(views)
        if not isinstance(views, (list, tuple)):
            raise InvalidArgumentError(f"views: got {type(views).__name__}, want a list of float32 arrays (B, H, W, C)")
        if len(views) < 2:
            raise InvalidArgumentError(f"views: got {len(views)}, want at least 2")
        arrays = [_arrays.float_batch(view, f"views[{place}]") for place, view in enumerate(views)]
        for place, array in enumerate(arrays):
            if (array.shape[0], array.shape[3]) != (arrays[0].shape[0], arrays[0].shape[3]):
                raise InvalidArgumentError(
                    f"views[{place}]: got shape {array.shape}, want as many images and channels as views[0], "
                    f"{arrays[0].shape}"
                )
        call(LIB.carl_trainer_step_views, handle, _arrays.describe_batches(arrays), len(arrays), byref(self._report))
        return Metrics.from_struct(self._report)

    def step_features(self, features: Any, global_views: int = 0) -> Metrics:
        """One training step of a trainer whose train_encoder is "none" on features that were computed before, such as
        by ``embed``: projection head and objective as in ``step_views``, without the encoder.

        features: float32 (V, B, F), of at least 2 views of the same images in the same order.
        global_views: how many of the first views are global ones, which may be targets; 0: all.

        InvalidStateError where the encoder trains.
        """
        handle = self._handle
        array = _arrays.as_array(features, "features")
        if array.ndim != 3 or array.dtype.kind != "f":
            raise InvalidArgumentError(
                f"features: got {array.dtype} of shape {array.shape}, want float32 (views, images, features)"
            )
        array = np.ascontiguousarray(array, np.float32)
        views, batch, width = array.shape
        if width != self.output_width("features"):
            raise InvalidArgumentError(
                f"features: got {width} an image, the encoder gives {self.output_width('features')}"
            )
        count = _arrays.integer(global_views, "global_views", 0, views)
        call(LIB.carl_trainer_step_features, handle, array, views, batch, count, array.size, byref(self._report))
        return Metrics.from_struct(self._report)

    @property
    def step_count(self) -> int:
        """Steps taken, those before a resume included."""
        return int(self._report.step)

    @property
    def last_metrics(self) -> Metrics:
        """What the last step reported. Before the first one, and of a resumed trainer, all figures but the step are
        0."""
        return Metrics.from_struct(self._report)

    @property
    def terms(self) -> dict[str, float]:
        """The numbers of the last step by name: the objective's terms, their weights and diagnostics. Those of
        ``Metrics``, and whatever else the objective reports; empty before the first step."""
        return parse_object(string_from(LIB.carl_trainer_terms, self._handle), "terms")

    # ---- Configuration

    @property
    def config(self) -> TrainerConfig:
        """The complete configuration, every default filled in."""
        if self._config is None:
            self._config = TrainerConfig.from_json(string_from(LIB.carl_trainer_config, self._handle))
        return self._config.replace()

    @property
    def notes(self) -> dict[str, Any]:
        """The notes saved with the file this trainer was resumed from; empty if none."""
        return parse_object(string_from(LIB.carl_trainer_notes, self._handle) or "{}", "notes")

    # ---- Profile

    def start_profile(self) -> None:
        """Begins a new profile, which every following step adds to. Results do not change."""
        check_call(LIB.carl_trainer_set_profiling(self._handle, 1))

    def profile(self) -> list[dict[str, Any]]:
        """Where the time of the steps since `start_profile` went, in the order of first use.

        Each row has `layer`, `work` ("forward", "weight gradient", "data gradient", "gradients" for both in one pass,
        "normalise", ...), `method` (how a convolution was computed), `calls`, `seconds`, `operations` (floating-point
        operations of the direct method) and `bytes` (operands and results, each once a call). InvalidStateError before
        `start_profile`.
        """
        rows: list[dict[str, Any]] = json.loads(string_from(LIB.carl_trainer_profile, self._handle) or "[]")
        return rows

    def stop_profile(self) -> None:
        """Ends the profile and forgets it."""
        check_call(LIB.carl_trainer_set_profiling(self._handle, 0))

    # ---- Files

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Replaces the encoder's weights by those of a weights file of another program, in the teacher too: all, or
        none where that is an error.

        path: as of ``carl.weights_info``, whose `config` a trainer is made with: ``carl.Trainer(info.config, ...)``. A
            file of another encoder is a FileError that lists the tensors which do not fit. Meant for a trainer before
            its first step; later, the optimizer's moments stay.
        """
        with readable(weights_path(path)) as file:
            call(LIB.carl_trainer_load_weights, self._handle, file)

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Writes all that is needed to go on exactly, as a safetensors file, which appears only when complete.

        notes: anything of the caller's own that JSON can express, kept in the file.
        """
        if notes is not None and not isinstance(notes, Mapping):
            raise InvalidArgumentError(f"notes: got {type(notes).__name__}, want a mapping")
        text = None if notes is None else _arrays.c_text(dump_json(dict(notes)), "notes")
        with writable(path) as file, self._in_turn():
            call(LIB.carl_trainer_save, self._handle, file, text)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], **overrides: Any) -> Trainer:
        """Makes a trainer from a saved file; its next step is what it would have been.

        overrides: configuration keys to change, such as ``threads=1``. Keys that fix the model's shape cannot change.
        """
        text = _arrays.c_text(dump_json(overrides), "overrides") if overrides else None
        trainer = cls.__new__(cls)
        with checkpoint_file(path) as file:
            trainer._adopt(made(TrainerHandle(), LIB.carl_trainer_free, LIB.carl_trainer_resume, file, text), 0)
        trainer._report.step = steps_taken(os.fsdecode(_arrays.c_file(path)))
        return trainer

    def to_bytes(self, notes: Mapping[str, Any] | None = None) -> bytes:
        """What ``save`` would write."""
        kept = self.notes if notes is None else notes
        return written_bytes(lambda path: self.save(path, kept), self._file_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, **overrides: Any) -> Trainer:
        """The inverse of ``to_bytes``."""
        with file_of(data) as path:
            return cls.resume(path, **overrides)

    def reconfigure(self, **changes: Any) -> None:
        """Changes keys of the configuration in place: what ``resume`` of a saved file makes with the same overrides.
        The next step is what it would have been, but for the changes. A profile ends.

        For a moment there are two sets of parameters and moments in memory.
        """
        with temporary_folder(self._file_bytes()) as folder:
            path = os.path.join(folder, "trainer.carl")
            self.save(path, self.notes)
            text = _arrays.c_text(dump_json(changes), "changes")
            with readable(path) as file:
                new = made(TrainerHandle(), LIB.carl_trainer_free, LIB.carl_trainer_resume, file, text)
        old, self._pointer, self._config, self._infos = self._pointer, new, None, None
        check_call(LIB.carl_trainer_free(old))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, (type(self), self.to_bytes(), __version__))

    def __repr__(self) -> str:
        return trainer_line(self)

    def _repr_html_(self) -> str:
        return trainer_card(self)


def _unpickle(cls: type[Trainer], data: bytes, version: str = "(unknown)") -> Trainer:
    with telling_versions({"version": version}, cls.__name__):
        return cls.from_bytes(data)
