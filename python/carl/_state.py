"""The named tensors of trainers and classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref, c_int64
from typing import Any

import numpy as np

from . import _arrays
from ._array_like import is_tensor
from ._c_api import carl_tensor_info, check_call
from ._handle import EmbeddingHandle
from ._spelling import nearest
from .errors import InvalidArgumentError


class StateHandle(EmbeddingHandle):
    """Owner of a ``carl_trainer`` or ``carl_classifier``: what has a state."""

    _infos: dict[str, _TensorInfo] | None = None

    def _file_bytes(self) -> int:
        """At most so many bytes has a file of ``save``: parameters, the moments of AdamW, a teacher."""
        return (1 << 20) + 16 * sum(info.count for info in self._tensors().values())

    def _tensors(self) -> dict[str, _TensorInfo]:
        if self._infos is None:
            with self._in_turn():
                self._infos = self._read_infos()
        return self._infos

    def _read_infos(self) -> dict[str, _TensorInfo]:
        handle, count = self._handle, c_int64(0)
        check_call(self._function("state_size")(handle, byref(count)))
        infos = {}
        for place in range(count.value):
            info = carl_tensor_info()
            check_call(self._function("state_info")(handle, place, byref(info)))
            shape = tuple(info.shape[: info.dimensions])
            infos[info.name.decode("utf-8")] = _TensorInfo(shape, int(info.count), bool(info.trained))
        return infos

    def _read(self, function: Any, name: str, info: _TensorInfo) -> np.ndarray:
        array = np.empty(info.shape, np.float32)
        with self._in_turn():
            check_call(function(self._handle, name.encode("utf-8"), array.ctypes.data, array.size))
        return array

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and running statistics as float32 arrays, in torch's layouts.

        Encoder keys are torchvision's with the prefix "encoder.", such as "encoder.layer1.0.conv1.weight" (out, in, kh,
        kw); then "projector.<i>.<name>" as of a torch Sequential, "prototypes.weight" (K, D), and "teacher." in front
        of the same. A classifier has "classifier.weight" (classes, F), "classifier.bias" (classes),
        "classifier.feature_mean" and "classifier.feature_deviation" (F) after its encoder's.
        """
        self._check_open()
        return {name: self._read(self._function("state_get"), name, info) for name, info in self._tensors().items()}

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of the last step's loss, before weight decay and clipping, by the keys of ``state_dict``.

        Raises InvalidStateError before the first step.
        """
        self._check_open()
        return {
            name: self._read(self._function("gradient_get"), name, info)
            for name, info in self._tensors().items()
            if info.trained
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copies arrays or torch tensors into the model. Nothing is changed unless all of it fits.

        strict: every key of ``state_dict`` must be there and no other. "num_batches_tracked" is ignored always.
        """
        self._check_open()
        if not isinstance(state, Mapping):
            raise InvalidArgumentError(f"state: got {type(state).__name__}, want a mapping from names to arrays")
        known = self._tensors()
        given = {key: value for key, value in state.items() if not str(key).endswith("num_batches_tracked")}
        unexpected = [key for key in given if key not in known]
        bare = [key for key in unexpected if f"encoder.{key}" in known]
        if bare:
            raise InvalidArgumentError(
                f'state: key {bare[0]!r} lacks the prefix "encoder."; for an encoder saved by torchvision pass '
                '{"encoder." + key: value for key, value in state.items() if not key.startswith("fc.")} with '
                "strict=False"
            )
        if strict:
            missing = [key for key in known if key not in given]
            if unexpected:
                raise InvalidArgumentError(
                    f"state: unexpected key {unexpected[0]!r}{nearest(unexpected[0], known)} "
                    f"({len(unexpected)} in all; strict=False ignores them)"
                )
            if missing:
                raise InvalidArgumentError(
                    f"state: missing key {missing[0]!r} ({len(missing)} in all; strict=False leaves them as they are)"
                )
        elif given and len(unexpected) == len(given):
            raise InvalidArgumentError(
                f"state: none of its {len(given)} keys is known, the first is {unexpected[0]!r}"
                f"{nearest(unexpected[0], known)}"
            )
        arrays = {key: _state_array(value, key, known[key]) for key, value in given.items() if key in known}
        for key, array in arrays.items():
            check_call(self._function("state_set")(self._handle, key.encode("utf-8"), array.ctypes.data, array.size))


class _TensorInfo:
    __slots__ = ("shape", "count", "trained")

    def __init__(self, shape: tuple[int, ...], count: int, trained: bool) -> None:
        self.shape, self.count, self.trained = shape, count, trained


def _state_array(value: Any, key: str, info: _TensorInfo) -> np.ndarray:
    # Parameters of a module require grad, and may lie on another device: as for torch's own load_state_dict, they are
    # copied in any case.
    value = value.detach().cpu() if is_tensor(value) else value
    array = _arrays.as_array(value, f"state[{key!r}]")
    if array.dtype.kind != "f":
        raise InvalidArgumentError(f"state[{key!r}]: got dtype {array.dtype}, want floats")
    if array.shape != info.shape:
        raise InvalidArgumentError(f"state[{key!r}]: got shape {array.shape}, want {info.shape}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    _arrays.check_finite(array, f"state[{key!r}]")
    return array
