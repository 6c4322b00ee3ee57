"""What a run is told to be before its first step: its images, views, network and steps, and the time and memory that
these will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._calibration import work_of
from ._early_views import UNDECIDED, early_specs, early_steps_left
from ._input import channels_of, samples_of, typical_side
from ._memory import available_memory
from ._position import own_batch_size
from .budget import Given, duration_text, memory_text, rungs
from .config import TrainerConfig
from .errors import CARLError
from .sources import BatchStream, ImageSource
from .sources.loader import bytes_ahead
from .sources.order import evenly_spaced
from .trainer import Trainer
from .view_specs import expand_views, least_side

#: Images of the two timed steps, and whose decoding is timed.
_FEW, _MORE, _READ = 2, 8, 16
#: Steps that are taken for it at most.
_STEPS = 5
#: Seconds from which on a smaller setting is named.
LONG = 3600.0


@dataclass(frozen=True)
class Estimate:
    """fixed, each: seconds of a step, and per image of it. memory, memory_each: bytes, of them per image of a batch.
    early: the share of a step's time that one with the first steps' small views takes. reading: seconds in which an
    image is decoded."""

    fixed: float
    each: float
    memory: float
    memory_each: float
    early: float = 1.0
    reading: float = 0.0

    def step(self, batch_size: int) -> float:
        return self.fixed + self.each * batch_size

    def bytes(self, batch_size: int) -> float:
        return self.memory + self.memory_each * batch_size


def describe_run(
    source: ImageSource | BatchStream,
    config: TrainerConfig,
    batch_size: int,
    steps: int | None,
    epochs: int | None,
    taken: int = 0,
) -> str:
    """Images, channels, views, network and steps, on one line. steps: still to be taken, None where that is not known.
    epochs: None where a budget decides. taken: steps behind it."""
    count = samples_of(source)
    specs = expand_views(config.views, config.in_channels or 3, config.view_size)
    views = " and ".join(f"{spec['count']} of {spec['size']} pixels" for spec in specs)
    early = early_steps_left(config, taken)
    if early > 0:
        small = " and ".join(str(spec["size"]) for spec in early_specs(config))
        views += (
            f" ({small} at first)" if config.early_steps == UNDECIDED else f" ({small} in the first {early:,} steps)"
        )
    channels = config.in_channels or channels_of(source)
    length = f"{steps:,} steps of {batch_size} images" if steps is not None else f"{batch_size} images a step"
    return (
        (f"{count:,} images" if count is not None else source.describe())
        + f" of {channels} channel{'s' if channels != 1 else ''}; views: {views}; "
        f"{config.encoder}, width {config.width or 1:g}, {config.prototypes} prototypes; {length}"
        + (f", {epochs} epoch{'s' if epochs != 1 else ''}" if epochs is not None else "")
    )


def measure(source: ImageSource | BatchStream, config: TrainerConfig) -> Estimate | None:
    """Times two small steps of a throwaway trainer on some images; None where that cannot be done: too few can be
    read, or there is no memory for a second trainer. An estimate is not worth an error."""
    try:
        images = _some_images(source, config, _MORE)
        if len(images) < _FEW:
            return None
        return replace(_measured(source, config, images), reading=_reading(source, config))
    except (CARLError, OSError, MemoryError):
        return None


def _measured(source: ImageSource | BatchStream, config: TrainerConfig, images: list[Any]) -> Estimate:
    early = 2 if early_steps_left(config, 0) else 0
    # A run of fewer steps than these would warn that nothing is learnt behind its end.
    total = None if config.total_steps is None else max(config.total_steps, _STEPS)
    with Trainer(config.replace(batch_size=len(images), early_steps=early, total_steps=total)) as trainer:
        small = 0.0
        for count in (_FEW, len(images))[:early]:
            start = time.perf_counter()
            trainer.step(images[:count])
            small = time.perf_counter() - start
        trainer.step(images[:_FEW])  # memory is allocated, code is read
        seconds, sizes = [], []
        for count in (_FEW, len(images)):
            start = time.perf_counter()
            sizes.append(trainer.step(images[:count]).memory_bytes)
            seconds.append(time.perf_counter() - start)
        parameters = sum(info.count for info in trainer._tensors().values()) * 4
    more = max(1, len(images) - _FEW)
    # Small differences of small times are mostly noise: at least half of the time goes with the images.
    each = min(seconds[1] / len(images), max((seconds[1] - seconds[0]) / more, seconds[1] / len(images) / 2))
    memory_each = max(0.0, (sizes[1] - sizes[0]) / more)
    size = sum(np.asarray(image).nbytes for image in images) / len(images)
    reading, ahead = bytes_ahead(source, size, _least_side(config))
    return Estimate(
        max(0.0, seconds[1] - each * len(images)),
        each,
        max(0.0, sizes[1] - memory_each * len(images)) + 3 * parameters + reading,
        memory_each + ahead,
        min(1.0, small / seconds[1]) if early else 1.0,
    )


def full_steps(config: TrainerConfig, taken: int, left: int | None, share: float) -> int | None:
    """The steps with views of the full size that take the time of the `left` steps after the first `taken`. share: of a
    step's time that one with small views takes."""
    early = early_steps_left(config, taken)
    if left is None or early == 0:
        return left
    return max(1, round(left - min(early, left) * (1 - share)))


def _reading(source: ImageSource | BatchStream, config: TrainerConfig) -> float:
    """Seconds in which an image is decoded, where some were before; 0 for images that need no decoding."""
    if isinstance(source, BatchStream) or not source.decodes:
        return 0.0
    start = time.perf_counter()
    images = _some_images(source, config, _READ)
    return (time.perf_counter() - start) / max(1, len(images))


def _some_images(source: ImageSource | BatchStream, config: TrainerConfig, count: int) -> list[Any]:
    if isinstance(source, BatchStream):
        return list(source.probe(count, _least_side(config)))
    found: Any = source.read_each(evenly_spaced(len(source), count), _least_side(config))
    return [image for image in found if not isinstance(image, BaseException)]


def _least_side(config: TrainerConfig) -> int:
    return least_side(expand_views(config.views, config.in_channels or 3, config.view_size))


def hints(
    source: ImageSource | BatchStream,
    config: TrainerConfig,
    batch_size: int,
    steps: int | None,
    estimate: Estimate,
    fixed: bool = False,
) -> list[str]:
    """A smaller setting, where the run takes more than an hour, or more memory than is free. fixed: the network has one
    width, and its views their size."""
    found = []
    seconds = 0.0 if steps is None else steps * estimate.step(batch_size)
    if steps is not None and seconds > LONG:
        chooses = "epochs" if fixed else "sizes and epochs"
        found.append(f"shorter: {_faster(source, config, seconds, fixed)}; or budget=1h, which chooses {chooses}")
    free = available_memory()
    if estimate.bytes(batch_size) > free:
        fits = batch_size
        while fits > _FEW and estimate.bytes(fits) > free:
            fits //= 2
        smaller = f"batch_size={fits} takes" if own_batch_size(source) is None else f"batches of {fits} images take"
        less = f"{smaller} {memory_text(estimate.bytes(fits))}, " if fits < batch_size else ""
        recompute = "" if config.drop_path else "recompute=true takes less too"
        ways = f"{less}{recompute}".removesuffix(", ") or "smaller views take less"
        found.append(f"more memory than the {memory_text(free)} that are free: {ways}")
    return found


def _faster(source: ImageSource | BatchStream, config: TrainerConfig, seconds: float, fixed: bool) -> str:
    """The best sizes that stay within the hour, by the cost of the network relative to the present one's, else the
    smallest; fewer epochs where sizes are fixed."""
    epochs = f"epochs={max(1, int((config.epochs or 100) * LONG / seconds))}"
    if fixed:
        return epochs
    own = not isinstance(config.views, str) and config.views is not None

    def work(size: int | None, width: float) -> float:
        views = config.views or "auto"
        specs = expand_views(views, config.in_channels or 3, size if isinstance(views, str) else None)
        return work_of(config.replace(width=width), specs)

    now = work(config.view_size, config.width or 1.0)
    pairs = rungs(min(typical_side(source), config.view_size or 224), Given(own_views=own))
    smaller = [pair for pair in pairs if pair[1] <= (config.width or 1.0) and work(*pair) < now]
    if not smaller:
        return epochs
    within = [pair for pair in smaller if seconds * work(*pair) / now <= LONG]
    size, width = within[0] if within else min(smaller, key=lambda pair: work(*pair))
    sizes = ([f"view_size={size}"] if size not in (None, config.view_size) else []) + [f"width={width:g}"]
    return f"{' '.join(sizes)}, about {duration_text(_rounded(seconds * work(size, width) / now))}"


def length_of(batch_size: int, steps: int | None, estimate: Estimate, reads: int = 0) -> str:
    """About how long, with so many images decoded, and how much memory."""
    memory = f"{memory_text(estimate.bytes(batch_size))} of memory"
    if steps is None:
        return f"about {estimate.step(batch_size):.2g} s a step, {memory}"
    return f"about {duration_text(_rounded(steps * estimate.step(batch_size) + reads * estimate.reading))}, {memory}"


def _rounded(seconds: float) -> float:
    """No more digits than an estimate is worth."""
    unit = 1 if seconds < 120 else 60 if seconds < 7200 else 600
    return max(unit, round(seconds / unit) * unit)
