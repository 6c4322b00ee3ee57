"""The features of all images of a set that can be read, with their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._input import embedded
from ..errors import InvalidArgumentError
from ..evaluate import fingerprint
from ..progress import Bar
from ..sources import ImageSource


@dataclass
class Looked:
    """features: float32 (N, F). names: N paths, or numbers. places: of the images in the source. fingerprints: of their
    pixels, if they were asked for."""

    features: np.ndarray
    names: list[str]
    places: np.ndarray
    fingerprints: list[str] = field(default_factory=list)


def look(
    model: Any,
    source: ImageSource,
    *,
    fingerprints: bool = False,
    progress: bool = True,
    least: int = 2,
    on_error: str = "skip",
) -> Looked:
    """Embeds the images of a source. Those that cannot be read are left out with a warning, or with on_error "raise" an
    error. least: images that must remain."""
    marks: list[str] = []
    trainer = getattr(model, "trainer_", model)  # a classifier embeds by itself

    def embed(images: Any) -> np.ndarray:
        if fingerprints:
            marks.extend(map(fingerprint, images))
        rows: np.ndarray = trainer.embed_images(images)
        return rows

    with Bar(progress, None, "embed", "image", delay=1.0) as bar:
        rows, names = embedded(
            embed,
            source,
            model.in_channels_,
            trainer.output_width("features"),
            "nan" if on_error == "skip" else on_error,
            bar=bar,
            names=True,
            says="left out an image that cannot be read",
            value_range=model.value_range,
        )
    places = np.flatnonzero(~np.isnan(rows[:, 0]))
    if len(places) < least:
        raise InvalidArgumentError(f"{source.describe()}: {len(places)} can be read, want at least {least}")
    return Looked(rows[places], [names[place] for place in places], places, marks)
