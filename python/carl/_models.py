"""Loading whatever a file holds: a model, or a classifier on top of one."""

from __future__ import annotations

import os

from ._checkpoint import is_classifier
from .classifier import Classifier
from .estimator import CARL, load
from .runs import checkpoint_path


def load_model(path: str | os.PathLike[str], threads: int | None = None) -> CARL | Classifier:
    """The model of a checkpoint or run folder, or the classifier of a file of ``Classifier.save``. Both have
    ``transform`` and ``in_channels_``."""
    file = checkpoint_path(path)
    if not is_classifier(file):
        return load(path, threads=threads)
    return Classifier.load(file) if threads is None else Classifier.load(file, threads=threads)
