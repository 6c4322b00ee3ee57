"""Parsing of time budgets and memory limits, and the rule by which sizes are chosen for them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .errors import InvalidArgumentError, OutOfMemoryError

# ---- Text

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?")
#: The longest budget: three years, in seconds.
_LONGEST = 1e8


def parse_duration(value: Any, name: str = "budget") -> float:
    """Seconds, above 0, from a number of them or from text such as "90s", "20m", "1h", "1h30m" or "1.5h"."""
    wanted = 'a time such as "90s", "20m", "1h30m" or "1.5h", or a number of seconds'
    seconds = _number(value)
    if seconds is None and isinstance(value, str) and value.strip():
        found = _DURATION.fullmatch(value.strip().lower())
        if found:
            seconds = sum(float(part) * unit for part, unit in zip(found.groups("0"), (3600, 60, 1)))
    if seconds is None or not 0 < seconds <= _LONGEST:
        raise InvalidArgumentError(f"{name}: got {value!r}, want {wanted}, above 0 and at most {_LONGEST:.0f} s")
    return seconds


def parse_memory(value: Any, name: str = "memory") -> int:
    """Bytes, from a number of them or from text such as "4G" or "512M" (units of 1024)."""
    size = _number(value)
    if size is None and isinstance(value, str):
        found = _MEMORY.fullmatch(value.strip().upper())
        if found:
            size = float(found[1]) * 1024 ** " KMGT".index(found[2] or " ")
    if size is None or not 1 <= size < 2**63:
        raise InvalidArgumentError(
            f'{name}: got {value!r}, want an amount such as "4G" or "512M", or a number of bytes'
        )
    return int(size)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value) if re.fullmatch(r"\s*\d+(\.\d*)?(e\d+)?\s*", value) else None
        except OverflowError:
            return None
    if value is None or isinstance(value, (bool, complex)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def duration_text(seconds: float) -> str:
    """As a person would say it: 90 s, 20 min, 1 h 30 min."""
    seconds = round(seconds) if seconds >= 10 else round(seconds, 1)
    if seconds < 120:
        return f"{seconds:g} s"
    hours, rest = divmod(round(seconds), 3600)
    parts = [(hours, "h"), (rest // 60, "min"), (rest % 60, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def memory_text(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


# ---- The rule: every constant that decides is here

#: Views of these sizes by networks of these widths, the best first. Larger views show more of a photo and wider
#: networks learn more of it, but either only if there is time to go through the images often enough. Pixels come before
#: channels up to 160: below, photos lose the details that distinguish them, while quarter width still learns.
LADDER: tuple[tuple[int, float], ...] = (
    (224, 1.0),
    (160, 1.0),
    (224, 0.5),
    (160, 0.5),
    (128, 0.5),
    (96, 0.5),
    (128, 0.25),
    (96, 0.25),
    (64, 0.25),
    (48, 0.25),
    (32, 0.25),
)
#: Smaller images are not resized: only the width is chosen.
SMALL_SIDE = 64
WIDTHS = (1.0, 0.5, 0.25)
#: Training that a setting needs: passes over the images, or images in all if that is less. With less training, a
#: smaller network on smaller views learns more.
PASSES, PRESENTATIONS = 20, 300_000
#: Batch sizes, and the fewest steps of a run and of an epoch with a large one, which has better statistics (for the
#: prior, and for BatchNorm).
BATCHES, LEAST_STEPS, STEPS_AN_EPOCH = (128, 64), 1_000, 4
#: A budget for fewer steps is refused.
NO_TRAINING = 10


@dataclass(frozen=True)
class Setting:
    """A choice of sizes. view_size None: the views are specifications of the caller's, with their own sizes."""

    view_size: int | None
    width: float
    batch_size: int
    recompute: bool = False

    @property
    def rung(self) -> tuple[int | None, float]:
        return self.view_size, self.width

    def describe(self) -> str:
        views = "" if self.view_size is None else f"views of {self.view_size} pixels, "
        return f"{views}width {self.width:g}, {self.batch_size} images a step" + (
            ", recompute" if self.recompute else ""
        )


@dataclass(frozen=True)
class Given:
    """What the caller has fixed; None is to be chosen."""

    view_size: int | None = None
    width: float | None = None
    batch_size: int | None = None
    recompute: bool | None = None
    #: The views are a list of specifications.
    own_views: bool = False


def rungs(side: int, given: Given) -> list[tuple[int | None, float]]:
    """Pairs of view size and width for images of `side` pixels, the best first, as far as they are open."""
    if given.own_views or given.view_size is not None or side < SMALL_SIDE:
        size = None if given.own_views else given.view_size or side
        pairs: list[tuple[int | None, float]] = [(size, width) for width in WIDTHS]
    else:
        pairs = [(size, width) for size, width in LADDER if size <= side]
    if given.width is not None:
        pairs = [(size, given.width) for size, _ in pairs]
    return list(dict.fromkeys(pairs))


def enough(count: int | None) -> int:
    """Images to train on in all, repetitions counted, for a set of `count` images; None: of unknown size."""
    return PRESENTATIONS if count is None else min(PASSES * count, PRESENTATIONS)


def best_rung(
    pairs: Iterable[tuple[int | None, float]], images: Callable[[tuple[int | None, float]], float], count: int | None
) -> tuple[int | None, float]:
    """The first that goes through enough images, `images` of them in the time there is, else the fastest."""
    pairs = list(pairs)
    for pair in pairs:
        if images(pair) >= enough(count):
            return pair
    return max(pairs, key=images)


def best_batch(given: Given, presentations: float, count: int | None) -> int:
    """The largest batch size that leaves enough steps, else the smallest."""
    if given.batch_size is not None:
        return given.batch_size
    for size in BATCHES:
        if presentations >= size * LEAST_STEPS and (count is None or count >= size * STEPS_AN_EPOCH):
            return size
    return BATCHES[-1]


def by_memory(setting: Setting, pairs: list[tuple[int | None, float]], given: Given) -> list[Setting]:
    """The settings to try until one fits into memory, in order: smaller batches; then recompute, from the largest batch
    on; then the same with smaller views, and last with fewer channels, as far as each is open."""
    batches = [setting.batch_size]
    if given.batch_size is None:
        batches += [size for size in BATCHES if size < setting.batch_size]
    ways = [False, True] if given.recompute is None else [given.recompute]
    start = pairs.index(setting.rung)
    following = sorted(pairs[start + 1 :], key=lambda pair: (-pair[1], -(pair[0] or 0)))
    smaller = [pair for pair in following if pair[1] <= setting.width and (pair[0] or 0) <= (setting.view_size or 0)]
    return [
        replace(setting, view_size=size, width=width, batch_size=batch, recompute=way)
        for size, width in [setting.rung, *smaller]
        for way in ways
        for batch in batches
    ]


def fitting(
    settings: Iterable[Setting], need: Callable[[Setting], float], room: float, limit: int | None, held: float
) -> Setting:
    """The first setting that takes no more than `room` bytes beside the `held` ones; limit: the caller's memory, None
    for the machine's."""
    least, smallest = math.inf, None
    for setting in settings:
        size = need(setting)
        if size <= room:
            return setting
        if size < least:
            least, smallest = size, setting
    assert smallest is not None
    what = (
        f"the smallest setting ({smallest.describe()}) takes {memory_text(least)} beside the {memory_text(held)} "
        "that the process holds"
    )
    if limit is not None:
        raise InvalidArgumentError(
            f"memory: got {memory_text(limit)}, and {what}: want at least {memory_text(math.ceil(least + held))}"
        )
    raise OutOfMemoryError(f"{what}, and {memory_text(max(room, 0))} are free")


def check_steps(budget: float, seconds: float, seconds_a_step: float) -> None:
    """InvalidArgumentError for a budget in which `seconds` are left for training and too few steps are taken."""
    if seconds < NO_TRAINING * seconds_a_step:
        wanted = budget - seconds + NO_TRAINING * seconds_a_step
        raise InvalidArgumentError(
            f"budget: got {duration_text(budget)}, but a step takes {seconds_a_step:.2g} s here, and fewer than "
            f"{NO_TRAINING} steps are no training: want at least {duration_text(math.ceil(wanted))}"
        )
