"""Exceptions. Each one is also the built-in exception that a caller would expect for the same mistake."""

from __future__ import annotations

import sys


class CARLError(RuntimeError):
    """Anything that libcarl reports as a failed call."""


class InvalidArgumentError(CARLError, ValueError):
    """A value, a shape or a type that cannot be used."""


class InvalidHandleError(CARLError):
    """A trainer or encoder that was closed, or is not one."""


class ConfigurationError(CARLError, ValueError):
    """A configuration that is malformed, has an unknown key, or a value out of range."""


class BusyError(CARLError):
    """The object is in use by another thread, or the folder of a run by another process."""


class OutOfMemoryError(CARLError, MemoryError):
    """The memory asked for is not there."""


class FileError(CARLError, OSError):
    """A file that cannot be read or written, or is not what it should be."""


class BrokenImagesError(FileError):
    """More images of a set cannot be read than ``max_broken`` allows."""


class NotFiniteError(CARLError, ArithmeticError):
    """The loss or a gradient became NaN or infinite. The parameters were not changed."""


class InvalidStateError(CARLError):
    """A call that the object's present state does not allow, such as gradients before the first step."""


class CancelledError(CARLError):
    """The call was ended by ``carl_cancel`` before it was done. The object is unchanged."""


class UnsupportedProcessorError(CARLError):
    """The processor lacks instructions that this build of libcarl needs."""


class LibraryError(CARLError, ImportError):
    """libcarl was not found, or is of another version than this package."""


class MissingPackageError(CARLError, ImportError):
    """An optional package is not installed; the message says what to install."""


class NotFittedError(CARLError, ValueError, AttributeError):
    """The model was used before it was fitted."""


class StopTraining(Exception):
    """Raised by a callback to end ``fit`` early, after the present step, without an error."""


class Terminated(SystemExit):
    """``fit`` was ended by SIGTERM or SIGHUP; the model is usable, and the checkpoint of a run folder written. Where
    nobody catches it the program ends with status 143, as one does that SIGTERM has ended.

    signal: the signal's name.
    """

    def __init__(self, signal: str = "SIGTERM") -> None:
        super().__init__(143)
        self.signal = signal


def not_fitted(name: str, method: str, weights: bool = False) -> NotFittedError:
    """The error for a call of `method`, or for what it says in words, before ``fit``; scikit-learn's own exception too
    when scikit-learn is loaded. weights: the model has a weights file, whose features can be had at once."""
    message = f"this {name} is not fitted yet: call fit() before {method}{'()' if method.isidentifier() else ''}"
    if weights:
        message += (
            '; without it transform() gives the "features" of the weights, as carl.Encoder.from_weights and '
            "`carl embed --weights` do: the weights file has no prototypes"
        )
    sklearn_exceptions = sys.modules.get("sklearn.exceptions")
    if sklearn_exceptions is None:
        return NotFittedError(message)
    both: type[NotFittedError] = type(
        "NotFittedError", (NotFittedError, sklearn_exceptions.NotFittedError), {"__module__": __name__}
    )
    return both(message)


def missing_package(what: str, package: str) -> MissingPackageError:
    """The error for `what`, which needs the optional `package`, named as pip knows it."""
    return MissingPackageError(f"{what} needs {package}: pip install {package}")
