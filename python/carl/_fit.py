"""The steps of ``CARL.fit`` before its loop: the run folder, the configuration for the images, the choice for a budget,
resuming."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays
from ._calibration import Plan, make_plan, refuse_conflicts
from ._diagnostics import check_length, naming_sizes, warn_constant_rate, warn_of_sizes
from ._frozen import frozen_features, keeps_features, rounds_of, training_specs
from ._given import write_given
from ._input import channels_of, samples_of, typical_side
from ._notes import refuse_changes, saved_notes
from ._opening import describe_run, full_steps, hints, length_of, measure
from ._pace import Pace
from ._parameters import LIMITS
from ._position import Position, batch_size_for, own_batch_size, refuse_other_images, steps_per_epoch
from ._pretrained import pretrained, run_config, with_rates, with_weights
from ._resolved import is_transformer, whole_patches
from ._resume import read_settings, refuse_other_weights
from ._run_place import check_room
from ._schedule import Schedule
from ._signals import Stopping, say_on_stderr
from ._training import TrainingLoop
from ._without_effect import warn_without_effect
from .budget import Given, Setting, parse_duration, parse_memory
from .callbacks import as_callbacks
from .config import TrainerConfig, ViewSpec
from .errors import BusyError, InvalidArgumentError, InvalidStateError, Terminated
from .history import figures_before
from .runs import RunFolder, checkpoint_path
from .sources import BatchStream, ImageSource
from .sources.broken import BrokenImages
from .sources.kept import kept
from .trainer import Trainer
from .view_specs import expand_views, least_side
from .weights import WeightsInfo, weights_note

if TYPE_CHECKING:
    from .estimator import CARL
    from .evaluate.online import OnlineEvaluation

#: Used where they are not given, and neither is a budget.
EPOCHS, BATCH_SIZE = 100, 128
#: The warm-up takes one step in so many, with a budget as without one.
_WARMUP_SHARE = 20
#: Epochs of a run whose length a budget decides: an upper bound.
_NO_LIMIT = 1_000_000


@contextmanager
def fitting(model: CARL) -> Iterator[None]:
    """One fit of a model at a time: another thread's is a BusyError. What is neither true nor false is an
    InvalidArgumentError."""
    for name in ("keep_images", "progress"):
        if not isinstance(value := getattr(model, name), (bool, np.bool_)):
            raise InvalidArgumentError(f"{name}: got {value!r}, want True or False")
    held, key, mine = vars(model), f"_fitting_in_{os.getpid()}", object()  # of a child forked within a fit it is free
    try:
        if held.setdefault(key, mine) is not mine:
            raise BusyError("this CARL is being fitted already, in this thread or another: fit a clone or a copy")
        yield
    finally:
        if held.get(key) is mine:
            del held[key]


def checked_epochs(model: CARL) -> int:
    """The epochs that are asked for, checked with what else says how long a fit is and how much it may take."""
    if model.budget is not None:
        parse_duration(model.budget)
    if model.memory is not None:
        parse_memory(model.memory)
    return _arrays.integer(EPOCHS if model.epochs is None else model.epochs, "epochs", *LIMITS["epochs"])


def passes(model: CARL, source: ImageSource | BatchStream, epochs: int) -> int:
    """The epochs to train: one over an iterator, which gives its images once, unless they are given.
    InvalidArgumentError for more, and for what a budget does not go with."""
    if model.budget is not None:
        refuse_conflicts(model.get_params(), source)
        return epochs
    if not isinstance(source, BatchStream) or not source.once or model.total_steps is not None or epochs == 1:
        return epochs
    if model.epochs is None:
        return 1
    raise InvalidArgumentError(
        f"epochs: got {epochs}, but the images are an iterator, which gives them once: pass something that can be "
        "iterated again, such as a list, or epochs=1"
    )


def checkpoint_to_resume(
    model: CARL, resume: bool | str | os.PathLike[str] | None, run: RunFolder | None
) -> str | None:
    """The checkpoint that fit(resume=resume) goes on from; None to begin. run: the folder of this fit."""
    if resume is False or resume is None:
        return None
    if resume is True:
        if run is None:
            raise InvalidArgumentError("resume: True needs run_dir; or pass the path of a checkpoint")
        return str(run.checkpoint) if run.checkpoint.is_file() else None
    if not isinstance(resume, (str, os.PathLike)):
        raise InvalidArgumentError(f"resume: got {type(resume).__name__}, want True, False or a path")
    return str(checkpoint_path(resume))


def trainer_config(model: CARL, source: ImageSource | BatchStream, info: WeightsInfo | None = None) -> TrainerConfig:
    """The keys that are given, with what is taken from the weights, if there are some, and from the images: their
    channels, and the size of a preset's views."""
    config = TrainerConfig(**{field.name: getattr(model, field.name) for field in fields(TrainerConfig)})
    channels = channels_of(source)
    if config.in_channels is None:
        config.in_channels = channels
    elif config.in_channels != channels:
        raise InvalidArgumentError(f"images: got {channels} channel(s), in_channels is {config.in_channels}")
    if info is not None:
        config = with_weights(config, info, channels)
    if config.view_size is None and (config.views is None or isinstance(config.views, str)):
        config.view_size = whole_patches(config, min(typical_side(source), 224))
    return config


def checked_batch_size(model: CARL) -> int:
    return _arrays.integer(
        BATCH_SIZE if model.batch_size is None else model.batch_size, "batch_size", *LIMITS["batch_size"]
    )


def begin(
    model: CARL,
    source: ImageSource | BatchStream,
    epochs: int | None,
    info: WeightsInfo | None = None,
    plan: Plan | None = None,
) -> Position:
    """Gives the model a new trainer. epochs: None where the number of steps is not known yet. info: of the weights it
    begins with. plan: of a budget or memory limit."""
    config = trainer_config(model, source, info)
    if plan is not None:
        config = config.replace(**plan.changes)
    size = batch_size_for(source, checked_batch_size(model) if plan is None else plan.setting.batch_size)
    config.batch_size = size
    if info is not None:
        config = with_rates(config)
    if plan is not None and plan.epochs is not None:
        config.schedule, config.epochs = "trapezoid", plan.epochs
        epochs = None  # the number of steps is decided later
        if config.warmup_steps is None and plan.steps:
            config.warmup_steps = plan.steps // _WARMUP_SHARE
    per_epoch = steps_per_epoch(source, size)
    if config.total_steps is None and epochs is not None:
        if per_epoch is not None:
            config.total_steps = max(1, per_epoch * epochs)
        elif config.schedule is None:
            warn_constant_rate()
    position = Position(0, 0, samples_of(source), size)
    model._attach(pretrained(config, info), position, [])
    model.weights_ = None if info is None else weights_note(info)
    if plan is None or plan.epochs is None:
        check_length(model.config_, None if per_epoch is None or epochs is None else per_epoch * epochs)
    asked = size if plan is not None and model.batch_size is None else checked_batch_size(model)
    warn_of_sizes(samples_of(source), asked, int(model.config_.prototypes or 0))
    warn_without_effect(model)
    return position


def begin_planned(
    model: CARL, source: ImageSource | BatchStream, epochs: int, started: float, info: WeightsInfo | None = None
) -> tuple[Position, list[str]]:
    """``begin`` with what the budget and the memory allow; what to tell of it."""
    batch_size_for(source, BATCH_SIZE)  # an error for too few images
    config = trainer_config(model, source, info)
    batch_size = own_batch_size(source) or (None if model.batch_size is None else checked_batch_size(model))
    # Stochastic depth does not go with recompute.
    recompute = False if config.drop_path else model.recompute
    given = Given(model.view_size, model.width, batch_size, recompute, own_views=config.view_size is None)
    if info is not None or is_transformer(config.encoder):
        given = replace(given, view_size=config.view_size, width=config.width or 1.0)
    standard = Setting(config.view_size, given.width or 1.0, batch_size or BATCH_SIZE, bool(model.recompute))
    plan = make_plan(
        source,
        config,
        given,
        typical_side(source),
        model.budget,
        model.memory,
        started,
        standard,
        clock=model._clock,
        keep_images=model.keep_images,
    )
    model._spare = plan.spare
    if model.budget is not None:
        model._pace = Pace(
            parse_duration(model.budget),
            started,
            step_seconds=None if plan.step_seconds is None else plan.step_seconds * (plan.early or 1),
            early=plan.early,
            chosen=plan.changes,
            clock=model._clock,
        )
    return begin(model, source, epochs, info, plan), plan.lines


def resume_from(
    model: CARL, checkpoint: str, source: ImageSource | BatchStream, epochs: int, started: float
) -> Position:
    """Gives the model the trainer of a checkpoint, with the changes of the configuration that resuming allows."""
    # Read once to learn where it stood, and again with the changes if there are any.
    trainer = Trainer.resume(checkpoint)
    notes = saved_notes(trainer, checkpoint)
    if "position" not in notes:
        raise InvalidStateError(f"{checkpoint} was not written by CARL.fit: its place in the data is not known")
    position = Position.from_notes(notes["position"])
    refuse_other_images(source, position, checkpoint)
    per_epoch = steps_per_epoch(source, position.batch_size)
    old = trainer.config
    refuse_changes(model.get_params(), notes.get("params", {}), {**vars(old), **read_settings(notes)}, checkpoint)
    refuse_other_weights(model.weights, notes.get("weights"), checkpoint)
    changes: dict[str, Any] = {"epochs": epochs, "threads": model.threads}
    if model.budget is not None:
        model._pace = _remaining_pace(model, old, notes, checkpoint, started)
        changes = {"threads": model.threads}
    elif model.total_steps is not None:
        changes["total_steps"] = model.total_steps
    elif old.total_steps is not None and per_epoch:
        changes["total_steps"] = per_epoch * epochs
    if changes.get("total_steps", trainer.step_count + 1) <= trainer.step_count:
        changes = {"threads": model.threads}  # nothing is left to do: what was done stays what the file says
    changes = {key: value for key, value in changes.items() if value is not None and value != getattr(old, key)}
    if changes:
        trainer.close()
        trainer = Trainer.resume(checkpoint, **changes)
    model._attach(trainer, position, [])
    model.weights_ = notes.get("weights")
    return position


def _remaining_pace(model: CARL, config: TrainerConfig, notes: dict[str, Any], checkpoint: str, started: float) -> Pace:
    """The pace of a resumed run, which has the rest of its budget left."""
    kept = notes.get("budget")
    if kept is None:
        raise InvalidArgumentError(
            f"budget: got {model.budget!r}, but {checkpoint} was made without one, and its schedule stays: leave it out"
        )
    return Pace(
        parse_duration(model.budget),
        started,
        spent=kept["spent"],
        step_seconds=kept["step_seconds"],
        early=kept.get("early"),
        total_steps=config.total_steps,
        decay_steps=config.decay_steps,
        chosen=kept["chosen"],
        clock=model._clock,
    )


def train(
    model: CARL,
    source: ImageSource | BatchStream,
    position: Position,
    epochs: int,
    run: RunFolder | None,
    evaluation: OnlineEvaluation | None = None,
    schedule: Schedule | None = None,
    says: list[str] | None = None,
    last_step: int | None = None,
    keep_features: bool = False,
) -> None:
    """Runs the loop on the model's trainer, from `position` on. says: lines to tell before it. keep_features: compute
    those of a frozen encoder once."""
    every = model.checkpoint_every
    every = None if every is None else _arrays.integer(every, "checkpoint_every", 1, 2**31 - 1)
    callbacks = as_callbacks(model.callbacks)
    broken = BrokenImages(samples_of(source), model.on_error, model.max_broken)
    model.broken_images_ = broken.reasons
    model.data_wait_ = 0.0
    if run is not None:
        run.open(step := model.trainer_.step_count)
        model._own_run = run.path
        if not model.history_:
            model.history_, model.evaluations_ = figures_before(run, step)
        run.write_config(run_config(model))
        write_given(run.path, model._given)
        check_room(model, run)
    keep = keep_features and keeps_features(model, source)
    begun = [] if model.weights_ is None else ["weights: {file} ({family}), SHA-256 {sha256}".format(**model.weights_)]
    with naming_sizes(model):
        opening = _opening(model, source, position, epochs, last_step, keep)
    for line in [*begun, *(says or []), *opening]:
        if run is not None:
            run.log(line)
        if model.progress:
            say_on_stderr(f"carl: {line}")
    specs = expand_views(model.config_.views, model.in_channels_, model.config_.view_size)
    if model.cache is not None:
        source = _cached(model, source, specs, run)
    elif model.keep_images and not keep and (model._pace is not None or epochs - position.epoch > 1):
        # A resumed run has nothing planned of its limit of memory.
        source = kept(source, least_side(specs), 0.0 if model._spare is None and model.memory else model._spare)
    frozen = None
    if keep and isinstance(source, ImageSource):
        with Stopping(lambda cause: say_on_stderr(f"carl: {cause}stopping")) as stopping:
            try:
                frozen = frozen_features(model, source, epochs, run, broken)
            except (KeyboardInterrupt, Terminated):
                stopping.stopping = True
                if run is not None:  # to go on with, as of a step that is interrupted
                    run.save(model.trainer_, model._notes())
                raise
    with naming_sizes(model):
        TrainingLoop(
            model,
            source,
            position,
            epochs if model._pace is None else _NO_LIMIT,
            int(model.config_.seed or 0),
            run,
            callbacks,
            bool(model.progress),
            every,
            broken,
            least_side(specs),
            evaluation,
            schedule,
            last_step,
            model._pace,
            frozen,
        ).run()


def _opening(
    model: CARL,
    source: ImageSource | BatchStream,
    position: Position,
    epochs: int,
    last_step: int | None,
    keep: bool = False,
) -> list[str]:
    """What is told of a run before its first step. Time and memory are measured for those who watch it, unless a budget
    has measured them."""
    config, size = model.config_, position.batch_size
    per_epoch = steps_per_epoch(source, size)
    total = None if per_epoch is None else per_epoch * epochs
    total = last_step if total is None else total if last_step is None else min(total, last_step)
    taken = model.trainer_.step_count
    left = None if total is None else total - taken
    if left is not None and left < 1:
        return []
    if model._pace is not None:
        return [describe_run(source, config, size, None, None)]
    line = describe_run(source, config, size, left, epochs if per_epoch else None, taken)
    # Both have one width; the views of the second are of whole patches.
    fixed = model.weights_ is not None or is_transformer(config.encoder)
    if keep:
        specs = training_specs(config)
        views = sum(int(spec["count"]) for spec in specs)
        number = views * rounds_of(model.feature_views, views, epochs)
        return [f"{line}; the encoder stays as it is: features of {number} views of each image are computed once"]
    estimate = None
    if model.progress:
        with Stopping(lambda cause: say_on_stderr(f"carl: {cause}stopping")):  # its steps may be long ones too
            estimate = measure(source, config)
    if estimate is None:
        return [line]
    steps = full_steps(config, taken, left, estimate.early)
    reads = size * (left or 0)
    if isinstance(source, ImageSource) and (model.keep_images or model.cache is not None):
        reads = min(reads, len(source))
    return [f"{line}; {length_of(size, steps, estimate, reads)}", *hints(source, config, size, steps, estimate, fixed)]


def _cached(
    model: CARL, source: ImageSource | BatchStream, specs: list[ViewSpec], run: RunFolder | None
) -> ImageSource:
    from .progress import CacheProgress
    from .sources.cache import CachedSource

    if isinstance(source, BatchStream):
        raise InvalidArgumentError(
            "cache: a stream of batches cannot be cached; pass images that can be read in any order"
        )
    size = model.cache_size
    if size is None:
        size = -(-max(int(spec["size"]) for spec in specs) * 8 // 7)
    with CacheProgress(bool(model.progress)) as bar:
        say = None if run is None else run.log
        return CachedSource(source, model.cache, size, bar.update, say)  # type: ignore[arg-type]
