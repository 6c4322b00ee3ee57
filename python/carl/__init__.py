"""CARL: visual representations and prototypes from images without labels, on the CPU.

::

    import carl
    model = carl.CARL(encoder="resnet18", epochs=20).fit(images)   # uint8 (N, H, W, C)
    features = model.transform(images)
    clusters = model.predict(images)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ._libpath import refuse_command as _refuse_command
from .errors import LibraryError

try:
    from ._c_api import LIB as _LIB
except LibraryError as error:
    _refuse_command(error)
    raise
from ._c_api import LIBRARY_PATH as _LIBRARY_PATH
from ._c_api import set_log_callback
from ._c_api import string_from as _string_from
from ._version import __version__
from .callbacks import Callback
from .classifier import Classifier
from .config import TrainerConfig
from .encoder import Encoder
from .errors import (
    BrokenImagesError,
    BusyError,
    CancelledError,
    CARLError,
    ConfigurationError,
    FileError,
    InvalidArgumentError,
    InvalidHandleError,
    InvalidStateError,
    MissingPackageError,
    NotFiniteError,
    NotFittedError,
    OutOfMemoryError,
    StopTraining,
    Terminated,
    UnsupportedProcessorError,
)
from .estimator import CARL, load
from .metrics import ClassifierMetrics, Metrics
from .objective import AssignmentLoss, assignment_loss
from .sources import as_source
from .trainer import Trainer
from .view_specs import expand_views
from .views import make_views, view_sizes
from .weights import WeightsInfo, weights_info

if TYPE_CHECKING:
    from . import evaluate as evaluate


def build_info() -> dict[str, Any]:
    """What this build of libcarl is: version, compiler, target, BLAS, threads, and the file it was loaded from."""
    return {**json.loads(_LIB.carl_build_info()), "library": _LIBRARY_PATH, "package": __version__}


def config_schema() -> dict[str, list[dict[str, Any]]]:
    """Every key of the configuration, by what it configures: "trainer", "view" and "classifier". Each has its name,
    kind, default, range and meaning; carl.h says how."""

    def schema(_: Any, buffer: Any, capacity: int, needed: Any) -> int:
        return int(_LIB.carl_config_schema(buffer, capacity, needed))

    return dict(json.loads(_string_from(schema, None)))


def default_threads() -> int:
    """Threads used where nothing else is said: CARL_NUM_THREADS, else the processors this process may use."""
    return int(_LIB.carl_default_threads())


def live_objects() -> int:
    """Trainers, encoders and classifiers that were made and not yet freed."""
    return int(_LIB.carl_live_objects())


#: Parts of the package that few programs need: imported when first asked for.
_LATE = ("evaluate", "export", "loggers", "plots", "report", "runs")


def __dir__() -> list[str]:
    """What there is to use: no helpers, no modules that this one imports for itself."""
    return sorted([*__all__, *_LATE, *(name for name in globals() if name.startswith("__"))])


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CARL",
    "AssignmentLoss",
    "BrokenImagesError",
    "BusyError",
    "CARLError",
    "Callback",
    "CancelledError",
    "Classifier",
    "ClassifierMetrics",
    "ConfigurationError",
    "Encoder",
    "FileError",
    "InvalidArgumentError",
    "InvalidHandleError",
    "InvalidStateError",
    "LibraryError",
    "Metrics",
    "MissingPackageError",
    "NotFiniteError",
    "NotFittedError",
    "OutOfMemoryError",
    "StopTraining",
    "Terminated",
    "Trainer",
    "TrainerConfig",
    "UnsupportedProcessorError",
    "WeightsInfo",
    "as_source",
    "assignment_loss",
    "build_info",
    "config_schema",
    "default_threads",
    "evaluate",
    "expand_views",
    "live_objects",
    "load",
    "make_views",
    "set_log_callback",
    "view_sizes",
    "weights_info",
]
