"""What a study trains on, and the labelled images that judge."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from carl import demo

#: Share of the training images that judge a search.
HELD_OUT = 0.2
#: Name of the data set that every installation finds by itself.
FASHION_MNIST = "fashion-mnist"
KEYS = ("train_images", "train_labels", "test_images", "test_labels")


class Data:
    """A labelled data set, parted.

    place: an .npz with `KEYS`; or Fashion-MNIST's folder; None or "fashion-mnist" is where the library looks for it.
    final: train on all training images, judge by the test images. Otherwise a fifth of the training images is set apart
        and judges, and the test images are not touched.
    limit: train on the first so many images only; the references of k-NN and the linear layer stay all of them.
    """

    def __init__(self, place: str | None, final: bool, limit: int | None = None) -> None:
        if place and place.endswith(".npz"):
            with np.load(place) as file:
                parts = [file[key] for key in KEYS]
            self.name = Path(place).stem
        else:
            parts = list(demo.load_fashion_mnist(None if place == FASHION_MNIST else place))
            self.name = FASHION_MNIST
        images, labels, test, truth = (np.ascontiguousarray(part) for part in parts)
        #: Tells data sets of one name apart, such as those of two files.
        whole = hashlib.sha256()
        for part in (images, labels, test, truth):
            whole.update(part)
        self.digest = whole.hexdigest()[:12]
        order = np.random.default_rng(0).permutation(len(images))  # files may be sorted by class
        images, labels = images[order], labels[order]
        self.split = "test" if final else "held out"
        if not final:
            kept = len(images) - round(HELD_OUT * len(images))
            images, test, labels, truth = images[:kept], images[kept:], labels[:kept], labels[kept:]
        self.train = images[:limit]
        self.references, self.labels = images, labels
        self.queries, self.truth = test, truth

    @property
    def channels(self) -> int:
        return 1 if self.train.ndim == 3 else int(self.train.shape[3])

    @property
    def side(self) -> int:
        return int(self.train.shape[1])

    def as_seen_by(self, other: Data) -> Data:
        """This data set for an encoder that was trained on `other`: gray images repeated to three channels, colour ones
        turned gray (ITU-R 601), then resized to the other's side, bilinearly with antialiasing."""
        for name in ("references", "queries"):
            setattr(self, name, convert(getattr(self, name), other.channels, other.side))
        self.train = self.references[: len(self.train)]
        return self


def convert(images: np.ndarray, channels: int, side: int) -> np.ndarray:
    """uint8 (N, H, W) or (N, H, W, 3) as (N, side, side) or (N, side, side, 3)."""
    from PIL import Image

    def one(image: np.ndarray) -> Any:
        picture = Image.fromarray(image).convert("L" if channels == 1 else "RGB")
        return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.BILINEAR)

    return np.stack([np.asarray(one(image)) for image in images])
