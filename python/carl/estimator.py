"""The estimator: training in one call, under scikit-learn's rules."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, ParamSpec, Union

import numpy as np

from . import _arrays
from ._calibration import Plan, make_plan, refuse_conflicts
from ._pace import Pace
from ._signals import say_on_stderr
from ._training import Position, TrainingLoop, batch_size_for, steps_per_epoch, warn_constant_rate
from .budget import Given, Setting, parse_duration, parse_memory
from .callbacks import CallbackLike, as_callbacks
from .config import TrainerConfig, ViewSpec, nearest
from .errors import BusyError, FileError, InvalidArgumentError, InvalidStateError, not_fitted
from .evaluate.online import OnlineEvaluation, Schedule, paths_of
from .history import History
from .metrics import Metrics
from .runs import RunFolder, checkpoint_path
from .sources import BatchStream, ImageSource, as_source
from .sources.broken import MAX_BROKEN, BrokenImages
from .sources.loader import read_parts
from .trainer import Trainer
from .view_specs import expand_views, least_side

if TYPE_CHECKING:
    from pathlib import Path

Parameters = ParamSpec("Parameters")

#: Images read at a time by transform and its relatives: so many, or fewer where so many bytes are reached.
_READ, _READ_BYTES = 512, 256_000_000

#: Used where they are not given, and neither is a budget.
_EPOCHS, _BATCH_SIZE = 100, 128
#: With a budget, about one step in so many is of the warm-up, as without one.
_WARMUP_SHARE = 20
#: Parameters of the estimator that are not configuration keys of the trainer.
_OWN = ("budget", "memory", "on_error", "max_broken", "cache", "cache_size", "run_dir", "checkpoint_every", "eval_every", "progress", "callbacks")


def _naming_nearest(initialise: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """A constructor whose error for a misspelt parameter names the nearest, as set_params does."""
    known = list(inspect.signature(initialise).parameters)[1:]

    @functools.wraps(initialise)
    def checked(*arguments: Parameters.args, **params: Parameters.kwargs) -> None:
        for key in params:
            if key not in known:
                raise TypeError(f"{type(arguments[0]).__name__}() got an unexpected parameter {key!r}{nearest(key, known)}")
        initialise(*arguments, **params)

    return checked


class CARL:
    """Learns representations and prototypes from images without labels.

    ::

        model = carl.CARL(encoder="resnet18", prototypes=300, epochs=20)
        model.fit(images)                  # uint8 (N, H, W) or (N, H, W, C); list of arrays; folder; iterable of batches
        features = model.transform(images) # float32 (N, F)
        clusters = model.predict(images)   # int64 (N,)

    The parameters are the keys of ``carl.TrainerConfig``, where None means the library's default, and

    in_channels, stem, view_size: None takes them from the images: their channels, their shorter side (at most 224), and
        stem "small" for views below 64 pixels, else "imagenet".
    epochs, batch_size: 100 and 128. ``fit`` ends with the last epoch, or with step total_steps where that is given and comes first.
    budget: how long ``fit`` may take, all told: text such as "90s", "20m" or "1h30m", or a number of seconds. It measures its speed on the
        images, chooses view_size, width, batch_size and recompute as far as they are not given, and ends within 5% of that time.
        epochs, total_steps and decay_steps are its own choice then, and the schedule is "trapezoid". What it chose is in ``config_``,
        from which the run can be repeated without a budget.
    memory: what the process may hold, text such as "4G" or "512M", or bytes: smaller batches, recompute and smaller views are chosen, in this
        order, as far as they are not given. None is no limit, but with a budget the machine's free memory.
    on_error: what becomes of an image that cannot be read while training: "skip" (the next one in the set that can be read
        takes its place; it is counted and listed) or "raise" (an error with its path).
    max_broken: largest share of the images, 0 .. 1, that "skip" puts up with; beyond it fit raises carl.BrokenImagesError.
    cache: a folder for decoded images of reduced size, made by the first fit and read by it and all later ones; for image
        files, tar archives and datasets.Dataset objects. None decodes in every epoch.
    cache_size: pixels of the shorter side in the cache; None for 8/7 of the largest view, 256 for views of 224.
    run_dir: a folder for configuration, metrics, log and checkpoints; None writes nothing. It is locked while ``fit`` runs, and one that
        holds a run is refused unless ``fit`` goes on with it. Clones (``sklearn.base.clone``, so those of a grid search) take the next
        free one of run_dir, run_dir-2, run_dir-3, ...
    checkpoint_every: steps between checkpoints within an epoch; one is written after each epoch in any case.
    eval_every: when ``fit`` judges the model on its eval_set: a number of steps, or text such as "500 steps" or "2 epochs"; None
        is after every epoch. Before the first step and after the last one it does so in any case.
    progress: show a progress bar.
    callbacks: ``carl.Callback`` objects, or functions of (model, metrics) that run after each step.

    Attributes after ``fit``: trainer_ (carl.Trainer), config_ (the complete configuration), history_ (carl.Metrics of each step), run_dir_
    (the folder that was written, None without one),
    evaluations_ (figures of each evaluation on eval_set), epoch_ (epochs done), in_channels_, n_features_out_, data_wait_ (share of the time of
    the last fit that was spent waiting for images, 0 .. 1), broken_images_ (a dict from the images it could not read, by path or number, to the
    reasons).

    Images go through in an order that depends on (seed, epoch) alone; a last incomplete batch is dropped. Ctrl-C during
    ``fit`` leaves a usable model, and a checkpoint if there is a run_dir, and is raised again. So does SIGTERM, as carl.Terminated (a
    SystemExit of status 143), where ``fit`` runs in the main thread and the program does not handle that signal itself.
    """

    @_naming_nearest
    def __init__(
        self,
        encoder: str = "resnet18",
        stem: str | None = None,
        width: float | None = None,
        *,
        prototypes: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        in_channels: int | None = None,
        zero_init_residual: bool | None = None,
        projector: list[int] | None = None,
        projector_activation: str | None = None,
        temperature: Union[float, dict[str, float], None] = None,
        normalize_embedding: bool | None = None,
        normalize_prototypes: bool | None = None,
        objective: str | None = None,
        stop_gradient: bool | None = None,
        symmetric: bool | None = None,
        prior_over_targets: bool | None = None,
        partition_size: int | None = None,
        teacher_momentum: float | None = None,
        prior_weight: Union[float, dict[str, float], None] = None,
        contrast_weight: Union[float, dict[str, float], None] = None,
        contrast_temperature: float | None = None,
        freeze_prototypes: int | None = None,
        used_window: int | None = None,
        optimizer: str | None = None,
        learning_rate: float | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        trust_coefficient: float | None = None,
        schedule: str | None = None,
        warmup_steps: int | None = None,
        total_steps: int | None = None,
        decay_steps: Union[int, list[int], None] = None,
        min_learning_rate: float | None = None,
        clip_norm: float | None = None,
        accumulate: int | None = None,
        view_size: int | None = None,
        views: Union[str, list[ViewSpec], None] = None,
        recompute: bool | None = None,
        threads: int | None = None,
        budget: Union[float, str, None] = None,
        memory: Union[int, str, None] = None,
        on_error: str = "skip",
        max_broken: float = MAX_BROKEN,
        cache: str | os.PathLike[str] | None = None,
        cache_size: int | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        eval_every: Union[int, str, None] = None,
        progress: bool = True,
        callbacks: CallbackLike | Iterable[CallbackLike] | None = None,
    ) -> None:
        self.encoder = encoder
        self.stem = stem
        self.width = width
        self.prototypes = prototypes
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.in_channels = in_channels
        self.zero_init_residual = zero_init_residual
        self.projector = projector
        self.projector_activation = projector_activation
        self.temperature = temperature
        self.normalize_embedding = normalize_embedding
        self.normalize_prototypes = normalize_prototypes
        self.objective = objective
        self.stop_gradient = stop_gradient
        self.symmetric = symmetric
        self.prior_over_targets = prior_over_targets
        self.partition_size = partition_size
        self.teacher_momentum = teacher_momentum
        self.prior_weight = prior_weight
        self.contrast_weight = contrast_weight
        self.contrast_temperature = contrast_temperature
        self.freeze_prototypes = freeze_prototypes
        self.used_window = used_window
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.trust_coefficient = trust_coefficient
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay_steps = decay_steps
        self.min_learning_rate = min_learning_rate
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.view_size = view_size
        self.views = views
        self.recompute = recompute
        self.threads = threads
        self.budget = budget
        self.memory = memory
        self.on_error = on_error
        self.max_broken = max_broken
        self.cache = cache
        self.cache_size = cache_size
        self.run_dir = run_dir
        self.checkpoint_every = checkpoint_every
        self.eval_every = eval_every
        self.progress = progress
        self.callbacks = callbacks

    _position: Position
    #: Seconds, by which a budget is measured.
    _clock = staticmethod(time.perf_counter)
    #: Of a fit with a budget.
    _pace: Pace | None = None
    #: What its checkpoint says of it, where the fit is over.
    _kept_budget: dict[str, Any] | None = None
    #: The path of the images of the last fit, None if they had none.
    _data: str | None = None
    #: The paths that the eval_set of the last fit was made of, None if it was not, or there was none.
    _eval_paths: list[str | None] | None = None
    #: The folder of the last fit, and what tells the checkpoint that this object wrote there from any other.
    run_dir_: Path | None = None
    _stamp: tuple[Any, ...] | None = None
    #: Made by scikit-learn's clone(), so that one run_dir stands for a folder a fit.
    _is_clone = False

    # ---- Training

    def fit(
        self, images: Any, y: Any = None, *, eval_set: Any = None, resume: bool | str | os.PathLike[str] = False
    ) -> CARL:
        """Trains on images; see ``carl.as_source`` for what they may be. `y` is ignored.

        eval_set: labelled images to judge the features on while training, by k-NN and a linear probe: (images, labels),
            (images, labels, images, labels), or the path of labelled images; see ``carl.evaluate.OnlineEvaluation``, and eval_every
            for when. It has no influence on training. The figures are in evaluations_ and in the run folder's eval.jsonl.

        resume: True goes on from the last checkpoint in run_dir, if there is one; a path goes on from that checkpoint or
            run folder. The checkpoint's configuration stands, except threads, epochs and total_steps. The result is bitwise
            that of a run without the interruption. Of a budget, what is left of it counts: the time until the checkpoint was spent.

        A run_dir that holds a run, which this fit does not resume, is an InvalidArgumentError; one that another process or model
        trains into is a BusyError. A file that cannot be written (full disk, removed folder) is a FileError: the model stays usable
        and the last checkpoint whole.
        """
        started = self._clock()
        epochs = _arrays.integer(_EPOCHS if self.epochs is None else self.epochs, "epochs", 1, 1_000_000)
        if self.budget is not None:
            parse_duration(self.budget)
        if self.memory is not None:
            parse_memory(self.memory)
        schedule = Schedule(self.eval_every)
        if eval_set is None and self.eval_every is not None:
            raise InvalidArgumentError("eval_every: wants labelled images to judge by: give fit() an eval_set")
        self._data = _path_of(images)
        self._eval_paths = None if eval_set is None else paths_of(eval_set)
        with ExitStack() as stack:
            run = self._claim(stack, lambda run: self._goes_on_with(run, resume))
            source = stack.enter_context(_opened(images, self.in_channels))
            evaluation = None
            if eval_set is not None:
                evaluation = stack.enter_context(closing(OnlineEvaluation(eval_set, self.in_channels or _channels(source))))
            checkpoint = self._checkpoint_to_resume(resume)
            self._pace, self._kept_budget, says = None, None, None
            if self.budget is not None:
                refuse_conflicts(self.get_params(), source)
            if checkpoint is not None:
                position = self._resume(checkpoint, source, epochs, started)
            elif self.budget is None and self.memory is None:
                position = self._begin(source, epochs)
            else:
                position, says = self._begin_planned(source, epochs, started)
            self._train(source, position, epochs, run, evaluation, schedule, says, self.config_.total_steps)
        if self._pace is not None:
            self._kept_budget, self._pace = self._pace.to_notes(), None
        return self

    def partial_fit(self, images: Any, y: Any = None) -> CARL:
        """One pass over images, on top of what was learnt before. The first call makes the model.

        The learning rate stays constant unless total_steps is given. budget and memory are of ``fit``.
        """
        with ExitStack() as stack:
            run = self._claim(stack, lambda run: self._stamp is not None and run.stamp() == self._stamp)
            source = stack.enter_context(_opened(images, self.in_channels))
            if not self.__sklearn_is_fitted__():
                position = self._begin(source, None)
            else:
                size = batch_size_for(source, self._checked_batch_size())
                position = Position(self._position.epoch, 0, _samples(source), size)
                self._position = position
            self._train(source, position, position.epoch + 1, run)
        return self

    def _claim(self, stack: ExitStack, going_on: Callable[[RunFolder], bool]) -> RunFolder | None:
        """The run folder, for this fit alone as long as `stack` is open; see ``RunFolder.claim``."""
        self.run_dir_ = None
        if self.run_dir is None:
            return None
        for number in itertools.count(1):
            run = RunFolder(self.run_dir)
            if number > 1:
                run = RunFolder(f"{os.path.abspath(run.path)}-{number}")
            try:
                run.claim(going_on)
            except (BusyError, InvalidArgumentError):
                if not self._is_clone:
                    raise
                continue
            stack.enter_context(run)
            self.run_dir_ = run.path
            return run
        raise AssertionError("there is always a further number")

    def _goes_on_with(self, run: RunFolder, resume: bool | str | os.PathLike[str]) -> bool:
        if not isinstance(resume, (str, os.PathLike)):
            return resume is True
        return os.path.realpath(checkpoint_path(resume)) == os.path.realpath(run.checkpoint)

    def _begin(self, source: ImageSource | BatchStream, epochs: int | None, plan: Plan | None = None) -> Position:
        config = self._trainer_config(source)
        if plan is not None:
            config = config.replace(**plan.changes)
        size = batch_size_for(source, self._checked_batch_size() if plan is None else plan.setting.batch_size)
        config.batch_size = size
        if plan is not None and plan.epochs is not None:
            config.schedule, config.epochs = "trapezoid", plan.epochs
            epochs = None  # the number of steps is decided later
            if config.warmup_steps is None and plan.step_seconds:
                config.warmup_steps = int(parse_duration(self.budget) / plan.step_seconds) // _WARMUP_SHARE
        per_epoch = steps_per_epoch(source, size)
        if config.total_steps is None and epochs is not None:
            if per_epoch is not None:
                config.total_steps = max(1, per_epoch * epochs)
            elif config.schedule is None:
                warn_constant_rate()
        position = Position(0, 0, _samples(source), size)
        self._attach(Trainer(config), position, [])
        return position

    def _begin_planned(self, source: ImageSource | BatchStream, epochs: int, started: float) -> tuple[Position, list[str]]:
        """Chooses what the budget and the memory allow; what to tell of it."""
        config = self._trainer_config(source)
        given = Given(
            self.view_size, self.width, None if self.batch_size is None else self._checked_batch_size(), self.recompute,
            own_views=config.view_size is None)
        standard = Setting(config.view_size, self.width or 1.0, given.batch_size or _BATCH_SIZE, bool(self.recompute))
        plan = make_plan(source, config, given, self._typical_side(source), self.budget, self.memory, started, standard, clock=self._clock)
        if self.budget is not None:
            self._pace = Pace(
                parse_duration(self.budget), started, step_seconds=plan.step_seconds, chosen=plan.changes, clock=self._clock)
        return self._begin(source, epochs, plan), plan.lines

    def _resume_pace(self, trainer: Trainer, notes: dict[str, Any], checkpoint: str, started: float) -> dict[str, Any]:
        """Goes on with the time that is left of a budget. Returns the changes of the configuration."""
        kept = notes.get("budget")
        if kept is None:
            raise InvalidArgumentError(
                f"budget: got {self.budget!r}, but {checkpoint} was made without one, and its schedule stays: leave it away")
        config = trainer.config
        self._pace = Pace(
            parse_duration(self.budget), started, spent=kept["spent"], step_seconds=kept["step_seconds"], total_steps=config.total_steps,
            decay_steps=config.decay_steps, chosen=kept["chosen"], clock=self._clock)
        return {"threads": self.threads}

    def _resume(self, checkpoint: str, source: ImageSource | BatchStream, epochs: int, started: float) -> Position:
        # Read once to learn where it stood, and again with the changes if there are any.
        trainer = Trainer.resume(checkpoint)
        notes = saved_notes(trainer, checkpoint)
        if "position" not in notes:
            raise InvalidStateError(f"{checkpoint} was not written by CARL.fit: its place in the data is not known")
        position = Position.from_notes(notes["position"])
        if position.samples != _samples(source):
            raise InvalidArgumentError(
                f"images: got {_samples(source)}, the checkpoint {checkpoint} was made with {position.samples}"
            )
        per_epoch = steps_per_epoch(source, position.batch_size)
        old = trainer.config
        changes: dict[str, Any] = {"epochs": epochs, "threads": self.threads}
        if self.budget is not None:
            changes = self._resume_pace(trainer, notes, checkpoint, started)
        elif old.total_steps is not None:
            changes["total_steps"] = self.total_steps or (per_epoch * epochs if per_epoch else None)
        changes = {key: value for key, value in changes.items() if value is not None and value != getattr(old, key)}
        if changes:
            trainer.close()
            trainer = Trainer.resume(checkpoint, **changes)
        self._attach(trainer, position, [])
        return position

    def _attach(self, trainer: Trainer, position: Position, history: Iterable[Metrics]) -> None:
        self.trainer_ = trainer
        self.config_ = trainer.config
        self.history_ = history if isinstance(history, History) else History(history)
        self.evaluations_: list[dict[str, Any]] = []
        self.in_channels_ = int(self.config_.in_channels or 0)
        self.n_features_out_ = trainer.output_width("features")
        self._position = position

    def _train(
        self, source: ImageSource | BatchStream, position: Position, epochs: int, run: RunFolder | None,
        evaluation: OnlineEvaluation | None = None, schedule: Schedule | None = None, says: list[str] | None = None,
        last_step: int | None = None,
    ) -> None:
        every = self.checkpoint_every
        every = None if every is None else _arrays.integer(every, "checkpoint_every", 1, 2**31 - 1)
        callbacks = as_callbacks(self.callbacks)
        broken = BrokenImages(_samples(source), self.on_error, self.max_broken)
        self.broken_images_ = broken.reasons
        self.data_wait_ = 0.0
        if run is not None:
            run.open(self.trainer_.step_count)
            run.write_config(vars(self.config_))
        for line in says or []:
            if run is not None:
                run.log(line)
            if self.progress:
                say_on_stderr(f"carl: {line}")
        specs = expand_views(self.config_.views, self.in_channels_, self.config_.view_size)
        if self.cache is not None:
            source = self._cached(source, specs, run)
        seed = int(self.config_.seed or 0)
        TrainingLoop(
            self, source, position, epochs if self._pace is None else 1_000_000, seed, run, callbacks, bool(self.progress), every, broken,
            least_side(specs), evaluation, schedule, last_step, self._pace,
        ).run()

    def _cached(self, source: ImageSource | BatchStream, specs: list[ViewSpec], run: RunFolder | None) -> ImageSource:
        from .progress import CacheProgress
        from .sources.cache import CachedSource

        if isinstance(source, BatchStream):
            raise InvalidArgumentError("cache: a stream of batches cannot be cached; pass images that can be read in any order")
        size = self.cache_size
        if size is None:
            size = -(-max(int(spec["size"]) for spec in specs) * 8 // 7)
        with CacheProgress(bool(self.progress)) as bar:
            return CachedSource(source, self.cache, size, bar.update, None if run is None else run.log)  # type: ignore[arg-type]

    def _checked_batch_size(self) -> int:
        return _arrays.integer(_BATCH_SIZE if self.batch_size is None else self.batch_size, "batch_size", 2, 1_000_000)

    @staticmethod
    def _typical_side(source: ImageSource | BatchStream) -> int:
        if isinstance(source, BatchStream):
            records = _arrays.pack_images(source.probe(), "images").records
            return int(np.median(np.minimum(records["height"], records["width"])))
        return source.side

    def _trainer_config(self, source: ImageSource | BatchStream) -> TrainerConfig:
        config = TrainerConfig.from_dict({key: value for key, value in self.get_params().items() if key not in _OWN})
        if isinstance(source, BatchStream):
            channels = _arrays.pack_images(source.probe(), "images").channels
        else:
            channels = source.channels
        if config.in_channels is None:
            config.in_channels = channels
        elif config.in_channels != channels:
            raise InvalidArgumentError(f"images: got {channels} channel(s), in_channels is {config.in_channels}")
        if config.view_size is None and (config.views is None or isinstance(config.views, str)):
            config.view_size = min(self._typical_side(source), 224)
        return config

    def _checkpoint_to_resume(self, resume: bool | str | os.PathLike[str]) -> str | None:
        if resume is False or resume is None:
            return None
        if resume is True:
            if self.run_dir is None:
                raise InvalidArgumentError("resume: True needs run_dir; or pass the path of a checkpoint")
            path = RunFolder(self.run_dir).checkpoint
            return str(path) if path.is_file() else None
        if not isinstance(resume, (str, os.PathLike)):
            raise InvalidArgumentError(f"resume: got {type(resume).__name__}, want True, False or a path")
        return str(checkpoint_path(resume))

    # ---- Use

    def transform(self, images: Any, output: str = "features", *, on_error: str = "raise") -> np.ndarray:
        """float32 (N, width): the encoder's "features" (F), or "projection" (D), "probabilities" (K), "logits" (K).

        on_error: an image that cannot be read is an error that names it ("raise"), or a row of NaN and a warning ("nan").
        """
        trainer = self._fitted("transform")
        width = trainer.output_width(output)
        parts = [self._embedded(trainer, part, output, width) for part in self._parts(images, on_error)]
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    @staticmethod
    def _embedded(trainer: Trainer, images: Any, output: str, width: int) -> np.ndarray:
        """One part; None stands for an image that could not be read."""
        good = [place for place, image in enumerate(images) if image is not None] if isinstance(images, list) else None
        if good is None or len(good) == len(images):
            return trainer.embed_images(images, output=output)
        rows = np.full((len(images), width), np.nan, np.float32)
        if good:
            rows[good] = trainer.embed_images([images[place] for place in good], output=output)
        return rows

    def fit_transform(self, images: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """``fit`` and ``transform``. Not for iterators that can be gone through only once."""
        return self.fit(images, y, **fit_params).transform(images)

    def predict(self, images: Any) -> np.ndarray:
        """int64 (N,): the prototype each image is assigned to."""
        trainer = self._fitted("predict")
        parts = [trainer.embed_images(part, output="logits").argmax(axis=1) for part in self._parts(images)]
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def fit_predict(self, images: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """``fit`` and ``predict``."""
        return self.fit(images, y, **fit_params).predict(images)

    def predict_proba(self, images: Any) -> np.ndarray:
        """float32 (N, K): the assignment probabilities over all prototypes."""
        self._fitted("predict_proba")
        return self.transform(images, "probabilities")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of ``transform``: carl0, carl1, ..."""
        self._fitted("get_feature_names_out")
        return np.array([f"carl{place}" for place in range(self.n_features_out_)], dtype=object)

    def _parts(self, images: Any, on_error: str = "raise") -> Iterator[Any]:
        """The images, some at a time; with on_error "nan" a list has None for those that cannot be read."""
        if on_error not in ("raise", "nan"):
            raise InvalidArgumentError(f'on_error: got {on_error!r}, want "raise" or "nan"')
        with _opened(images, self.in_channels_) as source:
            if isinstance(source, BatchStream):
                yield from source.batches_of(_READ, keep_last=True)
                return
            size = int(np.clip(_READ_BYTES // (source.side**2 * source.channels), 1, _READ)) if len(source) else 1
            for part in read_parts(source, size):
                errors = [item for item in part if isinstance(item, BaseException)] if isinstance(part, list) else []
                if errors and on_error == "raise":
                    raise errors[0]
                for error in errors:
                    warnings.warn(f"a row of NaN stands for an image that cannot be read: {error}", UserWarning, stacklevel=3)
                yield [None if isinstance(item, BaseException) else item for item in part] if errors else part

    def _fitted(self, method: str) -> Trainer:
        if not self.__sklearn_is_fitted__():
            raise not_fitted(type(self).__name__, method)
        return self.trainer_

    @property
    def epoch_(self) -> int:
        """Epochs done."""
        self._fitted("epoch_")
        return self._position.epoch

    # ---- Files and copies

    def _notes(self) -> dict[str, Any]:
        # run_dir is of this run, not of what is made of the model later.
        params = {key: value for key, value in self.get_params().items() if key not in ("callbacks", "run_dir")}
        params["cache"] = _noted(params["cache"])
        notes = {"format": 1, "params": params, "position": self._position.to_notes(), "data": _noted(self._data)}
        if self._pace is not None or self._kept_budget is not None:
            notes["budget"] = self._kept_budget if self._pace is None else self._pace.to_notes()
        if self._eval_paths is not None:
            notes["eval"] = self._eval_paths
        return {"carl": notes}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model, with all that is needed to train on, into one safetensors file for ``carl.load``."""
        self._fitted("save").save(path, self._notes())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> CARL:
        """Reads what ``save``, ``Trainer.save`` or a run wrote; `path` may be a run's folder. The model's run_dir is None: to go on with
        the run, set it and ``fit(..., resume=True)``."""
        overrides = {} if threads is None else {"threads": threads}
        file = checkpoint_path(path)
        trainer = Trainer.resume(file, **overrides)
        try:
            return cls._from_trainer(trainer, saved_notes(trainer, file))
        except BaseException:
            trainer.close()
            raise

    @classmethod
    def _from_trainer(cls, trainer: Trainer, notes: dict[str, Any]) -> CARL:
        config = trainer.config
        names = cls._parameter_names()
        saved = dict(notes.get("params", vars(config)))
        saved["run_dir"] = None  # a further fit must not overwrite the run that the model is of
        saved["cache"] = _path_from_note(saved.get("cache"))
        # Parameters of other releases that this one does not know are left out.
        model = cls(**{key: value for key, value in saved.items() if key in names and (value is not None or key not in _CONCRETE)})
        position = Position.from_notes(notes.get("position", {"batch_size": config.batch_size or 2}))
        model._data = _path_from_note(notes.get("data"))
        model._eval_paths, model._kept_budget = notes.get("eval"), notes.get("budget")
        model._attach(trainer, position, [])
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"format": 1, "params": self.get_params(deep=False)}
        if self.__sklearn_is_fitted__():
            state["trainer"] = self.trainer_.to_bytes(self._notes_of_position())
            state["history"] = self.history_
            state["evaluations"] = self.evaluations_
        state["clone"] = self._is_clone
        return state

    def _notes_of_position(self) -> dict[str, Any]:
        return {"carl": {"format": 1, "position": self._position.to_notes()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = self._parameter_names()
        type(self).__init__(self, **{key: value for key, value in state["params"].items() if key in names})
        self._is_clone = bool(state.get("clone", False))
        if "trainer" in state:
            trainer = Trainer.from_bytes(state["trainer"])
            position = Position.from_notes(trainer.notes["carl"]["position"])
            history = state["history"]
            self._attach(trainer, position, history if isinstance(history, History) else [Metrics(**row) for row in history])
            self.evaluations_ = list(state.get("evaluations", []))

    # ---- scikit-learn's rules

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters given at construction."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> CARL:
        """Changes parameters; they take effect with the next ``fit``."""
        names = self._parameter_names()
        for key in params:
            if key not in names:
                raise InvalidArgumentError(f"unknown parameter {key!r} of {type(self).__name__}{nearest(key, names)}")
        for key, value in params.items():
            setattr(self, key, value)
        return self

    def __sklearn_clone__(self) -> CARL:
        from sklearn.base import clone

        copy = type(self)(**{name: clone(value, safe=False) for name, value in self.get_params(deep=False).items()})
        copy._is_clone = True
        return copy

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trainer_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
            non_deterministic=False,
            requires_fit=True,
        )

    def __repr__(self) -> str:
        signature = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={value!r}" for name, value in self.get_params().items()
            if name in ("encoder", "prototypes") or value is not signature[name].default and value != signature[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


#: Parameters whose default is a value of their own, not None.
_CONCRETE = frozenset(
    name for name, parameter in inspect.signature(CARL.__init__).parameters.items()
    if name != "self" and parameter.default is not None
)


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> CARL:
    """Reads a model that ``CARL.save``, ``Trainer.save`` or a run wrote; `path` may be a run's folder.

    ``carl.Trainer.resume`` reads the same files for training by hand, ``carl.Encoder`` for embedding alone.
    """
    return CARL.load(path, threads=threads)


class _opened:
    """A source for the time of a ``with`` block; closed behind it only if it was made here."""

    def __init__(self, images: Any, channels: int | None) -> None:
        self._given = isinstance(images, (ImageSource, BatchStream))
        file_channels = channels if channels in (1, 3) else None
        self._source = as_source(images, file_channels)

    def __enter__(self) -> ImageSource | BatchStream:
        return self._source

    def __exit__(self, *exception: object) -> None:
        if not self._given:
            self._source.close()


def saved_notes(trainer: Trainer, file: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``CARL.save`` has noted in the file that a trainer was resumed from; empty if another has written it. FileError for notes
    that ``save`` does not write."""
    notes = trainer.notes.get("carl", {})
    wrong = None
    if not isinstance(notes, dict):
        raise FileError(f"{os.fspath(file)}: its notes are damaged")
    position = notes.get("position", {})
    if not isinstance(position, dict) or not all(
        isinstance(position.get(key, 0), int) and 0 <= position.get(key, 0) < 2**63 or key == "samples" and position[key] is None
        for key in ("epoch", "batch", "samples", "batch_size")
    ):
        wrong = "position"
    params = notes.get("params", {})
    if not isinstance(params, dict) or not all(_is_path_note(params.get(key)) for key in ("run_dir", "cache")):
        wrong = "params"
    if not _is_path_note(notes.get("data")):
        wrong = "data"
    if not _is_budget_note(notes.get("budget")):
        wrong = "budget"
    paths = notes.get("eval")
    if not (paths is None or isinstance(paths, list) and all(path is None or isinstance(path, str) for path in paths)):
        wrong = "eval"
    if wrong is not None:
        raise FileError(f"{os.fspath(file)}: its notes are damaged: {wrong} is {str(notes[wrong])[:40]!r}")
    return notes


def _is_budget_note(note: Any) -> bool:
    """Whether ``Pace.to_notes`` can have written it."""
    if not isinstance(note, dict):
        return note is None
    numbers = [note.get("seconds"), note.get("spent"), 0.0 if note.get("step_seconds") is None else note["step_seconds"]]
    return isinstance(note.get("chosen"), dict) and all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 1e12 for number in numbers)


def _is_path_note(note: Any) -> bool:
    """Whether ``_path_from_note`` can read it."""
    if not isinstance(note, dict):
        return note is None or isinstance(note, str)
    try:
        bytes.fromhex(note["bytes"])
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _noted(path: str | os.PathLike[str] | None) -> Any:
    """A path as JSON can hold it: text, or the bytes of a name that is not UTF-8."""
    if path is None:
        return None
    encoded = os.fsencode(path)
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return {"bytes": encoded.hex()}


def _path_from_note(note: Any) -> str | None:
    return os.fsdecode(bytes.fromhex(note["bytes"])) if isinstance(note, dict) else note


def _path_of(images: Any) -> str | None:
    return os.path.abspath(os.path.expanduser(os.fspath(images))) if isinstance(images, (str, os.PathLike)) else None


def _channels(source: ImageSource | BatchStream) -> int:
    return _arrays.pack_images(source.probe(), "images").channels if isinstance(source, BatchStream) else source.channels


def _samples(source: ImageSource | BatchStream) -> int | None:
    return None if isinstance(source, BatchStream) else len(source)

