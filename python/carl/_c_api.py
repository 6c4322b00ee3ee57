"""The bridge to libcarl: every declaration of ``carl.h`` that Python uses, with its types, and one way to check a call.

Nothing here computes. ``ctypes`` releases the interpreter lock during each call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint64,
    c_void_p,
)
from typing import Any

import numpy as np

from . import _interrupt, _libpath
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

#: The version of carl.h that the declarations below were written from.
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


class carl_image(Structure):
    _fields_ = [
        ("pixels", c_void_p),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
        ("reserved", c_int32),
        ("row_stride", c_ssize_t),
    ]


class carl_batch(Structure):
    _fields_ = [
        ("values", c_void_p),
        ("batch", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
    ]


class carl_metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("step", c_int64),
        ("loss", c_double),
        ("consistency", c_double),
        ("prior", c_double),
        ("prior_weight", c_double),
        ("temperature", c_double),
        ("learning_rate", c_double),
        ("teacher_momentum", c_double),
        ("log_prototypes", c_double),
        ("effective_prototypes", c_double),
        ("used_prototypes", c_double),
        ("dead_prototypes", c_double),
        ("max_probability", c_double),
        ("embedding_std", c_double),
        ("agreement", c_double),
        ("gradient_norm", c_double),
        ("views_per_second", c_double),
        ("seconds", c_double),
        ("view_seconds", c_double),
        ("memory_bytes", c_int64),
        ("collapsed", c_int32),
        ("updated", c_int32),
        ("contrast", c_double),
        ("contrast_weight", c_double),
        ("assigned_prototypes", c_double),
    ]


class carl_classifier_metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("step", c_int64),
        ("loss", c_double),
        ("accuracy", c_double),
        ("learning_rate", c_double),
        ("head_learning_rate", c_double),
        ("gradient_norm", c_double),
        ("seconds", c_double),
        ("memory_bytes", c_int64),
    ]


class carl_tensor_info(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("shape", c_int64 * 4),
        ("dimensions", c_int32),
        ("trained", c_int32),
        ("count", c_int64),
    ]


class carl_assignment_options(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("temperature", c_double),
        ("prior_weight", c_double),
        ("normalize_embedding", c_int32),
        ("normalize_prototypes", c_int32),
        ("stop_gradient", c_int32),
        ("symmetric", c_int32),
        ("partition_size", c_int64),
        ("seed", c_uint64),
        ("prior_over_targets", c_int32),
        ("threads", c_int32),
    ]


class carl_assignment_result(Structure):
    _fields_ = [("loss", c_double), ("consistency", c_double), ("prior", c_double)]


class carl_trainer(Structure):
    """Opaque: only pointers to it exist."""


class carl_encoder(Structure):
    """Opaque: only pointers to it exist."""


class carl_classifier(Structure):
    """Opaque: only pointers to it exist."""


TrainerHandle = POINTER(carl_trainer)
EncoderHandle = POINTER(carl_encoder)
ClassifierHandle = POINTER(carl_classifier)
LogCallback = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


class _address(c_void_p):
    """An array, or whatever has an `address`, as an argument; type and shape are checked before. Given as the object
    and not as a number, it lives as long as the call."""

    @classmethod
    def from_param(cls, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return c_void_p(value.ctypes.data)
        return c_void_p.from_param(getattr(value, "address", value))


_floats = _images = _address
_status = c_int32
_size_out = POINTER(c_size_t)
_width_out = POINTER(c_int64)

#: name -> (result, arguments), in the order of carl.h.
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "carl_last_error": (c_char_p, []),
    "carl_status_name": (c_char_p, [c_int32]),
    "carl_abi_version": (c_int32, []),
    "carl_version_string": (c_char_p, []),
    "carl_check_cpu": (_status, []),
    "carl_build_info": (c_char_p, []),
    "carl_trainer_create": (_status, [c_char_p, POINTER(TrainerHandle)]),
    "carl_trainer_free": (_status, [TrainerHandle]),
    "carl_trainer_step": (_status, [TrainerHandle, _images, c_size_t, _address, c_uint64, POINTER(carl_metrics)]),
    "carl_trainer_output_width": (_status, [TrainerHandle, c_int32, _width_out]),
    "carl_trainer_embed": (_status, [TrainerHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_trainer_embed_images": (_status, [TrainerHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t]),
    "carl_trainer_save": (_status, [TrainerHandle, c_char_p, c_char_p]),
    "carl_trainer_resume": (_status, [c_char_p, c_char_p, POINTER(TrainerHandle)]),
    "carl_trainer_notes": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_config": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_set_profiling": (_status, [TrainerHandle, c_int32]),
    "carl_trainer_profile": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_step_views": (_status, [TrainerHandle, POINTER(carl_batch), c_size_t, POINTER(carl_metrics)]),
    "carl_trainer_state_size": (_status, [TrainerHandle, POINTER(c_int64)]),
    "carl_trainer_state_info": (_status, [TrainerHandle, c_int64, POINTER(carl_tensor_info)]),
    "carl_trainer_state_get": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_trainer_state_set": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_trainer_gradient_get": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_encoder_load": (_status, [c_char_p, c_int32, POINTER(EncoderHandle)]),
    "carl_encoder_from_trainer": (_status, [TrainerHandle, c_int32, POINTER(EncoderHandle)]),
    "carl_encoder_free": (_status, [EncoderHandle]),
    "carl_encoder_output_width": (_status, [EncoderHandle, c_int32, _width_out]),
    "carl_encoder_embed": (_status, [EncoderHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_encoder_embed_images": (_status, [EncoderHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t]),
    "carl_classifier_create": (_status, [EncoderHandle, c_char_p, POINTER(ClassifierHandle)]),
    "carl_classifier_free": (_status, [ClassifierHandle]),
    "carl_classifier_step": (
        _status,
        [ClassifierHandle, _images, _address, c_size_t, _address, c_uint64, POINTER(carl_classifier_metrics)],
    ),
    "carl_classifier_step_batch": (
        _status,
        [ClassifierHandle, POINTER(carl_batch), _address, c_size_t, POINTER(carl_classifier_metrics)],
    ),
    "carl_classifier_standardize": (_status, [ClassifierHandle, _images, c_size_t]),
    "carl_classifier_output_width": (_status, [ClassifierHandle, c_int32, _width_out]),
    "carl_classifier_embed": (_status, [ClassifierHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_classifier_embed_images": (
        _status,
        [ClassifierHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t],
    ),
    "carl_classifier_save": (_status, [ClassifierHandle, c_char_p, c_char_p]),
    "carl_classifier_load": (_status, [c_char_p, c_char_p, POINTER(ClassifierHandle)]),
    "carl_classifier_notes": (_status, [ClassifierHandle, _address, c_size_t, _size_out]),
    "carl_classifier_config": (_status, [ClassifierHandle, _address, c_size_t, _size_out]),
    "carl_classifier_state_size": (_status, [ClassifierHandle, POINTER(c_int64)]),
    "carl_classifier_state_info": (_status, [ClassifierHandle, c_int64, POINTER(carl_tensor_info)]),
    "carl_classifier_state_get": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_classifier_state_set": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_classifier_gradient_get": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_assignment_options_init": (None, [POINTER(carl_assignment_options), c_size_t]),
    "carl_assignment_loss": (
        _status,
        [
            POINTER(carl_assignment_options),
            POINTER(c_void_p),
            c_size_t,
            c_int64,
            c_int64,  # embeddings, views, batch, dimension
            _floats,
            c_int64,  # prototypes, count
            POINTER(c_void_p),
            c_size_t,
            _floats,  # targets, count, target prototypes
            POINTER(carl_assignment_result),
            POINTER(c_void_p),
            _floats,  # result, gradients
        ],
    ),
    "carl_make_views": (
        _status,
        [_images, c_size_t, c_char_p, c_uint64, c_uint64, _address, c_int32, POINTER(c_void_p), _address, c_size_t],
    ),
    "carl_views_describe": (_status, [c_char_p, c_int32, _address, c_size_t, _size_out]),
    "carl_views_expand": (_status, [c_char_p, c_int32, c_int32, _address, c_size_t, _size_out]),
    "carl_nearest_neighbours": (
        _status,
        [_floats, c_int64, _floats, c_int64, c_int64, c_int64, c_int32, _address, _floats],
    ),
    "carl_knn_classify": (
        _status,
        [_floats, _address, c_int64, _floats, c_int64, c_int64, c_int64, c_int64, c_double, c_int32, _address],
    ),
    "carl_knn_classify_several": (
        _status,
        [
            _floats,
            _address,
            c_int64,
            _floats,
            c_int64,
            c_int64,
            c_int64,
            _address,
            c_size_t,
            c_double,
            c_int32,
            _address,
        ],
    ),
    "carl_retrieval": (
        _status,
        [
            _floats,
            _address,
            c_int64,
            _floats,
            _address,
            c_int64,
            c_int64,  # references, labels, n, queries, labels, m, dimension
            _address,
            c_size_t,
            c_int32,
            c_int32,  # cutoffs, count, leave one out, threads
            _address,
            _address,  # precision, relevant
        ],
    ),
    "carl_set_log_callback": (_status, [LogCallback, c_void_p]),
    "carl_set_cancel_flag": (_status, [POINTER(c_int32)]),
    "carl_cancel": (None, []),
    "carl_default_threads": (c_int32, []),
    "carl_peak_rate": (_status, [c_int32, POINTER(c_double)]),
    "carl_live_objects": (c_int64, []),
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
        raise exception  # of a signal handler; it is the cause of CARL_CANCELLED, and goes before anything else
    if error is not None:
        raise error


def _outcome(function: Callable[..., int], arguments: tuple[Any, ...]) -> BaseException | None:
    # Here, because the library keeps the message for the thread of the call.
    return _error_of(function(*arguments))


def _error_of(status: int) -> BaseException | None:
    exception = getattr(_pending, "exception", None)
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


# Kept for ever: the library holds the address.
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
    # The first call learns the size; that its buffer is too small is no error here.
    status = function(handle, None, 0, ctypes.byref(needed))
    if needed.value == 0:
        check_call(status)
        return ""
    buffer = ctypes.create_string_buffer(needed.value)
    check_call(function(handle, ctypes.cast(buffer, c_void_p), needed.value, ctypes.byref(needed)))
    return buffer.value.decode("utf-8")


def pointers(arrays: list[np.ndarray]) -> Any:
    """A C array of the arrays' addresses, which keeps the arrays."""
    result = (c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
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
