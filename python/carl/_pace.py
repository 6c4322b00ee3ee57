"""Decides, late in a run with a time budget, how many steps it takes, from the speed measured until then.

The speed of a shared machine is not known beforehand. So the learning rate stays constant for the first part of the
time, which no later decision changes (the schedule "trapezoid"). Then it decays in stages, each by an equal
share: at the start of a stage, the numbers of steps of it and of the following ones are decided again from the time
that is left. Only the error in the speed of the last stage remains at the end. The result is a list of numbers of
steps, `decay_steps`, and their end, `total_steps`: with these in the configuration the run can be repeated without a
clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Share of the budget after which the learning rate begins to fall.
DECAY_AT = 0.65
#: Stages of its decay: each lasts 6% of the budget, so a machine that becomes half as fast in the last one overruns by
#: 6%.
STAGES = 6
#: Share of the budget with small views, where a run has them: about 0.65 of its steps, as in a run without a budget.
EARLY_UNTIL = 0.5
#: Share of the budget over whose last part the speed is measured.
_WINDOW = 0.12


class Pace:
    """The clock of one run.

    seconds: the budget. started: when it began, on `clock`. spent: seconds of it that were used before, by what is
        resumed.
    step_seconds: what a step takes, as far as known. early: as long as views are small, the share that such a step
        takes of one with views of the full size. total_steps, decay_steps: what was decided before, by what is
        resumed.
    """

    def __init__(
        self,
        seconds: float,
        started: float,
        *,
        spent: float = 0.0,
        step_seconds: float | None = None,
        early: float | None = None,
        total_steps: int | None = None,
        decay_steps: int | list[int] | None = None,
        chosen: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds, self._clock = seconds, clock
        self._started = started - spent
        self._deadline = self._started + seconds
        self.step_seconds, self.early = step_seconds, early
        self.total_steps = total_steps
        self.decay = [decay_steps] if isinstance(decay_steps, int) else list(decay_steps or [])
        self._chosen = dict(chosen or {})
        self._aside = 0.0
        self._means: dict[str, tuple[float, int]] = {}
        #: After each of the latest steps: the time, the step, and the seconds waited for images until then.
        self._recent: deque[tuple[float, int, float]] = deque()
        self._waited = 0.0
        self._upcoming: Callable[[int, int], Mapping[str, int]] = lambda first, last: {}
        #: Of `step_seconds`, those in which a step waits for its images.
        self._wait = 0.0
        self._all_read: int | None = None
        self._kept: Callable[[], float] = lambda: 0.0

    def begin(
        self,
        step: int,
        upcoming: Callable[[int, int], Mapping[str, int]],
        all_read: int | None = None,
        kept: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Before the first step. upcoming: how often each kind of work ``aside`` is done after steps first < s <= last.
        all_read: the step after which every image has been read once; None where that changes nothing. kept: the share,
        0 .. 1, of the images read so far that will not be waited for again."""
        self._upcoming, self._all_read, self._kept = upcoming, all_read, kept
        self._begin_window(step, self._clock())

    def _begin_window(self, step: int, now: float) -> None:
        self._recent = deque([(now - self._aside, step, self._waited)])

    @contextmanager
    def aside(self, kind: str) -> Iterator[None]:
        """A context for work between steps, timed by kind: a checkpoint ("save"), an evaluation."""
        start = self._clock()
        try:
            yield
        finally:
            took = self._clock() - start
            self._aside += took
            seconds, count = self._means.get(kind, (0.0, 0))
            self._means[kind] = seconds + took, count + 1

    def after_step(self, step: int, waited: float = 0.0) -> dict[str, Any] | None:
        """The configuration's changes, where it is time to decide. waited: seconds before the step for its images."""
        now = self._clock()
        self._waited += waited
        self._recent.append((now - self._aside, step, self._waited))
        while len(self._recent) > 8 and self._recent[-1][0] - self._recent[1][0] > _WINDOW * self.seconds:
            self._recent.popleft()
        (first, before, waited_before), (last, after, waited_after) = self._recent[0], self._recent[-1]
        if after > before:
            self.step_seconds = (last - first) / (after - before)
            self._wait = (waited_after - waited_before) / (after - before)
        changes: dict[str, Any] = {}
        if self._all_read is not None and step >= self._all_read:
            self._end_reading(step, now)
        if self.early is not None and now - self._started >= EARLY_UNTIL * self.seconds:
            changes = self._end_early(step, now)
        if self._is_due(step, now):
            changes |= self._decide(step, now)
        return changes or None

    def estimate(self, step: int) -> int | None:
        """The expected number of steps."""
        if self.total_steps is not None:
            return self.total_steps
        if self.step_seconds is None:
            return None
        now = self._clock()
        left = self._left(now)
        if self.early is not None:  # as many steps of the full size as take the time of all that are left
            small = max(0.0, self._started + EARLY_UNTIL * self.seconds - now)
            left = (small + (left - small) * self.early) if left > small else left
        return step + self._steps_within(left, step)

    def spent(self) -> float:
        return self._clock() - self._started

    def to_notes(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "spent": self.spent(),
            "step_seconds": self.step_seconds,
            "early": self.early,
            "chosen": self._chosen,
        }

    def _is_due(self, step: int, now: float) -> bool:
        if self.total_steps is None:
            return now - self._started >= DECAY_AT * self.seconds
        return step in self._ends()[:-1]

    def _ends(self) -> list[int]:
        """The last step of each stage."""
        end = (self.total_steps or 0) - sum(self.decay)
        return [end := end + steps for steps in self.decay]

    def _end_early(self, step: int, now: float) -> dict[str, Any]:
        """Views have their full size from here on, and steps another speed."""
        if self.step_seconds is not None and self.early:
            self.step_seconds = (self.step_seconds - self._wait) / self.early + self._wait
        self.early = None
        self._begin_window(step, now)
        return {"early_steps": step}

    def _end_reading(self, step: int, now: float) -> None:
        """From here on, images that are kept are not waited for."""
        spared = self._wait * self._kept()
        if self.step_seconds is not None:
            self.step_seconds -= spared
        self._wait -= spared
        self._all_read = None
        self._begin_window(step, now)

    def _decide(self, step: int, now: float) -> dict[str, Any]:
        walked = 0 if self.total_steps is None else self._ends().index(step) + 1
        stages = len(self.decay) or STAGES
        seconds = self._left(now) - (stages - walked) * self._mean("decision")
        steps = self._steps_within(seconds, step)
        if self.total_steps is None:
            stages = min(stages, max(1, steps))
        left = stages - walked
        steps = max(steps, left)
        parts = [steps * (part + 1) // left - steps * part // left for part in range(left)]
        self.decay = self.decay[:walked] + parts
        self.total_steps = step + steps
        return {"total_steps": self.total_steps, "decay_steps": self.decay if len(self.decay) > 1 else self.decay[0]}

    def _left(self, now: float) -> float:
        """Seconds for steps: until the end, less what follows the last one."""
        save = self._mean("save") or self._mean("decision")
        return self._deadline - now - self._mean("evaluation") - self._mean("usage") - 2 * save

    def _mean(self, kind: str) -> float:
        seconds, count = self._means.get(kind, (0.0, 0))
        return seconds / count if count else 0.0

    def _steps_within(self, seconds: float, step: int) -> int:
        """The most steps, with what comes between them, that take no longer."""
        each = self.step_seconds or 0.0
        if seconds <= 0 or each <= 0:
            return 0
        spared = 0.0 if self._all_read is None else self._wait * self._kept()
        # Of the smallest share that a step can take, so that the search has an end.
        low, high = 0, int(min(seconds / max(each - spared, each * 1e-3), 2**31 - 1 - step))
        while low < high:
            middle = (low + high + 1) // 2
            between = sum(count * self._mean(kind) for kind, count in self._upcoming(step, step + middle).items())
            reading = middle if self._all_read is None else min(middle, max(0, self._all_read - step))
            took = middle * (each - spared) + reading * spared + between
            low, high = (middle, high) if took <= seconds else (low, middle - 1)
        return low
