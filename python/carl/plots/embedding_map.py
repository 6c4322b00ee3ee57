"""All images as points in the plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays
from .._array_like import label_values
from .._unit_rows import unit_rows
from ..errors import InvalidArgumentError, missing_package
from .figures import GRAY, check_rows, dress, legend, matrix, new_figure, palette
from .names import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("pca", "tsne", "umap")
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
#: Distance up to which rows of length 1 differ by rounding alone.
_EQUAL = 1e-6
#: With more categories than this a legend tells nothing.
_MOST_NAMED = 20


def project(features: Any, method: str = "pca", seed: int = 0) -> np.ndarray:
    """float (N, 2): features, (N, D), divided by their l2 norm, in the plane.

    method: "pca" (built in), "tsne" (needs scikit-learn) or "umap" (needs umap-learn). Rows that are equal but for
    rounding are all at (0, 0).
    """
    values = _arrays.feature_array(matrix("features", features), "features", ("N", "D"))
    if len(values) < 3:
        raise InvalidArgumentError(f"features: got {len(values)} rows, want at least 3")
    seed = _arrays.integer(seed, "seed", 0, 2**32 - 1)
    values = unit_rows(values)
    fit: Callable[[np.ndarray], Any]
    if method == "pca":
        fit = _principal
    elif method == "tsne":
        try:
            from sklearn.manifold import TSNE
        except ImportError:
            raise missing_package("method 'tsne'", "scikit-learn") from None
        fit = TSNE(perplexity=min(30.0, (len(values) - 1) / 3), init="pca", random_state=seed).fit_transform
    elif method == "umap":
        try:
            from umap import UMAP
        except ImportError:
            raise missing_package("method 'umap'", "umap-learn") from None
        fit = UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed, n_jobs=1).fit_transform
    else:
        raise InvalidArgumentError(f"method: got {method!r}, want one of {', '.join(METHODS)}")
    if np.linalg.norm(values - values[0], axis=1).max() <= _EQUAL:
        return np.zeros((len(values), 2))  # t-SNE would divide by their spread, and scikit-learn's end the process
    return np.asarray(fit(values))


def embedding_map(
    features: Any,
    colours: Any = None,
    names: Sequence[str] | None = None,
    method: str = "pca",
    seed: int = 0,
    points: np.ndarray | None = None,
    title: str | None = None,
    what: str = "categories",
) -> Figure:
    """A 2-D map of features, coloured by category: prototypes or labels.

    features: (N, D). colours: integers, text or bools (N,), or None. names: of the categories, by number, for the
    legend; what: they are, in words, for the title, which says how many there are where they are too many for a legend.
    points: (N, 2), from ``project``, to draw the same map twice; `method` then only names it.
    """
    seed = _arrays.integer(seed, "seed", 0, 2**32 - 1)
    if points is None:
        places = project(features, method, seed)
    else:
        places = check_rows("points", matrix("points", points), len(features), "rows")
        if places.shape[1] != 2:
            raise InvalidArgumentError(f"points: got shape {places.shape}, want ({len(places)}, 2)")
    figure = new_figure(7.6, 5.6)
    axes = figure.subplots()
    note = ""
    size = float(np.clip(12_000 / len(places), 3, 30))
    if colours is None:
        axes.scatter(places[:, 0], places[:, 1], s=size, color=GRAY, alpha=0.7, linewidths=0)
    else:
        categories, index = np.unique(_categories(colours, len(places)), return_inverse=True)
        shades = palette(len(categories))
        # In random order: else the last category hides the others.
        shuffled = np.random.default_rng(seed).permutation(len(places))
        x, y = places[shuffled].T
        axes.scatter(x, y, s=size, c=shades[index.reshape(-1)[shuffled]], alpha=0.75, linewidths=0)
        if len(categories) <= _MOST_NAMED:
            known = names if names is not None and categories.dtype.kind in "iu" else ()
            texts, fonts = drawn(
                str(known[int(category)]) if len(known) and 0 <= int(category) < len(known) else str(category)
                for category in categories
            )
            # A name that begins with _ is no label to matplotlib, which it is told as what stands in the legend.
            marks = [axes.scatter([], [], s=25, color=shade) for shade in shades]
            legend(axes, handles=marks, labels=texts, prop={"size": 8, "family": fonts})
        else:
            note = f", coloured by {len(categories):,} {what}"
    kind = _TITLES.get(method, method)
    dress(axes, title or f"{kind} of {len(places):,} embeddings{note}")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{kind} 1", fontsize=8)
    axes.set_ylabel(f"{kind} 2", fontsize=8)
    return figure


def _categories(colours: Any, count: int) -> np.ndarray:
    """(count,) integers, text or bools; InvalidArgumentError for anything else, such as None among them."""
    values = check_rows("colours", label_values(colours, "colours"), count, "images")
    if values.ndim != 1 or values.dtype.kind not in "iuUb":
        raise InvalidArgumentError(
            f"colours: got values of type {values.dtype} and shape {values.shape}, want whole numbers, text or bools "
            f"({count},), without None"
        )
    return values


def _principal(values: np.ndarray) -> np.ndarray:
    """The two directions of largest variance; the sign that makes each one's largest weight positive."""
    centred = values - values.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions[:, ::-1][:, :2]
    chosen = chosen * np.where(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])] < 0, -1.0, 1.0)
    places = centred @ chosen
    return places if places.shape[1] == 2 else np.column_stack([places, np.zeros(len(places))])
