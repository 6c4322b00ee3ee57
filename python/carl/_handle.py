"""What trainers and encoders have in common: a handle that is freed once, and the embed calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from ctypes import byref, c_int64
from typing import Any, ClassVar, TypeVar

import numpy as np

from . import _arrays, _images
from ._c_api import LIB, OUTPUTS, call, check_call
from .errors import InvalidArgumentError, InvalidHandleError

Self = TypeVar("Self", bound="EmbeddingHandle")

#: Images given to the library in one embed call: enough to fill all processors, and a bound on its scratch memory.
EMBED_CHUNK = 256


def output_code(output: str) -> int:
    """The carl_output of a name."""
    try:
        return OUTPUTS[output]
    except (KeyError, TypeError):
        raise InvalidArgumentError(f"output: got {output!r}, want one of {', '.join(map(repr, OUTPUTS))}") from None


def made(pointer: Any, free: Callable[..., int], function: Callable[..., int], *arguments: Any) -> Any:
    """Calls a function that makes an object, whose handle it puts into `pointer`, and returns the handle. If Ctrl-C
    came too late to keep the object from being made, it is freed."""
    _arrays.check_thread_variable()
    try:
        call(function, *arguments, byref(pointer))
    except BaseException:
        if pointer:
            free(pointer)
        raise
    return pointer


class EmbeddingHandle:
    """Owner of a ``carl_trainer`` or ``carl_encoder``."""

    _prefix: ClassVar[str]

    def __init__(self) -> None:
        self._pointer: Any = None

    def _in_turn(self) -> AbstractContextManager[Any]:
        """Where threads that embed wait for one another: the library serves one at a time, and would refuse the others.
        A forked child has a lock of its own, as nobody would release its parent's."""
        lock: AbstractContextManager[Any] = vars(self).setdefault(f"_turn_in_{os.getpid()}", threading.RLock())
        return lock

    @property
    def _handle(self) -> Any:
        pointer = getattr(self, "_pointer", None)
        if pointer is None:
            raise InvalidHandleError(f"this {type(self).__name__} is closed")
        return pointer

    def _check_open(self) -> None:
        """Raises InvalidHandleError after ``close``."""
        _ = self._handle

    def _function(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = getattr(LIB, f"{self._prefix}_{name}")
        return function

    @property
    def closed(self) -> bool:
        return getattr(self, "_pointer", None) is None

    def close(self) -> None:
        """Frees the model's memory. Closing twice does nothing; any other use afterwards is an InvalidHandleError."""
        pointer = getattr(self, "_pointer", None)
        if pointer is not None:
            check_call(self._function("free")(pointer))
            self._pointer = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            pointer = getattr(self, "_pointer", None)
            if pointer is not None:
                self._pointer = None
                self._function("free")(pointer)
        except Exception:  # the interpreter is shutting down: the process's end frees the memory
            pass

    def output_width(self, output: str = "features") -> int:
        """Number of values an image for "features" (F), "projection" (D), "probabilities" (K) or "logits" (K)."""
        width = c_int64(0)
        with self._in_turn():
            check_call(self._function("output_width")(self._handle, output_code(output), byref(width)))
        return width.value

    def embed(self, images: Any, output: str = "features") -> np.ndarray:
        """Embeds images that are already normalised, in evaluation mode (running statistics of BatchNorm).

        images: float32 (B, H, W, C). Returns float32 (B, width), where width is ``output_width(output)``.
        """
        code, handle = output_code(output), self._handle
        array = _arrays.float_batch(images, "images", finite=False)
        result = np.empty((len(array), self.output_width(output)), np.float32)
        for start in range(0, len(array), EMBED_CHUNK):
            part, out = array[start : start + EMBED_CHUNK], result[start : start + EMBED_CHUNK]
            batch = _arrays.describe_batch(part)
            try:
                with self._in_turn():
                    call(self._function("embed"), handle, byref(batch), code, out, out.size)
            except InvalidArgumentError:
                # The library has looked at every value: a look before each call would be felt with one image. Its error
                # names the image, this one the value.
                _arrays.check_finite(array, "images")
                raise
        return result

    def embed_images(self, images: Any, size: int = 0, output: str = "features") -> np.ndarray:
        """Embeds images of bytes: resized to `size` pixels on the shorter side (0: the first view's size), cropped in
        the centre, and normalised as in training.

        images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes. Returns float32 (B, width).
        """
        code, handle = output_code(output), self._handle
        size = _arrays.c_integer(size, "size")
        packed = _images.pack_images(images)
        result = np.empty((len(packed), self.output_width(output)), np.float32)
        for start in range(0, len(packed), EMBED_CHUNK):
            part, out = packed.part(start, start + EMBED_CHUNK), result[start : start + EMBED_CHUNK]
            with self._in_turn():
                call(self._function("embed_images"), handle, part, len(part), size, code, out, out.size)
        return result
