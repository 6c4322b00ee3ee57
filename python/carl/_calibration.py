"""Chooses a setting for a time budget or a memory limit by timing steps of throwaway trainers on the images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._early_views import UNDECIDED, early_size
from ._encoder_cost import image_cost
from ._memory import available_memory, resident_memory
from ._pace import EARLY_UNTIL
from ._position import steps_per_epoch
from ._resolved import default_encoder
from .budget import (
    PASSES,
    PRESENTATIONS,
    Given,
    Setting,
    best_batch,
    best_rung,
    by_memory,
    check_steps,
    duration_text,
    enough,
    fitting,
    memory_text,
    parse_duration,
    parse_memory,
    rungs,
)
from .config import TrainerConfig, ViewSpec
from .errors import InvalidArgumentError
from .sources import BatchStream, ImageSource
from .sources.broken import BrokenImages, read_batch
from .sources.kept import room_for_images
from .sources.loader import batch_places, bytes_ahead
from .trainer import Trainer
from .view_specs import expand_views, least_side

#: Share of the budget that timing one setting takes; three at most are timed.
_SHARE = 0.012
#: Images of a timed step, at most and at least: fewer where a step would take too long.
_IMAGES, _LEAST_IMAGES = 64, 8
#: Batches that are read for it at most.
_BATCHES = 4
#: Steps that are timed, at least and at most.
_FEWEST, _MOST = 3, 20
#: Share of an image's time in training from which on the time to read it is told.
_SLOW = 0.1
#: Share of the machine's free memory that is used, since other processes need some; and a margin on the estimate.
_OF_FREE, _MARGIN = 0.8, 1.1


@dataclass(frozen=True)
class Measured:
    """seconds: of training per image with views of the full size. fixed, each: bytes of a trainer, and per image of a
    batch. early: the share of that time which an image takes with the first steps' small views, and early_size their
    size; None where there are none. reading, size: seconds in which an image is read, with the processors to itself,
    and its bytes."""

    seconds: float
    fixed: float
    each: float
    early: float | None = None
    early_size: int | None = None
    reading: float = 0.0
    size: float = 1.0

    @property
    def mean_seconds(self) -> float:
        """Per image, over a run that has small views for the share `EARLY_UNTIL` of its time."""
        return self.seconds if self.early is None else self.seconds / (EARLY_UNTIL / self.early + 1 - EARLY_UNTIL)


@dataclass(frozen=True)
class Plan:
    """What was chosen. changes: keys of the configuration. lines: what to tell the user. epochs, steps: estimates; None
    without a budget, as are step_seconds (with views of the full size) and early (as in ``Measured``)."""

    setting: Setting
    changes: dict[str, Any]
    lines: list[str]
    epochs: int | None = None
    steps: int | None = None
    step_seconds: float | None = None
    early: float | None = None
    #: Bytes that a limit of memory leaves for images that are kept; None without a limit.
    spare: float | None = None


def work_of(config: TrainerConfig, specs: list[ViewSpec]) -> float:
    """Estimated work of all views of an image."""
    encoder, channels = config.encoder or default_encoder(config.objective), config.in_channels or 3
    return image_cost(encoder, config.stem, config.width or 1.0, channels, specs, config.patch_size).work


class Calibration:
    """Measures the time and memory of settings on the images of a source.

    base: the configuration that a setting is put into. seconds: how long to time a setting. room: bytes that images
    may fill which are kept once they are read. limit: bytes that the process may hold, None for what the machine has.
    """

    def __init__(
        self,
        source: ImageSource | BatchStream,
        base: TrainerConfig,
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
        room: float = 0.0,
        limit: int | None = None,
    ) -> None:
        self._source, self._seconds, self._clock = source, seconds, clock
        self._base, self._room, self._limit = base, room, limit
        self._known: dict[tuple[int | None, float, bool], Measured] = {}

    def config(self, setting: Setting) -> TrainerConfig:
        return self._base.replace(**changes_of(setting))

    def work(self, rung: tuple[int | None, float]) -> float:
        """Estimated work per image at a setting, to which its time is about proportional."""
        config = self.config(Setting(*rung, batch_size=2))
        return work_of(config, self._specs(config))

    def seconds_an_image(self, rung: tuple[int | None, float]) -> float:
        """Of training, in the mean over a run: as measured, or else scaled from the measured setting that is nearest in
        work."""
        nearest, measured = self._nearest(rung)
        return measured.mean_seconds * self.work(rung) / self.work(nearest)

    def images(self, rung: tuple[int | None, float], seconds: float) -> float:
        """How many images a run at a setting goes through in `seconds`, repetitions counted, at the speed of
        `seconds_an_image` and what it takes to read them: each the first time, later those that are not kept."""
        each, measured = self.seconds_an_image(rung), self._nearest(rung)[1]
        first = each + measured.reading
        if isinstance(self._source, BatchStream) or seconds <= first * len(self._source):
            return seconds / first
        count = len(self._source)
        share = min(1.0, self._room / (count * measured.size)) if self._source.decodes else 0.0
        return count + (seconds - first * count) / (each + (1 - share) * measured.reading)

    def _nearest(self, rung: tuple[int | None, float]) -> tuple[tuple[int | None, float], Measured]:
        """The measured setting that is nearest in work; those with recompute only where there are no others."""
        work = self.work(rung)
        known = {key[:2]: value for key, value in self._known.items() if not key[2]} or {
            key[:2]: value for key, value in self._known.items()
        }
        if rung in known:
            return rung, known[rung]
        nearest = min(known, key=lambda other: abs(math.log(self.work(other) / work)))
        return nearest, known[nearest]

    def is_measured(self, setting: Setting) -> bool:
        return (*setting.rung, setting.recompute) in self._known

    def measure(self, setting: Setting) -> Measured:
        """Takes steps at a setting; what is known is not measured again."""
        key = (*setting.rung, setting.recompute)
        if key not in self._known:
            expected = self.seconds_an_image(setting.rung) if self._known else 0.0
            images = int(self._seconds / (2 * _FEWEST * expected)) if expected else _IMAGES // 2
            images = max(_LEAST_IMAGES, min(_IMAGES, images))
            if not isinstance(self._source, BatchStream):
                images = min(images, len(self._source))
            self._known[key] = self._measured(setting, max(2, min(images, setting.batch_size)))
        return self._known[key]

    def _measured(self, setting: Setting, count: int) -> Measured:
        config = self.config(setting)
        batches, reading = self._read(count, least_side(self._specs(config)), int(config.seed or 0))
        size = early_size(config)
        early_steps = 0 if size is None else 3 + _FEWEST
        # More steps are measured than a short run has.
        total = None if config.total_steps is None else config.total_steps + early_steps + _MOST
        changes = {"batch_size": count, "early_view_size": size, "early_steps": early_steps, "total_steps": total}
        with Trainer(config.replace(**changes)) as trainer:
            count = self._fewer(trainer, batches[0], 1.0 if size is None else ((config.view_size or size) / size) ** 2)
            batches = [batch[:count] for batch in batches]
            images, few = batches[0], max(2, count // 2)
            ends = []
            for step in range(max(0, early_steps - 2)):  # the first is not timed: code is read, memory allocated
                trainer.step(batches[step % len(batches)])
                ends.append(self._clock())
            small = trainer.step(images[:few])
            large = trainer.step(images)
            times: list[float] = []
            before = start = self._clock()
            while len(times) < _MOST and (len(times) < _FEWEST or before - start < self._seconds):
                trainer.step(batches[len(times) % len(batches)])
                now = self._clock()
                times.append((now - before) / count)
                before = now
            more = len(images) - few
            each = max(0.0, (large.memory_bytes - small.memory_bytes) / more) if more else large.memory_bytes / few
            # Parameters, their gradients and moments, and the copy that is made when the number of steps is decided.
            parameters = sum(info.count for info in trainer._tensors().values()) * 4
            fixed = max(0.0, large.memory_bytes - each * len(images)) + 6 * parameters
        seconds = float(np.median(times))
        share = None
        if size is not None and seconds > 0:
            share = min(1.0, float(np.median(np.diff(ends))) / count / seconds)
        pixels = sum(np.asarray(image).nbytes for image in images) / len(images)
        return Measured(seconds, fixed, each, share, None if share is None else size, reading, max(1.0, pixels))

    def _fewer(self, trainer: Trainer, images: Any, growth: float) -> int:
        """How many of the images a step may have within the memory, at least 2: by what steps of 2 and of 4 of them
        take, whose views have a share of the later ones' pixels (1 / growth)."""
        two, four = (trainer.step(images[:count]).memory_bytes for count in (2, min(4, len(images))))
        if len(images) < 4:
            return len(images)
        each = growth * max(0.0, (four - two) / 2)
        room = available_memory() * _OF_FREE
        if self._limit is not None:
            room = min(room, self._limit - resident_memory())
        fits = (room + four) / _MARGIN - max(0.0, growth * two - 2 * each)
        return max(2, min(len(images), int(fits / each))) if each else len(images)

    def _read(self, count: int, side: int, seed: int) -> tuple[list[Any], float]:
        """Some batches as training reads them, and the seconds that an image took; of a stream, which is read by
        others, 0."""
        source = self._source
        if isinstance(source, BatchStream):
            images = list(source.probe(count, side))
            return [(images * -(-count // len(images)))[:count]], 0.0
        if self._limit is not None and (need := source.decoding_bytes(side)) > self._limit - resident_memory():
            raise InvalidArgumentError(
                f"memory: got {memory_text(self._limit)}, but decoding the largest images takes {memory_text(need)} "
                f"beside {memory_text(resident_memory())} that the process holds: want more, or smaller images"
            )
        broken = BrokenImages(len(source), max_broken=1)
        places = batch_places(len(source), count, seed, 0, 2**20, 0)
        batches: list[Any] = []
        start = self._clock()
        while len(batches) < _BATCHES and (not batches or self._clock() - start < self._seconds):
            batches.append(read_batch(source, next(places), broken, side))
        return batches, (self._clock() - start) / (count * len(batches))

    def need(self, setting: Setting) -> float:
        """Bytes that training at a setting takes."""
        measured = self.measure(setting)
        reading, ahead = bytes_ahead(self._source, measured.size, least_side(self._specs(self.config(setting))))
        return _MARGIN * (measured.fixed + reading + setting.batch_size * (measured.each + ahead))

    def _specs(self, config: TrainerConfig) -> list[dict[str, Any]]:
        return expand_views(config.views or "auto", config.in_channels or 3, config.view_size)


def changes_of(setting: Setting) -> dict[str, Any]:
    changes: dict[str, Any] = {"width": setting.width, "batch_size": setting.batch_size, "recompute": setting.recompute}
    if setting.view_size is not None:
        changes["view_size"] = setting.view_size
    return changes


def make_plan(
    source: ImageSource | BatchStream,
    base: TrainerConfig,
    given: Given,
    side: int,
    budget: Any,
    memory: Any,
    started: float,
    standard: Setting,
    calibration: Calibration | None = None,
    clock: Callable[[], float] = time.perf_counter,
    keep_images: bool = True,
) -> Plan:
    """Chooses a setting. base: the configuration so far. given: what the caller fixed. side: of the images.
    started: when the budget began, on `clock`. standard: what is used where there is no budget, only a limit of memory.
    keep_images: images that are decoded will be kept in memory.
    """
    seconds = None if budget is None else parse_duration(budget)
    limit = None if memory is None else parse_memory(memory)
    count = None if isinstance(source, BatchStream) else len(source)
    if calibration is None:
        # Of a limit, about as much is left as training takes.
        kept = room_for_images(None if limit is None else (limit - resident_memory()) / 2) if keep_images else 0
        calibration = Calibration(source, base, _SHARE * (seconds or 10.0), clock, kept, limit)
    pairs = rungs(side, given)
    if seconds is None:
        pairs = [
            standard.rung,
            *(pair for pair in pairs if pair[1] == standard.width and (pair[0] or 0) < (standard.view_size or 0)),
        ]
        chosen = standard
    else:
        chosen = _by_time(calibration, pairs, given, seconds - (clock() - started), count)
    held = resident_memory()
    free = available_memory() * _OF_FREE
    room = free if limit is None else min(free, limit - held)
    wanted = chosen
    chosen = fitting(by_memory(chosen, pairs, given), calibration.need, room, limit, held)
    spare = None if limit is None else max(0.0, room - calibration.need(chosen))
    lines = []
    reduced = chosen != wanted
    if count is not None:
        chosen = replace(chosen, batch_size=min(chosen.batch_size, count))
    if reduced:
        lines.append(
            f"memory: {wanted.describe()} takes {memory_text(calibration.need(wanted))}, {memory_text(max(0, room))} "
            "are there"
        )
    if seconds is None:
        if reduced:
            lines.append(f"chosen: {chosen.describe()}, {memory_text(calibration.need(chosen))}")
        return Plan(chosen, changes_of(chosen), lines, spare=spare)
    size = chosen.batch_size
    measured = calibration.measure(chosen)
    each = measured.mean_seconds
    left = seconds - (clock() - started)
    check_steps(seconds, left, (each + measured.reading) * size)
    images = calibration.images(chosen.rung, left)
    per_epoch = steps_per_epoch(source, size)
    epochs = max(1, math.ceil(images / size / per_epoch)) if per_epoch else None
    reads = f" ({1 / (each + measured.reading):.0f} read from files)" if measured.reading > _SLOW * each else ""
    lines += [
        f"budget of {duration_text(seconds)}: {chosen.describe()}",
        f"measured: {1 / each:.0f} images/s{reads}, so about {_round(images)} images"
        + (f", {epochs} epochs" + (f" of {count}" if count is not None else "") if epochs else "")
        + f"; {memory_text(calibration.need(chosen))} of memory",
        "why: the first that fits into the memory" if reduced else _reason(pairs, chosen, images, count),
    ]
    changes = changes_of(chosen)
    if measured.early_size is not None:
        lines.append(
            f"small views first: {measured.early_size} pixels for {EARLY_UNTIL:.0%} of the time, "
            f"{measured.early:.0%} of a full step each"
        )
        changes |= {"early_view_size": measured.early_size, "early_steps": UNDECIDED}
    steps = int(images / size)
    step_seconds = (measured.seconds + measured.reading) * size
    return Plan(chosen, changes, lines, epochs or 1_000_000, steps, step_seconds, measured.early, spare)


def _by_time(calibration: Calibration, pairs: list[Any], given: Given, seconds: float, count: int | None) -> Setting:
    """The setting for a budget of `seconds`. What is chosen by estimate is measured, and the choice corrected, once."""

    def images(pair: tuple[int | None, float]) -> float:
        return calibration.images(pair, seconds)

    def setting(pair: tuple[int | None, float]) -> Setting:
        batch = best_batch(given, images(pair), count)
        return Setting(*pair, batch, bool(given.recompute))

    first = min(pairs, key=calibration.work)
    calibration.measure(Setting(first[0], first[1], given.batch_size or _IMAGES, bool(given.recompute)))
    for _ in range(2):
        chosen = setting(best_rung(pairs, images, count))
        if calibration.is_measured(chosen):
            break
        calibration.measure(chosen)
    # Of two that were measured, the later may have turned out too slow.
    measured = [pair for pair in pairs if calibration.is_measured(setting(pair))]
    return setting(best_rung(measured, images, count))


def _reason(pairs: list[Any], chosen: Setting, images: float, count: int | None) -> str:
    if len(pairs) == 1:
        return "why: width and views are given"
    need = enough(count)
    rule = f"{_round(need)} images" + (f" ({PASSES} passes)" if need < PRESENTATIONS else "")
    if images >= need:
        best = "the best of all" if chosen.rung == pairs[0] else "the largest views and network"
        return f"why: {best} that go through at least {rule} in the time"
    return f"why: no setting goes through {rule} in the time; this is the fastest"


def _round(number: float) -> str:
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number / 10**digits) * 10**digits:,}"


def refuse_conflicts(params: dict[str, Any], source: ImageSource | BatchStream) -> None:
    """InvalidArgumentError for parameters that contradict a budget."""
    for key in ("epochs", "total_steps", "decay_steps", "early_steps"):
        if params[key] is not None and (key, params[key]) != ("early_steps", 0):
            raise InvalidArgumentError(
                f"{key}: got {params[key]!r} and budget={params['budget']!r}: a budget chooses the length of the run "
                "itself; leave one out"
            )
    if params["schedule"] not in (None, "trapezoid"):
        raise InvalidArgumentError(
            f"schedule: got {params['schedule']!r} and budget={params['budget']!r}: a run with a budget learns its "
            "length late, which "
            '"trapezoid" alone allows'
        )
    if isinstance(source, BatchStream) and source.once:
        raise InvalidArgumentError(
            "budget: wants images that can be gone through again; the iterator ends with its first pass"
        )
