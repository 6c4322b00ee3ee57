"""What all plots share: making, dressing and writing figures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _images
from .._array_like import column_items, is_array_like
from .._writing import make_folder, replacing
from ..errors import InvalidArgumentError, missing_package
from ..history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that can be distinguished with any colour vision (Okabe and Ito, 2008), without the yellow, which vanishes on
#: white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
GRAY = "#8a8a8a"
#: More points than this in a line are more than the eye or the paper can tell apart.
_MOST_POINTS = 3000
#: Signs of a title that fit in an inch, and inches of one of its lines.
_TITLE_SIGNS, _TITLE_LINE = 13, 0.18


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches. Made without pyplot: no display, no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("a plot", "matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 120) -> Path:
    """Writes a figure; the ending of `path` chooses the format (.png, .svg, .pdf). Folders are made."""
    file = Path(path).expanduser()
    form = file.suffix.lstrip(".").lower() or "png"
    if form not in figure.canvas.get_supported_filetypes():
        known = ", ".join("." + each for each in sorted(figure.canvas.get_supported_filetypes()))
        raise InvalidArgumentError(f"cannot write {file}: the ending .{form} is none of {known}")
    make_folder(file.parent)
    with replacing(file) as stream:
        figure.savefig(stream, format=form, dpi=dpi)
    return file


def headline(figure: Figure, text: str) -> None:
    """A title of the whole figure, in as many lines as its width asks for; the figure grows by those beyond the
    first."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(text, max(16, int(_TITLE_SIGNS * width)))
    figure.set_size_inches(width, height + _TITLE_LINE * (len(lines) - 1))
    figure.suptitle("\n".join(lines), fontsize=10)


def whole_numbers(axis: Any) -> None:
    """No ticks between the whole numbers of an axis that counts."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))


def dress(axes: Any, title: str | None = None, x: str | None = None, y: str | None = None) -> None:
    """The look of a diagram: no box, a light grid, small text."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    if title:
        axes.set_title(title, fontsize=10, loc="left")
    if x:
        axes.set_xlabel(x, fontsize=8)
    if y:
        axes.set_ylabel(y, fontsize=8)


def legend(axes: Any, **options: Any) -> None:
    """A legend at the right of the diagram: inside of it there may be a curve anywhere."""
    made = axes.legend(
        **{"fontsize": 8, "frameon": False, "loc": "center left", "bbox_to_anchor": (1.0, 0.5), **options}
    )
    for text in made.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name begins no formula


def legend_below(axes: Any) -> None:
    """A legend below the whole figure, of a diagram that has others at its right."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)


def pictures(images: Any) -> list[np.ndarray] | np.ndarray:
    """Images that a plot was given, a batch or a list of any sizes, each as uint8 (H, W, C)."""
    items = column_items(images)
    images = images if items is None else items
    if isinstance(images, (list, tuple)):
        return [_images.one_image(image, f"images[{place}]") for place, image in enumerate(images)]
    return _images.image_batch(images)


def show_image(axes: Any, image: np.ndarray) -> None:
    """An image (H, W, C) of bytes without axes. Of a number of channels other than 3 or 4 the first is shown."""
    array = image if image.shape[2] in (3, 4) else image[..., 0]
    axes.imshow(array, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    blank(axes)


def blank(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def smooth(values: Sequence[float]) -> np.ndarray:
    """A running mean over 2% of the steps: single batches are noisy. Values that are not finite are left out of it."""
    array = np.asarray(values, float)
    window = max(1, len(array) // 50)
    good = np.isfinite(array)
    sums = np.cumsum(np.insert(np.where(good, array, 0.0), 0, 0.0))
    numbers = np.cumsum(np.insert(good.astype(float), 0, 0.0))
    ends = np.arange(1, len(array) + 1)
    starts = np.maximum(0, ends - window)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sums[ends] - sums[starts]) / (numbers[ends] - numbers[starts]))


def line(axes: Any, x: Sequence[float], values: Sequence[float], colour: str, label: str | None = None) -> None:
    """A series as it is, faint, and its running mean on top."""
    stride = max(1, len(values) // _MOST_POINTS)
    steps, raw = np.asarray(x)[::stride], np.asarray(values, float)
    if len(values) >= 50:
        axes.plot(steps, raw[::stride], color=colour, alpha=0.18, linewidth=0.7)
    # A single step is a point: a line through it cannot be seen.
    marker = "o" if np.count_nonzero(np.isfinite(raw)) == 1 else None
    axes.plot(steps, smooth(values)[::stride], color=colour, linewidth=1.5, label=label, marker=marker, markersize=4)


def series(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """One figure of all rows; NaN where a row lacks it or it is null."""
    if isinstance(rows, History):
        return [float(value) for value in rows.column(name)]
    values = (row.get(name) if isinstance(row, dict) else row[name] for row in rows)
    return [float("nan") if value is None else float(value) for value in values]


def palette(count: int) -> np.ndarray:
    """float (count, 3): colours for categories. Many are spread over hue and brightness so that near numbers differ."""
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    if count <= 10:
        return np.asarray(colormaps["tab10"].colors)[:count]  # type: ignore[attr-defined]
    place = np.arange(count)
    hue = (place * 0.61803398875) % 1.0  # golden ratio: no two neighbours are alike
    return hsv_to_rgb(np.stack([hue, 0.55 + 0.4 * (place % 2), 0.6 + 0.35 * (place // 2 % 2)], axis=1))


def check_rows(name: str, given: Any, count: int, what: str) -> np.ndarray:
    """An array with `count` rows."""
    array = np.asarray(given)
    if array.ndim == 0 or len(array) != count:
        got = "a scalar" if array.ndim == 0 else str(len(array))
        raise InvalidArgumentError(f"{name}: got {got}, want one of each of the {count} {what}")
    return array


def matrix(name: str, given: Any) -> np.ndarray:
    """A finite float array (N, D) with N and D of at least 1."""
    found = _arrays.as_array(given, name) if is_array_like(given) else given
    try:
        array = np.asarray(found, dtype=float)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{name}: want numbers (N, D): {error}") from None
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want (N, D), neither of them 0")
    if not np.isfinite(array).all():
        raise InvalidArgumentError(f"{name}: has values that are NaN or infinite")
    return array


def how_many(name: str, given: Any) -> int | None:
    """The number, at least 1, where one was given; None where there are several, for ``chosen``."""
    return _arrays.c_integer(given, name, 1) if hasattr(given, "__index__") and np.ndim(given) == 0 else None


def chosen(name: str, given: Any, count: int, what: str) -> np.ndarray:
    """Some of 0 .. count - 1, at least one, as an array of integers; `what` they are."""
    try:
        array = np.asarray(list(given))
    except TypeError:
        raise InvalidArgumentError(
            f"{name}: got {given!r}, want a whole number, or several from 0 to {count - 1}"
        ) from None
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= count:
        raise InvalidArgumentError(f"{name}: got {list(given)}, want {what} from 0 to {count - 1}")
    return array
