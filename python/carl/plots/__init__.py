"""Pictures of runs and models, by matplotlib. Each function returns a ``matplotlib.figure.Figure``; ``save`` writes it.

::

    from carl import plots
    history = carl.runs.read_metrics("runs/mine")
    plots.save(plots.curves(history), "curves.png")

No display is needed and no global state of pyplot is touched. In a notebook a figure shows itself after ``%matplotlib
inline``.
"""

from __future__ import annotations

from .confusion import class_confusion, confusion
from .curves import curves
from .embedding_map import METHODS, embedding_map, project
from .entropy import entropy
from .figures import save
from .gallery import gallery
from .neighbours import SheetRow, contact_sheet, neighbours
from .usage import counts, usage
from .views import views

__all__ = [
    "METHODS",
    "SheetRow",
    "class_confusion",
    "confusion",
    "contact_sheet",
    "counts",
    "curves",
    "embedding_map",
    "entropy",
    "gallery",
    "neighbours",
    "project",
    "save",
    "usage",
    "views",
]
