"""The bridge to libcarl: loading it, and one way to check a call.

Nothing here computes. ``ctypes`` releases the interpreter lock during each call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import c_float, c_int32, c_size_t, c_uint8, c_void_p
from typing import Any

import numpy as np

from . import _interrupt, _libpath
from ._declarations import (
    SIGNATURES,
    ClassifierHandle,
    EncoderHandle,
    LogCallback,
    TrainerHandle,
    carl_assignment_options,
    carl_assignment_result,
    carl_batch,
    carl_classifier_metrics,
    carl_image,
    carl_metrics,
    carl_tensor_info,
)
from .errors import (
    BusyError,
    CancelledError,
    CARLError,
    ConfigurationError,
    FileError,
    InvalidArgumentError,
    InvalidHandleError,
    InvalidStateError,
    LibraryError,
    NotFiniteError,
    OutOfMemoryError,
    UnsupportedProcessorError,
)

#: The version of carl.h that the declarations (_declarations.py) were written from.
ABI_VERSION = 2

OUTPUTS = {"features": 0, "projection": 1, "probabilities": 2, "logits": 3}

_ERRORS: dict[int, type[CARLError]] = {
    1: InvalidArgumentError,
    2: InvalidHandleError,
    3: ConfigurationError,
    4: BusyError,
    5: OutOfMemoryError,
    6: FileError,
    7: NotFiniteError,
    8: InvalidStateError,
    9: UnsupportedProcessorError,
    11: CancelledError,
}


def _load() -> tuple[ctypes.CDLL, str]:
    attempts: list[tuple[str, str]] = []
    for place in _libpath.candidates():
        try:
            # RTLD_LOCAL: none of the library's symbols are offered to modules loaded later.
            return ctypes.CDLL(place, mode=ctypes.RTLD_LOCAL), place
        except OSError as error:
            attempts.append((place, str(error)))
    raise LibraryError(_libpath.not_found_message(attempts))


def _declare(library: ctypes.CDLL, path: str) -> None:
    try:
        abi_version = library.carl_abi_version
    except AttributeError:
        raise LibraryError(f"{path} does not export carl_abi_version: it is not this package's libcarl") from None
    abi_version.restype = c_int32
    abi_version.argtypes = []
    found = abi_version()
    if found != ABI_VERSION:
        raise LibraryError(
            f"{path} has interface version {found}, this package needs version {ABI_VERSION}: "
            "library and package must come from the same release"
        )
    for name, (result, arguments) in SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise LibraryError(f"{path} does not export {name}: it is not this package's libcarl") from None
        function.restype = result
        function.argtypes = arguments


LIB, LIBRARY_PATH = _load()
_declare(LIB, LIBRARY_PATH)

# An exception cannot pass through Swift. One raised in a log callback waits here until the call is back.
_pending = threading.local()


def check_call(status: int) -> None:
    """Raises what a call's status stands for, or the exception that a log callback raised during the call."""
    error = _error_of(status)
    if error is not None:
        raise error


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a function that may take long, so that Ctrl-C ends it, and raises what ``check_call`` does.

    All that the library reads and writes has to be reachable from the arguments: arrays themselves, not their
    addresses.
    """
    if not _interrupt.applies():
        check_call(function(*arguments))
        return
    error, exception = _interrupt.run(_outcome, function, arguments)
    if exception is not None:
        raise exception  # of a signal handler; it is the cause of CARL_CANCELLED, so it takes precedence
    if error is not None:
        raise error


def _outcome(function: Callable[..., int], arguments: tuple[Any, ...]) -> BaseException | None:
    # Here, because the library keeps the message for the thread of the call.
    return _error_of(function(*arguments))


def _error_of(status: int) -> BaseException | None:
    exception: BaseException | None = getattr(_pending, "exception", None)
    if exception is not None:
        _pending.exception = None
        return exception
    if status == 0:
        return None
    text = (LIB.carl_last_error() or b"").decode("utf-8", "replace")
    name = LIB.carl_status_name(status).decode("ascii", "replace")
    return _ERRORS.get(status, CARLError)(text or name)


def _to_logging(level: int, message: str) -> None:
    import logging  # not needed by most processes, and slow to import

    logging.getLogger("carl").log(logging.WARNING if level >= 1 else logging.INFO, "%s", message)


_listener: Callable[[int, str], None] = _to_logging


def _receive(level: int, message: bytes | None, context: int | None) -> None:
    try:
        _listener(level, (message or b"").decode("utf-8", "replace"))
    except BaseException as error:  # KeyboardInterrupt too must not be lost in the callback
        _pending.exception = error


# Kept for the life of the process: the library holds the address.
_on_message = LogCallback(_receive)


def set_log_callback(callback: Callable[[int, str], None] | None) -> None:
    """Sends the library's messages, such as the warning that a run collapses, to ``callback(level, message)``.

    ``level`` is 0 for information and 1 for warnings. None returns to the default: the logger named ``carl`` of
    Python's ``logging``. An exception raised by the callback is raised again by the call that caused the message.
    """
    global _listener
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {type(callback).__name__}, want a function (level, message) or None")
    _listener = callback or _to_logging


check_call(LIB.carl_check_cpu())
check_call(LIB.carl_set_log_callback(_on_message, None))
_interrupt.configure(LIB.carl_set_cancel_flag)


def string_from(function: Callable[..., int], handle: Any) -> str:
    """Calls a function of the form (handle, buffer, capacity, needed) and returns the text."""
    needed = c_size_t(0)
    # The first call only asks for the size, so that its buffer is too small is no error.
    status = function(handle, None, 0, ctypes.byref(needed))
    if needed.value == 0:
        check_call(status)
        return ""
    buffer = ctypes.create_string_buffer(needed.value)
    check_call(function(handle, ctypes.cast(buffer, c_void_p), needed.value, ctypes.byref(needed)))
    return buffer.value.decode("utf-8")


def pointers(arrays: list[np.ndarray]) -> Any:
    """A C array of the arrays' addresses, which keeps the arrays."""
    result: Any = (c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    result.arrays = arrays
    return result


__all__ = [
    "ABI_VERSION",
    "ClassifierHandle",
    "EncoderHandle",
    "LIB",
    "LIBRARY_PATH",
    "OUTPUTS",
    "TrainerHandle",
    "c_float",
    "c_uint8",
    "carl_assignment_options",
    "carl_assignment_result",
    "carl_batch",
    "carl_classifier_metrics",
    "carl_image",
    "carl_metrics",
    "carl_tensor_info",
    "call",
    "check_call",
    "pointers",
    "set_log_callback",
    "string_from",
]
