"""The folder of a training run.

::

    config.json                    the complete configuration
    metrics.jsonl                  one JSON object a step
    usage.jsonl                    now and then, the prototypes of a fixed sample of the images
    images.json                    the files of a run on a list of files
    features.npy, features.json    views' features of a frozen encoder, until the run is over
    broken_images.jsonl            images that could not be read and were left out, each with the reason, if any
    eval.jsonl                     one JSON object for each evaluation on labelled images, if there were any
    train.log                      what happened, with times
    checkpoints/last.carl          everything needed to go on exactly
    exported/encoder.safetensors   the encoder's tensors by torchvision's names
    plots/                         pictures, by `carl plot`; plots.jsonl says of which checkpoint each is
    report.html                    all of them on a page, by `carl report`
    evaluation/                    results of `carl knn` and its relatives, with the checkpoint and the data they are of
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._lock import FolderLock
from ._reading import parse_json, read_lines, read_text
from ._run_log import RunLog
from ._weights_out import export_weights
from ._writing import Lines, make_folder, remove_abandoned, replace_file
from .config import check_types, parse_object
from .errors import BusyError, FileError, InvalidArgumentError
from .metrics import FIELDS, Metrics
from .trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path


_CHECKPOINT = os.path.join("checkpoints", "last.carl")


class RunFolder:
    """Writes a run's folder. Use as a context: warnings of the library go to train.log while it is open.

    ``claim`` comes first, ``open`` before the first step. Files are there whole or not at all, whatever ends the
    process, and what the system refuses (a full disk, a folder that is read-only or was removed) is a FileError that
    names the path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise InvalidArgumentError(f"run_dir: got {path!r}, want a folder's path")
        from pathlib import Path

        place = os.path.expanduser(os.fsdecode(path))
        if "\0" in place:
            raise InvalidArgumentError(f"run_dir: got {path!r}, which has a zero character")
        try:
            self.path = Path(place).absolute()  # it stays, when the program changes its working directory
        except OSError as error:
            raise FileError(f"run_dir: {place} is relative to the working directory, which is gone: {error}") from error
        self._lock = FolderLock(self.path)
        self._owner = 0
        self._made = False
        self._files: dict[str, Lines] = {}
        self._log_handler: RunLog | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def checkpoint(self) -> Path:
        return self.path / _CHECKPOINT

    @property
    def broken_images(self) -> Path:
        return self.path / "broken_images.jsonl"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def claim(self, going_on: Callable[[RunFolder], bool] = lambda run: False) -> None:
        """Makes the folder and keeps all others from training into it until ``close``.

        going_on: whether this training goes on with what is there. A folder that holds a run which would be overwritten
        is an InvalidArgumentError, one that is in use a BusyError, one that cannot be written a FileError.
        """
        try:
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"run_dir: cannot write {self.path}: {error}") from error
        self._lock.acquire()
        self._owner = os.getpid()
        if self.checkpoint.exists() and not going_on(self):
            self.close()
            raise InvalidArgumentError(
                f"run_dir: {self.path} holds a run already ({self.checkpoint}), which would be overwritten: fit(..., "
                "resume=True) goes on with it; for a new run choose another folder, or remove this one"
            )

    def open(self, step: int) -> None:
        """Makes the files. Figures of steps after `step`, from a run that ended without a checkpoint, are dropped; at
        step 0 all. What killed processes left of files they were writing is removed."""
        step = step or -1  # what is there of step 0 is another run's
        try:
            for folder in ("checkpoints", "exported", "plots"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            for place in ("", "checkpoints", "exported", "plots", "evaluation"):
                remove_abandoned(self.path / place)
            for name in ("metrics.jsonl", "usage.jsonl", "eval.jsonl"):
                _drop_steps_after(self.path / name, step)
            self._made = False
            for name in ("metrics.jsonl", "usage.jsonl", "train.log"):
                self._lines(name)
        except OSError as error:
            self.close()
            raise FileError(f"run_dir: cannot write {self.path}: {error}") from error
        self._log_handler = RunLog(self.log)

    def close(self) -> None:
        if self._log_handler is not None:
            self._log_handler.detach()
        files, self._files, self._log_handler = self._files, {}, None
        for file in files.values():
            file.close()
        self._lock.release()
        if self._made:  # nothing was trained: the folder is as it was, absent
            with suppress(OSError):
                self.path.rmdir()
            self._made = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _lines(self, name: str) -> Lines:
        if name not in self._files:
            self._files[name] = Lines(self.path / name)
        return self._files[name]

    @property
    def _is_open(self) -> bool:
        return self._log_handler is not None

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            raise BusyError(
                f"run_dir: {self.path} belongs to process {self._owner}, which this one is a copy of (fork)"
            )
        if not self._lock.is_in_place:  # another run's may be there by now
            raise FileError(f"run_dir: {self.path} was moved, removed or replaced while the run went on")

    def log(self, text: str) -> None:
        """A line of train.log, with the time. A line that the disk has no room for is left out: the figures are what
        must not be lost. So are those of a child that was forked meanwhile."""
        if "train.log" in self._files and self._owner == os.getpid():
            with suppress(FileError):
                self._lines("train.log").write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")

    def write_config(self, config: Mapping[str, Any]) -> None:
        self._check_owner()
        replace_file(self.path / "config.json", json.dumps(dict(config), indent=2) + "\n")

    def _add(self, name: str, row: dict[str, Any]) -> None:
        """A line more of a file."""
        self._check_owner()
        self._lines(name).write(json.dumps(row))

    def write_metrics(self, metrics: Metrics, epoch: int) -> None:
        if self._is_open:
            self._add("metrics.jsonl", {**metrics.to_dict(), "epoch": epoch})

    def write_usage(self, record: Mapping[str, Any]) -> None:
        if self._is_open:
            self._add("usage.jsonl", dict(record))

    def write_broken(self, images: Iterable[tuple[str, str]]) -> None:
        """Adds names and reasons to broken_images.jsonl, those that it does not have."""
        known = {row["image"] for row in read_broken(self.path)}
        for name, reason in images:
            if name not in known:
                self._add(self.broken_images.name, {"image": name, "reason": reason})

    def write_evaluation(self, figures: Mapping[str, Any]) -> None:
        if self._is_open:
            self._add("eval.jsonl", dict(figures))

    def last_evaluation(self) -> int | None:
        """The step of the last evaluation that is recorded."""
        rows = read_evaluations(self.path)
        return int(rows[-1]["step"]) if rows else None

    def save(self, trainer: Trainer, notes: Mapping[str, Any]) -> None:
        """Writes the checkpoint; the figures of its steps are on the disk before it."""
        self._check_owner()
        for file in self._files.values():
            file.sync()
        trainer.save(self.checkpoint, notes)

    def stamp(self) -> tuple[Any, ...] | None:
        """What tells this checkpoint from any other that may take its place; None if there is none."""
        try:
            status = os.stat(self.checkpoint)
        except OSError:
            return None
        return os.path.realpath(self.checkpoint), status.st_ino, status.st_mtime_ns, status.st_size

    def export(self, trainer: Trainer) -> None:
        """Writes the encoder for other programs."""
        self._check_owner()
        file = self.path / "exported" / "encoder.safetensors"
        make_folder(file.parent)
        export_weights(trainer, file)


def refuse_if_in_use(path: str | os.PathLike[str]) -> None:
    """BusyError if a run is being trained into this folder."""
    run = RunFolder(path)
    if run.path.is_dir() and os.access(run.path, os.W_OK):
        run._lock.acquire()
        run.close()


def _drop_steps_after(file: Path, step: int) -> None:
    """Rewrites a file of JSON lines, if it is there, without those of steps after `step` and those that are damaged."""
    if not file.is_file():
        return
    lines = list(read_lines(file))
    kept = [line for line in lines if _is_of_step(line, step)]
    if kept != lines:
        replace_file(file, "".join(line + "\n" for line in kept))


def _is_of_step(line: str, last: int) -> bool:
    try:
        return bool(parse_json(line)["step"] <= last)
    except (ValueError, KeyError, TypeError):
        return False  # cut off when the machine went down


def run_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of a run that exists; anything else is a FileError that says what is there instead."""
    from pathlib import Path

    folder = Path(path).expanduser()
    if not folder.exists():
        raise FileError(f"{folder}: no such run folder")
    if not folder.is_dir():
        raise FileError(f"{folder}: is a file, want the folder of a run, such as runs/train")
    if not is_run_folder(folder):
        raise FileError(f"{folder}: is not the folder of a run: it has neither config.json nor checkpoints")
    return folder


def is_run_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a run has written into this folder."""
    from pathlib import Path

    folder = Path(path).expanduser()
    return (folder / "config.json").is_file() or (folder / "checkpoints").is_dir()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The figures of a run, one dict a step, from its folder or its metrics.jsonl.

    A last line that was cut off when the run was killed is left out; any other damage is a FileError that names the
    line.
    """
    return _json_lines(path, "metrics.jsonl")


def read_usage(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What a run recorded of a fixed sample of its images, from its folder or its usage.jsonl: a dict for each time
    with

    step; assignments, the prototype of each image of the sample; assignment_entropy, mean entropy of its probabilities,
    in nats; mean_assignment_entropy, entropy of their mean. Runs on streams of batches record none.
    """
    return _json_lines(path, "usage.jsonl")


def read_broken(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The images that a run left out because they could not be read: a dict of "image", its path, and "reason" for
    each."""
    from pathlib import Path

    file = Path(path).expanduser() / "broken_images.jsonl"
    rows = []
    if file.is_file():
        for line in read_lines(file):
            try:
                row = parse_json(line)
                rows.append({"image": str(row["image"]), "reason": str(row["reason"])})
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off when the run was killed
    return rows


def read_evaluations(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The evaluations of a run on labelled images, one dict each, from its folder or its eval.jsonl: step, epoch
    (epochs done), knn, linear and raw_pixels (accuracies), seconds. Empty for a run without any."""
    from pathlib import Path

    folder = Path(path).expanduser()
    if folder.is_dir() and not (run_folder(folder) / "eval.jsonl").exists():
        return []
    return _json_lines(path, "eval.jsonl")


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration of a run, from its folder."""
    file = run_folder(path) / "config.json"
    config = parse_object(read_text(file), str(file))
    check_types(config, str(file))
    return config


def _json_lines(path: str | os.PathLike[str], name: str) -> list[dict[str, Any]]:
    from pathlib import Path

    file = Path(path).expanduser()
    if file.is_dir() or not file.exists():
        file = run_folder(file) / name
    if not file.exists():
        raise FileError(f"{file.parent}: has no {name}: the run has not taken a step, or the file was removed")
    rows: list[dict[str, Any]] = []
    damaged = None
    for number, line in enumerate(read_lines(file), start=1):
        if damaged is not None:
            raise FileError(damaged)  # the last line alone may have been cut off when the run was killed
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            _check_row(row)
        except ValueError as error:
            if number == 1 and file.suffix != ".jsonl":
                raise FileError(f"{file} is a file, want the folder of a run, or its {name}") from None
            damaged = f"{file}: line {number} is damaged: {error}"
            continue
        rows.append(row)
    return rows


#: What readers of a run's figures count on: numbers, where they are there at all.
_NUMBERS = frozenset(FIELDS) | {"epoch", "knn", "linear", "raw_pixels", "assignment_entropy", "mean_assignment_entropy"}


def _check_row(row: Any) -> None:
    """Raises ValueError for what no run writes: readers of the figures need not look again."""
    if not isinstance(row, dict) or "step" not in row:
        raise ValueError("not an object with a step")
    for name, value in row.items():
        if name == "assignments":
            if not isinstance(value, list) or not all(isinstance(item, int) and 0 <= item < 2**31 for item in value):
                raise ValueError(f"{name} is no list of whole numbers")
        elif name in _NUMBERS and not (
            value is None or isinstance(value, float) or isinstance(value, int) and abs(value) < 2**63
        ):
            raise ValueError(f"{name} is {str(value)[:40]!r}, want a number")
    if not isinstance(row["step"], int) or isinstance(row["step"], bool) or row["step"] < 0:
        raise ValueError(f"step is {row['step']!r}, want a whole number")


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The checkpoint that a path means: itself, or the last one of a run's folder."""
    from pathlib import Path

    if not isinstance(path, (str, os.PathLike)):
        raise InvalidArgumentError(f"path: got {type(path).__name__}, want a path")

    place = Path(path).expanduser()
    if not place.is_dir():
        return place
    checkpoint = place / _CHECKPOINT
    if not checkpoint.is_file():
        if not is_run_folder(place):
            raise FileError(f"{place}: is not the folder of a run: it has neither config.json nor checkpoints")
        raise FileError(f"{place}: has no checkpoint yet: {checkpoint} is missing")
    return checkpoint


def goes_on_with(run: RunFolder, resume: bool | str | os.PathLike[str]) -> bool:
    """Whether fit(resume=resume) goes on with what the folder holds."""
    if not isinstance(resume, (str, os.PathLike)):
        return resume is True
    return os.path.realpath(checkpoint_path(resume)) == os.path.realpath(run.checkpoint)
