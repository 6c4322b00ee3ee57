"""Training of head and prototypes on a frozen encoder: the features of some views of each image are computed once and
kept, and every epoch takes its views from those."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays
from ._feature_file import FeatureFile
from ._memory import available_memory, resident_memory
from ._reading import parse_json, read_text
from ._writing import replace_file
from .budget import memory_text, parse_memory
from .config import TrainerConfig, ViewSpec
from .errors import FileError, OutOfMemoryError
from .metrics import Metrics
from .progress import Bar
from .sources import BatchStream, ImageSource
from .sources.broken import BrokenImages
from .sources.loader import Batch, batch_places, images_at_once, read_parts
from .trainer import Trainer
from .view_specs import expand_views, least_side
from .views import make_views

if TYPE_CHECKING:
    from .estimator import CARL
    from .runs import RunFolder

#: Images whose views are made at a time, at most.
_AT_ONCE = 64
#: Of the free memory that features may take where they are not in a file.
_OF_FREE = 0.5
#: In a run folder: the features, and what they are of once they are complete.
_VALUES, _KEY = "features.npy", "features.json"


def keeps_features(model: CARL, source: ImageSource | BatchStream) -> bool:
    """Whether ``fit`` computes features once: the encoder stays as it is, and the images can be gone through again. A
    budget is planned by the time of ordinary steps."""
    views = _arrays.integer(model.feature_views, "feature_views", 0, 1024)
    frozen = model.config_.train_encoder == "none"
    return frozen and views > 0 and model.budget is None and not isinstance(source, BatchStream)


def rounds_of(feature_views: int, views: int, epochs: int) -> int:
    """How often the views of an image are made: until there are so many of them, but not more often than epochs."""
    return max(1, min(-(-feature_views // views), epochs))


class FrozenFeatures:
    """Features (N, rounds, V, F) of views of all images, made as training with the same seed makes them in its first
    epochs: round r has the views of epoch r.

    Epoch e takes round e while there is one. Later ones draw for each image anew, from all rounds, as many features of
    each view specification as that makes views, none twice.
    """

    def __init__(self, values: np.ndarray | FeatureFile, specs: list[ViewSpec], seed: int) -> None:
        self._values, self._seed = values, seed
        self._counts = [int(spec["count"]) for spec in specs]
        sizes = [spec["size"] for spec in specs for _ in range(int(spec["count"]))]
        self._global_views = next((place for place, size in enumerate(sizes) if size != sizes[0]), len(sizes))

    @property
    def views(self) -> int:
        """Features that there are of each image."""
        return int(self._values.shape[1] * self._values.shape[2])

    def batches(self, batch_size: int, epoch: int, skip: int) -> Iterator[Batch]:
        """The batches of an epoch from the one numbered `skip` on, of the images that training takes without this."""
        parts = batch_places(len(self._values), batch_size, self._seed, epoch, epoch + 1, skip)
        for number, indices in enumerate(parts, start=skip):
            yield Batch(self.batch(indices, epoch, number), indices, 0.0)

    def batch(self, indices: np.ndarray, epoch: int, number: int) -> np.ndarray:
        """float32 (V, B, F) for a batch of an epoch."""
        values = self._values[indices]
        count, rounds, views, width = values.shape
        if epoch < rounds:
            return np.ascontiguousarray(values[:, epoch].transpose(1, 0, 2))
        found = np.empty((views, count, width), np.float32)
        # Philox's stream is one that NumPy promises to keep. The counter's last word tells it from that of the order.
        stream = np.random.Philox(
            key=np.array([self._seed % 2**64, epoch], np.uint64), counter=np.array([0, 0, number, 1], np.uint64)
        )
        first = 0
        for same in self._counts:
            pool = values[:, :, first : first + same].reshape(count, rounds * same, width)
            drawn = stream.random_raw(count * rounds * same).reshape(count, rounds * same)
            chosen = np.argsort(drawn, axis=1, kind="stable")[:, :same]
            found[first : first + same] = pool[np.arange(count)[:, None], chosen].transpose(1, 0, 2)
            first += same
        return found

    def step(self, trainer: Trainer, features: np.ndarray) -> Metrics:
        return trainer.step_features(features, self._global_views)


class FrozenReader:
    """Gives the batches of one epoch after the other, as ``BatchReader`` does."""

    def __init__(self, features: FrozenFeatures, batch_size: int, epoch: int, skip: int) -> None:
        self._features, self._batch_size, self._epoch, self._skip = features, batch_size, epoch, skip

    def __enter__(self) -> FrozenReader:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def epoch(self) -> Iterator[Batch]:
        epoch, skip = self._epoch, self._skip
        self._epoch, self._skip = epoch + 1, 0
        return self._features.batches(self._batch_size, epoch, skip)


def frozen_features(
    model: CARL, source: ImageSource, epochs: int, run: RunFolder | None, broken: BrokenImages
) -> FrozenFeatures:
    """Computes them, in memory, or in a file of the run folder, where an interrupted run finds them again."""
    trainer, config = model.trainer_, model.config_
    specs, seed = training_specs(config), int(config.seed or 0)
    views = sum(int(spec["count"]) for spec in specs)
    shape = (len(source), rounds_of(model.feature_views, views, epochs), views, trainer.output_width("features"))
    key = _key(trainer, source, specs, seed) if run is not None else None
    kept = None if run is None or key is None else _kept(run.path, key, shape, source, broken)
    values: np.ndarray | FeatureFile
    if kept is not None and run is not None:
        run.log(f"features of {shape[1] * views} views an image are there already: {run.path / _VALUES}")
        values = kept
    else:
        values = _room(shape, run, model.memory)
        lost = _compute(values, trainer, source, specs, seed, broken, bool(model.progress))
        if run is not None and isinstance(values, FeatureFile):
            values.complete()
            replace_file(run.path / _KEY, json.dumps({"key": key, "shape": shape, "broken": lost}))
    return FrozenFeatures(values, specs, seed)


def remove_features(run: RunFolder) -> None:
    """Removes what a run that is over has kept."""
    for name in (_KEY, _VALUES):
        with suppress(OSError):
            (run.path / name).unlink()


def training_specs(config: TrainerConfig) -> list[ViewSpec]:
    """The views' specifications with every default filled in; mean and std are the configuration's where they have none
    of their own."""
    shared = {"mean": config.mean, "std": config.std}
    given = config.views or "auto"
    channels = config.in_channels or 3
    if isinstance(given, str):
        return [{**spec, **shared} for spec in expand_views(given, channels, config.view_size)]
    return expand_views([{**shared, **spec} for spec in given], channels)


def _compute(
    values: np.ndarray | FeatureFile,
    trainer: Trainer,
    source: ImageSource,
    specs: list[ViewSpec],
    seed: int,
    broken: BrokenImages,
    progress: bool,
) -> list[tuple[int, str, str]]:
    """Fills in the features. The images that cannot be read: their places, names and the reasons."""
    count, rounds = values.shape[:2]
    threads = trainer.config.threads or None
    side, size = least_side(specs), min(_AT_ONCE, images_at_once(source))
    lost: list[tuple[int, str, str]] = []

    def fill(places: np.ndarray, images: Any) -> None:
        for number in range(rounds):
            made = make_views(images, specs, seed, epoch=number, indices=places, threads=threads)
            for view, pixels in enumerate(made):
                values[places, number, view] = trainer.embed(pixels)

    with Bar(progress, count, "features", "image") as bar:
        for start, part in zip(range(0, count, size), read_parts(source, size, least_side=side)):
            good = [slot for slot, image in enumerate(part) if not isinstance(image, BaseException)]
            for slot in sorted(set(range(len(part))) - set(good)):
                name, error = source.identity(start + slot), part[slot]
                broken.add(start + slot, name, error)
                lost.append((start + slot, name, str(error.__cause__ or error)))
            broken.count_tried(len(part))
            if good:
                fill(start + np.array(good), part if len(good) == len(part) else [part[slot] for slot in good])
            bar.advance(by=len(part))
    for place, _, _ in lost:  # another image, but the views of its place
        fill(np.array([place]), source.read_each(np.array([_next_good(place, count, broken)]), side))
    return lost


def _next_good(place: int, count: int, broken: BrokenImages) -> int:
    """The image that takes a broken one's place in ordinary training: the next that is not, the first following the
    last."""
    return next(found for step in range(count) if (found := (place + step) % count) not in broken)


def _room(shape: tuple[int, ...], run: RunFolder | None, memory: Any) -> np.ndarray | FeatureFile:
    """A place for the features: a file in a run folder, else memory, as much as there is."""
    size = 4 * int(np.prod(shape, dtype=np.int64))
    what = f"features of {shape[1] * shape[2]} views of {shape[0]} images take {memory_text(size)}"
    if run is not None:
        remove_features(run)
        free = shutil.disk_usage(run.path).free
        if size > free:
            raise FileError(f"{run.path}: {what}, its disk has {memory_text(free)} left: choose fewer feature_views")
        return FeatureFile(run.path / _VALUES, shape, made=True)
    room = available_memory() * _OF_FREE
    if memory is not None:
        room = min(room, parse_memory(memory) - resident_memory())
    if size > room:
        raise OutOfMemoryError(
            f"{what}, and {memory_text(max(0, room))} may be used: choose fewer feature_views, or a run_dir, in which "
            "they are kept in a file"
        )
    return np.empty(shape, np.float32)


def _key(trainer: Trainer, source: ImageSource, specs: list[ViewSpec], seed: int) -> str | None:
    """Text that changes with whatever the features depend on; None where that cannot be told."""
    import hashlib  # which loads OpenSSL

    images = source.fingerprint()
    if images is None:
        return None
    digest = hashlib.sha256(json.dumps([images, specs, seed, trainer.config.pool]).encode("utf-8", "backslashreplace"))
    for name, tensor in trainer.state_dict().items():
        if name.startswith("encoder."):
            digest.update(name.encode())
            digest.update(tensor.tobytes())
    return digest.hexdigest()


def _kept(
    folder: Path, key: str, shape: tuple[int, ...], source: ImageSource, broken: BrokenImages
) -> FeatureFile | None:
    """What an interrupted run has left, if it is of the same images, encoder and views."""
    try:
        kept = parse_json(read_text(folder / _KEY))
        if kept["key"] != key or tuple(kept["shape"]) != shape:
            return None
        values = FeatureFile(folder / _VALUES, shape)
        lost = [(int(place), str(name), str(reason)) for place, name, reason in kept["broken"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for place, name, reason in lost:
        broken.add(place, name, FileError(reason))
    return values
