"""The loop that trains a classifier, for ``carl.Classifier.fit`` and the protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .errors import InvalidArgumentError
from .sources import ImageSource, epoch_order
from .sources.kept import kept
from .sources.loader import images_at_once, read_chosen
from .sources.order import evenly_spaced
from .view_specs import least_side

if TYPE_CHECKING:
    from .classifier import Classifier
    from .progress import Bar

#: Images whose features' mean and deviation are taken before the linear layer, at most.
STANDARDIZED = 4096
#: Share of the deviations' root mean square that each is taken for at least.
_LEAST = 0.1


def batches_per_epoch(count: int, batch_size: int, least: int) -> int:
    """Equal batches of at most `batch_size` images, but of at least `least`."""
    if count < least:
        raise InvalidArgumentError(
            f"got {count} labelled image(s) to train on, want at least {least}: BatchNorm takes statistics over the "
            "batch"
        )
    return max(1, min(-(-count // batch_size), count // least))


def standardize(classifier: Classifier, source: ImageSource) -> None:
    """Does what ``Classifier.standardize`` does with at most `STANDARDIZED` images, evenly spaced, read at full size a
    few at a time."""
    places, size = evenly_spaced(len(source), STANDARDIZED), images_at_once(source)
    parts = ((start, places[start : start + size]) for start in range(0, len(places), size))
    read = (images for _, _, images in read_chosen(source, parts, ahead=1))
    features = np.concatenate([classifier.embed_images(images) for images in read]).astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A feature that is constant but for rounding stays as it is; one that hardly varies on whole images may on crops.
    varies = (deviation > 1e-6 * np.abs(mean)) & (deviation > 1e-30)
    floor = _LEAST * np.sqrt(np.mean(deviation[varies] ** 2)) if varies.any() else 0.0
    deviation = np.where(varies, np.maximum(deviation, floor), 1.0)
    state = {"classifier.feature_mean": mean, "classifier.feature_deviation": deviation}
    classifier.load_state_dict(state, strict=False)


def train_classifier(
    classifier: Classifier,
    source: ImageSource,
    targets: np.ndarray,
    places: np.ndarray,
    epochs: int,
    batches: int,
    seed: int,
    bar: Bar,
) -> None:
    """Goes `epochs` times through the images at `places`, in an order of (seed, epoch) alone, in `batches` equal
    batches; the few images that are left over are others in each epoch."""
    size = len(places) // batches

    def chosen() -> Iterator[tuple[int, np.ndarray]]:
        for epoch in range(epochs):
            order = places[epoch_order(len(places), seed, epoch)]
            for batch in range(batches):
                yield epoch, order[batch * size : (batch + 1) * size]

    # Images are halved as in self-supervised training, while the smallest crop has as many pixels as the view.
    side = least_side([classifier.config["view"]])
    if epochs > 1:
        source = kept(source, side)
    for epoch, indices, images in read_chosen(source, chosen(), side):
        metrics = classifier.step(images, targets[indices], indices, epoch)
        bar.advance(f"loss {metrics.loss:.3f}")
