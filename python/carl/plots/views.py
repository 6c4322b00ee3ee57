"""What the encoder sees: some images, each with its views."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _images
from ..view_specs import expand_views
from ..views import make_views
from .figures import new_figure, pictures, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a picture in the sheet.
_CELL = 0.95
#: Characters of the text below that fit in an inch.
_CHARACTERS = 16


def views(
    images: Any,
    spec: Any = "auto",
    seed: int = 0,
    *,
    view_size: int | None = None,
    epoch: int = 0,
    indices: Any = None,
    note: str = "",
) -> Figure:
    """A contact sheet: an image at the left of each row, followed by the views that training makes of it.

    images: uint8 (N, H, W) or (N, H, W, C), a tensor (N, C, H, W), or a list of images of any sizes. spec: the
    configuration key ``views``; view_size: of a preset. note: a line of the text below. seed, epoch, indices (places in
    the data set): those of training show the very views that it used.

    The views are as the encoder gets them but that the normalisation is undone. Below stands with which probabilities
    and ranges they were made.
    """
    packed = _images.pack_images(images)
    specs = expand_views(spec, packed.channels, view_size)
    made = make_views(images, specs, seed, epoch=epoch, indices=indices)
    columns = [each for each in specs for _ in range(int(each["count"]))]
    shown = pictures(images)
    rows = len(shown)
    width = max(4.5, _CELL * (1 + len(columns)) + 0.5)
    legends = [
        part
        for text in [*legend_of(specs), *([note] if note else [])]
        for part in textwrap.wrap(text, int(_CHARACTERS * width), subsequent_indent="    ")
    ]
    figure = new_figure(width, _CELL * 1.02 * rows + 0.6 + 0.14 * len(legends))
    grid = figure.subplots(rows, 1 + len(columns), squeeze=False)
    for row in range(rows):
        show_image(grid[row, 0], shown[row])
        for column, (batch, each) in enumerate(zip(made, columns), start=1):
            show_image(grid[row, column], denormalised(batch[row], each))
    grid[0, 0].set_title("image", fontsize=7, pad=3)
    for column, each in enumerate(columns, start=1):
        grid[0, column].set_title(f"view {column}: {each['size']}", fontsize=7, pad=3)
    figure.suptitle(f"What the encoder sees (seed {seed}, epoch {epoch})", fontsize=10)
    figure.supxlabel("\n".join(legends), fontsize=7, x=0.01, ha="left")
    return figure


def denormalised(view: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """uint8 (H, W, C) of a normalised view (H, W, C): value * std + mean, where 0 .. 1 becomes 0 .. 255."""
    values = view * np.asarray(spec["std"], np.float32) + np.asarray(spec["mean"], np.float32)
    return np.asarray(np.rint(values.clip(0, 1) * 255), np.uint8)


def legend_of(specs: list[dict[str, Any]]) -> list[str]:
    """A line for each specification: which views it makes, and how, what it does with probability 0 left out."""
    lines, first = [], 1
    for spec in specs:
        last = first + int(spec["count"]) - 1
        name = f"view {first}" if last == first else f"views {first} {'and' if last == first + 1 else 'to'} {last}"
        lines.append(f"{name}: {'; '.join(_settings(spec))}")
        first = last + 1
    return lines


def _settings(spec: dict[str, Any]) -> list[str]:
    settings = [f"{spec['size']} pixels", f"crop {_range(spec['scale'])} of the area, {spec['interpolation']}"]
    if spec["flip"]:
        settings.append(f"flip {spec['flip']:.0%}")
    strengths = [
        f"{name} {strength:g}"
        for name, strength in zip(("brightness", "contrast", "saturation", "hue"), spec["jitter"])
        if strength
    ]
    if strengths and spec["jitter_p"]:
        settings.append(f"jitter {spec['jitter_p']:.0%} ({', '.join(strengths)})")
    if spec["gray"]:
        settings.append(f"gray {spec['gray']:.0%}")
    if spec["blur_p"]:
        settings.append(f"blur {spec['blur_p']:.0%} (sigma {_range(spec['blur'])})")
    if spec["solarize"]:
        settings.append(f"solarize {spec['solarize']:.0%}")
    return settings


def _range(pair: list[float]) -> str:
    low, high = pair
    return f"{low:g} to {high:g}" if low != high else f"{low:g}"
