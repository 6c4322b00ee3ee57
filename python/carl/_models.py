"""Loading whatever a file holds: a model, or a classifier on top of one."""

from __future__ import annotations

import os
from typing import Any

from ._checkpoint import is_classifier
from .classifier import Classifier
from .estimator import CARL, load
from .runs import checkpoint_path


def load_model(path: str | os.PathLike[str], **compute: Any) -> CARL | Classifier:
    """The model of a checkpoint or run folder, or the classifier of a file of ``Classifier.save``. Both have
    ``transform`` and ``in_channels_``. compute: threads and precision, in the place of those it was trained with."""
    file = checkpoint_path(path)
    if not is_classifier(file):
        return load(path, **compute)
    return Classifier.load(file, **compute)
