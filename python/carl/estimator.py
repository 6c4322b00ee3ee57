"""The estimator: training in one call, under scikit-learn's rules."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ._checkpoint import checkpoint_channels, is_classifier
from ._features import COLUMNS
from ._fit import (
    begin,
    begin_planned,
    checked_batch_size,
    checked_epochs,
    checkpoint_to_resume,
    fitting,
    passes,
    resume_from,
    train,
)
from ._given import Given, given_of, read_given
from ._input import channels_of, image_parts, samples_of
from ._notes import path_from_note, path_note, saved_notes
from ._pace import Pace
from ._parameters import Parameters
from ._pickles import begin_state, checked_params, file_of, telling_versions, written_bytes
from ._position import Position, batch_size_for
from ._pretrained import PretrainedEncoder, channels_to_read, pretrained_encoder, weights_of
from ._resume import take_stored
from ._run_place import claim_run, claim_to_fit
from ._schedule import Schedule
from ._sklearn import EstimatorRules
from .config import TrainerConfig
from .encoder import Encoder, embedded_rows
from .errors import FileError, InvalidArgumentError, not_fitted
from .history import History
from .metrics import Metrics
from .runs import checkpoint_path
from .sources.labelled import opened
from .trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


class CARL(Parameters, EstimatorRules):
    """Learns representations and prototypes from images without labels.

    ::

        model = carl.CARL(encoder="resnet18", prototypes=128, epochs=20)
        model.fit(images)  # uint8 (N, H, W) or (N, H, W, C); list of arrays; folder; iterable of batches
        features = model.transform(images)  # float32 (N, F)
        clusters = model.predict(images)  # int64 (N,)

    The parameters are the keys of ``carl.TrainerConfig``, where None means the library's default, and more of its own;
    the constructor's documentation has them all. None takes in_channels and view_size from the images: their channels,
    their shorter side (at most 224). ``fit`` ends with the last epoch (100 by default), or with step total_steps where
    that is given and comes first.

    With `weights`, a file of torchvision's, timm's or DINOv2's (``carl.weights_info``), the encoder begins with them:
    its keys, the views' size, mean and std are the file's, and ``transform`` gives features without ``fit`` too. With
    train_encoder "none" the encoder stays as it is: features of feature_views views of each image are computed once.

    Attributes after ``fit``: trainer_ (carl.Trainer), config_ (the complete configuration), history_ (carl.Metrics of
    each step), run_dir_ (the folder that was written, None without one), evaluations_ (figures of each evaluation on
    eval_set), epoch_ (epochs done), weights_ (the name, family and SHA-256 of the weights file, None without one),
    in_channels_, n_features_out_, data_wait_ (share of the time of the last fit that was spent waiting for images,
    0 .. 1), broken_images_ (a dict from the images it could not read, by path or number, to the reasons).

    Images go through in an order that depends on (seed, epoch) alone; a last incomplete batch is dropped. Ctrl-C during
    ``fit`` leaves a usable model, and a checkpoint if there is a run_dir, and is raised again. So do SIGTERM
    and SIGHUP, as carl.Terminated (a SystemExit of status 143), where ``fit`` runs in the main thread and the program
    does not handle them itself.
    """

    trainer_: Trainer
    config_: TrainerConfig
    history_: History
    evaluations_: list[dict[str, Any]]
    in_channels_: int
    n_features_out_: int
    #: Share of the time of the last fit that was spent waiting for images, and what could not be read of them.
    data_wait_: float
    broken_images_: dict[str, str]

    #: "file", "family" and "sha256" of the weights that the encoder began with; None without.
    weights_: dict[str, str] | None = None

    _position: Position
    #: Seconds, by which a budget is measured.
    _clock = staticmethod(time.perf_counter)
    #: Of a fit with a budget.
    _pace: Pace | None = None
    #: Bytes that a limit of memory leaves for images that are kept.
    _spare: float | None = None
    #: The budget's entry in the checkpoint, once the fit is over.
    _kept_budget: dict[str, Any] | None = None
    #: The path or paths of the images of the last fit, if they had some.
    _given = Given()
    #: The paths that the eval_set of the last fit was made of, None if it was not, or there was none.
    _eval_paths: list[str | None] | None = None
    #: The folder of the last fit, and an identification of the checkpoint that this object wrote there.
    run_dir_: Path | None = None
    #: Of a model with weights that was not fitted.
    _pretrained: PretrainedEncoder | None = None
    _stamp: tuple[Any, ...] | None = None

    # ---- Training

    def fit(
        self, images: Any, y: Any = None, *, eval_set: Any = None, resume: bool | str | os.PathLike[str] = False
    ) -> CARL:
        """Trains on images; see ``carl.as_source`` for what they may be. `y` is ignored.

        eval_set: labelled images to judge the features on while training, by k-NN and a linear probe: (images, labels),
            (images, labels, images, labels), or the path of labelled images; see ``carl.evaluate.OnlineEvaluation``,
            and eval_every for when. It has no influence on training. The figures are in evaluations_ and in the run
            folder's eval.jsonl.

        resume: True goes on from the last checkpoint in run_dir, if there is one; a path goes on from that checkpoint
            or run folder. What is left out is taken from the checkpoint; other values than its own are an
            InvalidArgumentError, but of threads, epochs, total_steps and budget. The result is bitwise that of a run
            without the interruption. Of a budget, what is left of it counts: the time until the checkpoint was spent.

        A run_dir that holds a run, which this fit does not resume, is an InvalidArgumentError; one that another process
        or model trains into is a BusyError. A file that cannot be written (full disk, removed folder) is a FileError:
        the model stays usable and the last checkpoint whole.
        """
        started = self._clock()
        schedule = Schedule(self.eval_every)
        if eval_set is None and self.eval_every is not None:
            raise InvalidArgumentError("eval_every: wants labelled images to judge by: give fit() an eval_set")
        with ExitStack() as stack:
            stack.enter_context(fitting(self))
            self._given, self._eval_paths = given_of(images), None
            if eval_set is not None:
                # Imported when it is needed: most of what judges is not, and a third of what there is to import.
                from .evaluate.online import OnlineEvaluation, paths_of

                self._eval_paths = paths_of(eval_set)
            run = claim_to_fit(self, stack, resume)
            checkpoint = checkpoint_to_resume(self, resume, run)
            if checkpoint is not None:
                take_stored(self, checkpoint)
            epochs = checked_epochs(self)
            weights = weights_of(self) if checkpoint is None else None
            channels = self.in_channels or (
                checkpoint_channels(checkpoint) if checkpoint else weights.config["in_channels"] if weights else None
            )
            source = stack.enter_context(opened(images, channels, self.value_range))
            if self._given.images is None:  # paths of an iterator
                self._given = given_of(source)
            evaluation = None
            if eval_set is not None:
                evaluation = stack.enter_context(
                    closing(
                        OnlineEvaluation(
                            eval_set, self.in_channels or channels_of(source), self.value_range, self.on_error
                        )
                    )
                )
            self._pace, self._kept_budget, self._spare, says = None, None, None, None
            epochs = passes(self, source, epochs)
            try:
                if checkpoint is not None:
                    position = resume_from(self, checkpoint, source, epochs, started)
                elif self.budget is None and self.memory is None:
                    position = begin(self, source, epochs, weights)
                else:
                    position, says = begin_planned(self, source, epochs, started, weights)
                train(self, source, position, epochs, run, evaluation, schedule, says, self.config_.total_steps, True)
            finally:
                if self._pace is not None:  # whose time is over, whatever ended the fit
                    self._kept_budget, self._pace = self._pace.to_notes(), None
        return self

    def partial_fit(self, images: Any, y: Any = None) -> CARL:
        """One pass over images, on top of what was learnt before. The first call makes the model.

        The learning rate stays constant unless total_steps is given, after ``fit`` too, whose schedule has come to its
        end. budget and memory are of ``fit``.
        """
        with ExitStack() as stack:
            stack.enter_context(fitting(self))
            known = self.run_dir_
            run = claim_run(self, stack, lambda run: self._stamp is not None and run.stamp() == self._stamp, known)
            fitted = self._is_trained()
            weights = None if fitted else weights_of(self)
            channels = self.in_channels_ if fitted else weights.config["in_channels"] if weights else None
            source = stack.enter_context(opened(images, self.in_channels or channels, self.value_range))
            if not fitted:
                position = begin(self, source, None, weights)
            else:
                size = batch_size_for(source, checked_batch_size(self))
                position = Position(self._position.epoch, 0, samples_of(source), size)
                self._position = position
                if self.total_steps is None and self.config_.total_steps is not None:
                    self.trainer_.reconfigure(schedule="constant", total_steps=None, decay_steps=None)
                    self.config_ = self.trainer_.config
            train(self, source, position, position.epoch + 1, run)
        return self

    def _attach(self, trainer: Trainer, position: Position, history: Iterable[Metrics]) -> None:
        self.trainer_ = trainer
        self.config_ = trainer.config
        self.history_ = history if isinstance(history, History) else History(history)
        self.evaluations_ = []
        self.in_channels_ = int(self.config_.in_channels or 0)
        self.n_features_out_ = trainer.output_width("features")
        self._position = position

    # ---- Use

    @overload
    def transform(
        self,
        images: Any,
        output: str = ...,
        *,
        on_error: str = ...,
        return_paths: Literal[False] = ...,
        progress: bool = ...,
    ) -> np.ndarray: ...

    @overload
    def transform(
        self, images: Any, output: str = ..., *, on_error: str = ..., return_paths: Literal[True], progress: bool = ...
    ) -> tuple[np.ndarray, list[str]]: ...

    def transform(
        self,
        images: Any,
        output: str = "features",
        *,
        on_error: str = "raise",
        return_paths: bool = False,
        progress: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, list[str]]:
        """float32 (N, width): the encoder's "features" (F), or "projection" (D), "probabilities" (K), "logits" (K). A
        DataFrame after ``set_output``. Of a model with `weights` that was not fitted yet "features"
        are those of the weights.

        images: whatever ``carl.as_source`` takes; the path of one image gives one row.
        on_error: an image that cannot be read is an error that names it ("raise"), or a row of NaN and a warning
            ("nan").
        return_paths: give the rows' names too, (features, names): names[i] is the path of the image of row i, its place
            in an archive, or its number ("image 7") where images have no path.
        progress: show a bar where it takes more than a second.
        """
        rows, names = self._rows(images, output, on_error, return_paths, progress)
        found: np.ndarray = self._as_output(rows, COLUMNS.get(output, output), images)
        return (found, names) if return_paths else found

    def _rows(
        self, images: Any, output: str, on_error: str = "raise", names: bool = False, progress: bool = False
    ) -> tuple[np.ndarray, list[str]]:
        """The output of each image, and with `names` how the images are called."""
        rest = (on_error, names, progress, self.value_range)
        if self.weights is not None and output == "features" and not self._is_trained():
            with opened(images, channels_to_read(self), self.value_range) as source:
                channels = channels_of(source)
                return embedded_rows(self._untrained(channels), source, output, channels, *rest)
        return embedded_rows(self._fitted("transform"), images, output, self.in_channels_, *rest)

    def _untrained(self, channels: int) -> Encoder:
        """The encoder with the weights of the file alone."""
        return pretrained_encoder(self).get(self, channels)

    def predict(self, images: Any) -> np.ndarray:
        """int64 (N,): the prototype each image is assigned to."""
        trainer = self._fitted("predict")
        parts = [
            trainer.embed_images(part, output="logits").argmax(axis=1)
            for part in image_parts(images, self.in_channels_, value_range=self.value_range)
        ]
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def fit_predict(self, images: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """``fit`` and ``predict``."""
        return self.fit(images, y, **fit_params).predict(images)

    def predict_proba(self, images: Any) -> np.ndarray:
        """float32 (N, K): the assignment probabilities over all prototypes."""
        self._fitted("predict_proba")
        return self._rows(images, "probabilities")[0]

    def _fitted(self, method: str) -> Trainer:
        if not self._is_trained():
            raise not_fitted(type(self).__name__, method, self.weights is not None)
        return self.trainer_

    @property
    def epoch_(self) -> int:
        """Epochs done."""
        self._fitted("epoch_")
        return self._position.epoch

    # ---- Files and copies

    def _notes(self) -> dict[str, Any]:
        # run_dir belongs to this run, not to later uses of the model.
        params = {key: value for key, value in self.get_params().items() if key not in ("callbacks", "run_dir")}
        params.update({key: path_note(params[key]) for key in ("cache", "weights")})
        data = path_note(self._given.images) if isinstance(self._given.images, str) else None
        notes = {"format": 1, "params": params, "position": self._position.to_notes(), "data": data}
        if self._pace is not None or self._kept_budget is not None:
            notes["budget"] = self._kept_budget if self._pace is None else self._pace.to_notes()
        if self.weights_ is not None:
            notes["weights"] = self.weights_
        if self._eval_paths is not None:
            notes["eval"] = self._eval_paths
        return {"carl": notes}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model, with all that is needed to train on, into one safetensors file for ``carl.load``."""
        self._fitted("save").save(path, self._notes())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None, precision: str | None = None) -> CARL:
        """Reads what ``save``, ``Trainer.save`` or a run wrote; `path` may be a run's folder. The model's run_dir is
        None: to go on with the run, set it and ``fit(..., resume=True)``. threads, precision: in the place of those it
        was trained with."""
        changes = {"threads": threads, "precision": precision}
        overrides = {key: value for key, value in changes.items() if value is not None}
        file = checkpoint_path(path)
        if is_classifier(file):
            raise FileError(f"{file} holds a classifier, want a model: carl.Classifier.load reads it")
        trainer = Trainer.resume(file, **overrides)
        try:
            model = cls._from_trainer(trainer, saved_notes(trainer, file))
            model._given = read_given(file) or model._given
            return model
        except BaseException:
            trainer.close()
            raise

    @classmethod
    def _from_trainer(cls, trainer: Trainer, notes: dict[str, Any]) -> CARL:
        config = trainer.config
        defaults = cls._parameter_defaults()
        saved = dict(notes.get("params", vars(config)))
        saved["run_dir"] = None  # a further fit must not overwrite the run that the model is of
        saved.update({key: path_from_note(saved.get(key)) for key in ("cache", "weights")})
        # Parameters of other releases that this one does not know are left out.
        model = cls(
            **{
                key: value
                for key, value in saved.items()
                if key in defaults and (value is not None or defaults[key] is None)
            }
        )
        model._adopt(trainer, notes)
        return model

    def _adopt(self, trainer: Trainer, notes: dict[str, Any]) -> None:
        """Takes a trainer that was read from a file, with what ``save`` has noted there."""
        size = trainer.config.batch_size or 2
        self._given = Given(path_from_note(notes.get("data")))
        self._eval_paths, self._kept_budget = notes.get("eval"), notes.get("budget")
        self.weights_ = notes.get("weights")
        self._attach(trainer, Position.from_notes(notes.get("position", {"batch_size": size})), [])

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: a fitted model's holds the bytes of its checkpoint, which ``save`` would write."""
        state = begin_state(self.get_params(deep=False))
        state["clone"], state["output"] = self._is_clone, self._sklearn_output_config
        state["runs"] = self._cloned_run_dir, self._own_run
        if self._is_trained():
            state["checkpoint"] = written_bytes(self.save, self.trainer_._file_bytes())
            state["history"], state["evaluations"] = self.history_, self.evaluations_
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        name = type(self).__name__
        type(self).__init__(self, **checked_params(state, name, self._parameter_names()))
        self._cloned_run_dir, self._own_run = state.get("runs", (None, None))
        self._is_clone, self._sklearn_output_config = bool(state.get("clone")), dict(state.get("output", {}))
        if "checkpoint" in state:
            with telling_versions(state, name), file_of(state["checkpoint"]) as path:
                trainer = Trainer.resume(path)
                self._adopt(trainer, saved_notes(trainer, path))
            self.history_, self.evaluations_ = state["history"], list(state["evaluations"])


def load(path: str | os.PathLike[str], *, threads: int | None = None, precision: str | None = None) -> CARL:
    """Reads a model that ``CARL.save``, ``Trainer.save`` or a run wrote; `path` may be a run's folder.

    threads, precision: in the place of those it was trained with. ``carl.Trainer.resume`` reads the same files for
    training by hand, ``carl.Encoder`` for embedding alone.
    """
    return CARL.load(path, threads=threads, precision=precision)
