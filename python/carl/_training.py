"""The loop of ``CARL.fit``: epochs over a source, with checkpoints, progress and callbacks."""

from __future__ import annotations

import time
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from ._diagnostics import AgreementWatch
from ._frozen import FrozenFeatures, FrozenReader, remove_features
from ._interrupt import shielded
from ._pace import Pace
from ._position import Position, steps_per_epoch
from ._pretrained import run_config
from ._schedule import Schedule
from ._signals import Stopping, say_on_stderr
from .callbacks import Callback, end_all
from .errors import CARLError, InvalidArgumentError, NotFiniteError, StopTraining, Terminated
from .metrics import Metrics
from .progress import Progress, describe, describe_evaluation
from .runs import RunFolder
from .sources import BatchStream, ImageSource
from .sources.broken import BrokenImages
from .sources.kept import KeptSource, first_pass
from .sources.loader import Batch, BatchReader, WaitClock
from .trainer import Trainer
from .usage import UsageRecorder, make_recorder

if TYPE_CHECKING:
    from .estimator import CARL
    from .evaluate.online import OnlineEvaluation


#: Broken images that warnings name, at most.
_WARNINGS = 5
#: Seconds between checkpoints at the ends of epochs, of a run on features that are computed already.
_SAVED = 10.0


class TrainingLoop:
    """Trains `model.trainer_` on `source` until `epochs` epochs or `last_step` steps are done, starting from
    `position`, which it keeps current. With a `pace`, until that has decided, by the time, what the last step is."""

    def __init__(
        self,
        model: CARL,
        source: ImageSource | BatchStream,
        position: Position,
        epochs: int,
        seed: int,
        run: RunFolder | None,
        callbacks: list[Callback],
        progress: bool,
        checkpoint_every: int | None,
        broken: BrokenImages,
        least_side: int | None,
        evaluation: OnlineEvaluation | None = None,
        schedule: Schedule | None = None,
        last_step: int | None = None,
        pace: Pace | None = None,
        frozen: FrozenFeatures | None = None,
    ) -> None:
        self._model, self._source, self._position, self._epochs, self._seed = model, source, position, epochs, seed
        self._run, self._callbacks, self._checkpoint_every = run, callbacks, checkpoint_every
        self._evaluation, self._schedule = evaluation, schedule or Schedule(None)
        self._evaluated: int | None = None
        self._judged: dict[str, float] | None = None
        self._trainer: Trainer = model.trainer_
        self._batch_size = position.batch_size
        per_epoch = steps_per_epoch(source, self._batch_size)
        self._per_epoch = per_epoch
        self._pace, self._last_step = pace, last_step
        total = None if per_epoch is None else per_epoch * epochs
        if last_step is not None:
            total = last_step if total is None else min(total, last_step)
        if pace is not None:
            total = pace.estimate(self._trainer.step_count)
        done = 0 if per_epoch is None else position.epoch * per_epoch + position.batch
        self._progress = Progress(progress, total, done)
        self._epoch_start = self._trainer.step_count - position.batch
        self._last: Metrics | None = None
        self._kept = self._begun = self._trainer.step_count
        self._total = total
        self._usage: UsageRecorder | None = None
        self._broken = broken
        self._frozen, self._saved = frozen, time.monotonic()
        self._reader = (
            BatchReader(source, position.batch_size, seed, position.epoch, position.batch, epochs, broken, least_side)
            if frozen is None
            else FrozenReader(frozen, position.batch_size, position.epoch, position.batch)
        )
        self._clock = WaitClock()
        self._warned = 0
        self._watch = AgreementWatch()

    def run(self) -> None:
        """Ends early on StopTraining. Ctrl-C, SIGTERM and errors leave a usable model, the first two a checkpoint where
        there is a run folder."""
        with Stopping(self._say_stopping) as stopping:
            self._run_until(stopping)

    def _say_stopping(self, cause: str) -> None:
        if self._progress.shown:
            say_on_stderr(
                f"carl: {cause}stopping" + ("; a checkpoint is written first" if self._run is not None else "")
            )

    def _run_until(self, stopping: Stopping) -> None:
        failed = True
        try:
            self._start()
            with self._reader:
                while self._position.epoch < self._epochs and not self._is_finished():
                    self._run_epoch()
            if self._position.batch == self._per_epoch:  # of a run that was stopped behind its last step
                self._end_epoch(None)
            self._record_usage(always=True)
            self._evaluate()
            self._save("finished")
            if self._run is not None:
                remove_features(self._run)
            failed = False
        except StopTraining as reason:
            stopping.stopping = True
            self._sync()
            self._save(f"stopped by a callback {reason}".rstrip())
            failed = False
            if stopping.held is not None:
                raise stopping.held from None
        except (KeyboardInterrupt, Terminated, SystemExit) as reason:
            stopping.stopping = True
            self._sync()
            self._keep_last_step()
            before = self._model._stamp
            how = "interrupted" if isinstance(reason, KeyboardInterrupt) else "ended by the program's exit"
            try:
                self._save(f"terminated by {reason.signal}" if isinstance(reason, Terminated) else how)
            except KeyboardInterrupt:
                if self._run is not None and self._model._stamp == before:
                    say_on_stderr("carl: the last checkpoint was given up")
                raise
            raise
        except Exception as error:
            stopping.stopping = True
            self._sync()
            with suppress(CARLError):  # the first error is the one to raise
                self._log(f"failed: {type(error).__name__}: {error}")
                self._tell_broken()
                self._save_after(error)
            raise
        finally:
            stopping.stopping = False  # an on_end that hangs can be ended
            self._progress.close()
            end_all(self._callbacks, self._model, failed, self._log)

    def _start(self) -> None:
        end = f"to epoch {self._epochs}" if self._pace is None else "as long as the budget lasts"
        self._log(f"training on {self._source.describe()}, from step {self._trainer.step_count}, {end}")
        if self._run is not None:
            views = None if self._frozen is None else self._frozen.views
            self._usage = make_recorder(self._source, self._batch_size, self._total, self._run, self._broken, views)
        if self._trainer.step_count == 0:
            self._record_usage(always=True)
        for callback in self._callbacks:
            callback.on_start(self._model)
        if self._evaluation is not None:
            self._log(f"judged on {self._evaluation.queries} labelled images by {self._evaluation.references} others")
            self._evaluated = self._run.last_evaluation() if self._run is not None else None
            # Of a resumed run, an evaluation that Ctrl-C may have prevented.
            if self._trainer.step_count == 0 or self._due():
                self._evaluate()
        if self._pace is not None:
            step = self._trainer.step_count
            self._pace.begin(step, self._upcoming, *first_pass(self._source, self._batch_size, step, self._epoch_start))

    def _is_finished(self) -> bool:
        return self._last_step is not None and self._trainer.step_count >= self._last_step

    def _run_epoch(self) -> None:
        position = self._position
        self._epoch_start = self._trainer.step_count - position.batch
        steps, clock = 0, WaitClock()
        for batch in self._reader.epoch():
            if self._is_finished():
                return  # within an epoch, which does not count as done
            self._step(batch, clock)
            steps += 1
        if steps == 0 and position.batch == 0:
            once = isinstance(self._source, BatchStream) and self._source.once
            raise InvalidArgumentError(
                "images: "
                + (
                    "the iterator is exhausted; for several epochs pass something that can be iterated again, such as "
                    "a list"
                    if once and position.epoch > 0
                    else "gave no batch of at least 2 images"
                )
            )
        self._end_epoch(clock)

    def _end_epoch(self, clock: WaitClock | None) -> None:
        """clock: of its steps, if there were some since the run began or went on."""
        position, finished = self._position, self._position.epoch
        if self._last is not None and clock is not None:
            self._log(
                f"epoch {finished + 1}/{self._planned_epochs()}, step {self._trainer.step_count}: "
                f"{describe(self._last, clock.share)}"
            )
        if isinstance(self._source, KeptSource) and (news := self._source.news()):
            self._log(news)

        def advance() -> None:
            self._epoch_start = self._trainer.step_count
            position.epoch, position.batch = finished + 1, 0

        shielded(advance)
        with self._aside("callback"):
            for callback in self._callbacks:
                callback.on_epoch(self._model, finished)
        if self._schedule.after_epoch(position.epoch):
            self._evaluate()
        if self._frozen is None or time.monotonic() - self._saved > _SAVED:  # whose epochs may take less than a file
            self._save(None)

    def _step(self, batch: Batch, clock: WaitClock) -> None:
        position = self._position
        self._tell_broken()
        start = time.perf_counter()
        if self._frozen is None:
            metrics = self._trainer.step(batch.images, batch.indices, position.epoch)
        else:
            metrics = self._frozen.step(self._trainer, batch.images)
        seconds = time.perf_counter() - start
        metrics = metrics.with_data_wait(batch.waited / (batch.waited + seconds))
        clock.add(batch.waited, seconds)
        self._clock.add(batch.waited, seconds)
        self._model.data_wait_ = self._clock.share
        self._sync()
        shielded(self._keep, metrics)
        self._record_usage()
        if (says := self._watch.step(metrics)) is not None:
            self._log(f"warning: {says}")
            warnings.warn(says, UserWarning, stacklevel=2)
        self._progress.step(metrics, position.epoch, self._planned_epochs(), clock.share)
        for callback in self._callbacks:
            callback.on_step(self._model, metrics)
        if self._schedule.after_step(self._trainer.step_count):
            self._evaluate()
        if self._checkpoint_every and self._trainer.step_count % self._checkpoint_every == 0:
            self._save(None)
        if self._pace is not None and (changes := self._pace.after_step(self._trainer.step_count, batch.waited)):
            self._decide(self._pace, changes)

    def _decide(self, pace: Pace, changes: dict[str, Any]) -> None:
        """Fixes the steps with small views or the number of all, in the configuration too, so that it can be used to
        repeat the run."""
        if "total_steps" in changes:
            self._last_step = changes["total_steps"]
            if self._per_epoch:
                changes["epochs"] = -(-self._last_step // self._per_epoch)
        with pace.aside("decision"):
            self._trainer.reconfigure(**changes)
            self._model.config_ = self._trainer.config
            if self._run is not None:
                self._run.write_config(run_config(self._model))
        self._progress.plan(self._last_step or pace.estimate(self._trainer.step_count))
        decided = ", ".join(f"{key} {value}" for key, value in changes.items() if key != "epochs")
        self._log(f"step {self._trainer.step_count}, {pace.spent():.0f} s of {pace.seconds:.0f} s: {decided}")

    def _planned_epochs(self) -> int:
        return self._epochs if self._pace is None else int(self._model.config_.epochs or self._epochs)

    def _upcoming(self, first: int, last: int) -> dict[str, int]:
        """How often there is a checkpoint, an evaluation and a call at an epoch's end after steps first < s <= last."""

        def multiples(every: int | None) -> int:
            return last // every - first // every if every else 0

        def ends(every: int | None) -> int:  # of epochs, with one behind the first step, whose work is still to come
            return last // every - max(0, first - 1) // every if every else 0

        schedule, evaluated = self._schedule, self._evaluation is not None
        per_epoch = self._per_epoch
        epochs = per_epoch * schedule.epochs if per_epoch and schedule.epochs else None
        return {
            "save": (ends(per_epoch) + multiples(self._checkpoint_every)) if self._run is not None else 0,
            "evaluation": (multiples(schedule.steps) + ends(epochs)) if evaluated else 0,
            "callback": ends(per_epoch),
        }

    def _aside(self, kind: str) -> AbstractContextManager[None]:
        return nullcontext() if self._pace is None else self._pace.aside(kind)

    def _keep(self, metrics: Metrics) -> None:
        self._last = metrics
        self._model.history_.append(metrics)
        self._kept = metrics.step
        if self._run is not None:
            self._run.write_metrics(metrics, self._position.epoch)

    def _keep_last_step(self) -> None:
        """Figures of a step that was taken, but Ctrl-C came before they were kept."""
        if self._trainer.step_count > self._kept:
            shielded(self._keep, self._trainer.last_metrics)

    def _record_usage(self, always: bool = False) -> None:
        if self._usage is not None and self._run is not None and (always or self._usage.due(self._trainer.step_count)):
            with self._aside("usage"):
                self._usage.record(self._trainer, self._run)

    def _due(self) -> bool:
        at_epoch_end = self._position.batch == 0 and self._schedule.after_epoch(self._position.epoch)
        return at_epoch_end or self._schedule.after_step(self._trainer.step_count)

    def _evaluate(self) -> None:
        """Judges the present step, once, if there is a set to judge on."""
        step = self._trainer.step_count
        if self._evaluation is None or step == self._evaluated:
            return
        self._evaluated = step
        done = self._position.epoch + (self._position.batch == self._per_epoch)
        with self._aside("evaluation"):
            if self._judged is None or self._frozen is None:  # whose features do not change
                self._judged = self._evaluation.judge(self._trainer)
            figures = {"step": step, "epoch": done, **self._judged}
            self._model.evaluations_.append(figures)
            if self._run is not None:
                self._run.write_evaluation(figures)
            text = describe_evaluation(figures)
            self._log(f"step {step}: {text}")
            self._progress.note(text)
            for callback in self._callbacks:
                callback.on_evaluation(self._model, figures)

    def _sync(self) -> None:
        # The trainer's own counter is right even where Ctrl-C came between a step and what follows it.
        self._position.batch = self._trainer.step_count - self._epoch_start

    def _save(self, reason: str | None) -> None:
        if self._run is not None:
            with self._aside("save"):
                self._run.save(self._trainer, self._model._notes())
            self._model._stamp, self._saved = self._run.stamp(), time.monotonic()
            if reason:
                self._log(
                    f"{reason} at step {self._trainer.step_count}; checkpoint {self._run.checkpoint}; "
                    f"{self._clock.share:.1%} of the time spent waiting for images"
                    + (f"; images that could not be read: {len(self._broken)}" if len(self._broken) else "")
                )
                self._run.export(self._trainer)

    def _save_after(self, error: Exception) -> None:
        """A checkpoint of what was learnt when something else failed, such as a callback; a model that is not finite
        takes no other's place."""
        if self._trainer.step_count > self._begun and not isinstance(error, NotFiniteError):
            self._save("stopped by an error")

    def _tell_broken(self) -> None:
        """Lists broken images in the run folder; the first ones are warned of."""
        untold = self._broken.take_untold()
        if not untold:
            return
        from logging import getLogger

        where = (
            f"; all are listed in {self._run.broken_images}" if self._run is not None else "; all are in broken_images_"
        )
        for name, reason in untold:
            if self._warned < _WARNINGS:
                self._warned += 1
                last = f"; further ones are not told here{where}" if self._warned == _WARNINGS else ""
                getLogger("carl").warning("left out an image that cannot be read, %s: %s%s", name, reason, last)
        if self._run is not None:
            self._run.write_broken(untold)

    def _log(self, text: str) -> None:
        if self._run is not None:
            self._run.log(text)
