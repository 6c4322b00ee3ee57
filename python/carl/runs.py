"""The folder of a training run.

::

    config.json                    the complete configuration
    metrics.jsonl                  one JSON object a step
    usage.jsonl                    now and then, the prototypes of a fixed sample of the images
    broken_images.jsonl            images that could not be read and were left out, each with the reason; absent if there were none
    eval.jsonl                     one JSON object for each evaluation on labelled images, if there were any
    train.log                      what happened, with times
    checkpoints/last.carl          everything needed to go on exactly
    exported/encoder.safetensors   the encoder's tensors by torchvision's names
    plots/                         pictures, by `carl plot`
    report.html                    all of them on a page, by `carl report`
    evaluation/                    results of `carl knn` and its relatives, as JSON
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from ._reading import parse_json, read_lines, read_text
from .config import check_types, parse_object
from .errors import FileError, InvalidArgumentError, MissingPackageError
from .export import export_encoder
from .metrics import FIELDS, Metrics
from .trainer import Trainer

if TYPE_CHECKING:
    import logging
    from pathlib import Path

class RunFolder:
    """Writes a run's folder. Use as a context: warnings of the library go to train.log while it is open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise InvalidArgumentError(f"run_dir: got {path!r}, want a folder's path")
        from pathlib import Path

        self.path = Path(path).expanduser()
        self._log: IO[str] | None = None
        self._metrics: IO[str] | None = None
        self._usage: IO[str] | None = None
        self._evaluations: IO[str] | None = None
        self._handler: logging.Handler | None = None

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.carl"

    @property
    def broken_images(self) -> Path:
        return self.path / "broken_images.jsonl"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def open(self, step: int) -> None:
        """Makes the folder. Figures of steps after `step`, from a run that ended without a checkpoint, are dropped; at step 0 all."""
        step = step or -1  # what is there of step 0 is another run's
        try:
            for folder in ("checkpoints", "exported", "plots"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self._metrics = _continued(self.path / "metrics.jsonl", step)
            self._usage = _continued(self.path / "usage.jsonl", step)
            self._evaluations = _continued(self.path / "eval.jsonl", step) if (self.path / "eval.jsonl").is_file() else None
            self._log = open(self.path / "train.log", "a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.close()
            raise FileError(f"run_dir: cannot write {self.path}: {error}") from error
        self._handler = _attach_handler(self)

    def close(self) -> None:
        if self._handler is not None:
            _detach_handler(self._handler)
        for file in (self._metrics, self._usage, self._evaluations, self._log):
            if file is not None:
                file.close()
        self._metrics = self._usage = self._evaluations = self._log = self._handler = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def log(self, text: str) -> None:
        """A line of train.log, with the time."""
        if self._log is not None:
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
            self._log.flush()

    def write_config(self, config: Mapping[str, Any]) -> None:
        text = json.dumps(dict(config), indent=2) + "\n"
        (self.path / "config.json").write_text(text, encoding="utf-8")

    def write_metrics(self, metrics: Metrics, epoch: int) -> None:
        if self._metrics is not None:
            self._metrics.write(json.dumps({**metrics.to_dict(), "epoch": epoch}) + "\n")
            self._metrics.flush()

    def write_usage(self, record: Mapping[str, Any]) -> None:
        if self._usage is not None:
            self._usage.write(json.dumps(record) + "\n")
            self._usage.flush()

    def write_broken(self, images: Iterable[tuple[str, str]]) -> None:
        """Adds names and reasons to broken_images.jsonl, those that it does not have."""
        known = {row["image"] for row in read_broken(self.path)}
        with open(self.broken_images, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"image": name, "reason": reason}) + "\n" for name, reason in images if name not in known)

    def write_evaluation(self, figures: Mapping[str, Any]) -> None:
        if self._log is None:
            return
        if self._evaluations is None:
            self._evaluations = open(self.path / "eval.jsonl", "a", encoding="utf-8")
        self._evaluations.write(json.dumps(dict(figures)) + "\n")
        self._evaluations.flush()

    def last_evaluation(self) -> int | None:
        """The step of the last evaluation that is recorded."""
        rows = read_evaluations(self.path)
        return int(rows[-1]["step"]) if rows else None

    def save(self, trainer: Trainer, notes: Mapping[str, Any]) -> None:
        trainer.save(self.checkpoint, notes)

    def export(self, trainer: Trainer) -> Path | None:
        """Writes the encoder by torchvision's names, for which the safetensors package is needed; None without it."""
        try:
            return export_encoder(trainer, self.path / "exported" / "encoder.safetensors")
        except MissingPackageError as error:
            self.log(f"exported/encoder.safetensors not written: {error}")
            return None


def _attach_handler(run: RunFolder) -> logging.Handler:
    """Sends what is logged under "carl" to the run's train.log too."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                run.log(f"{record.levelname.lower()}: {record.getMessage()}")
            except Exception:
                self.handleError(record)

    handler = Handler(logging.INFO)
    logging.getLogger("carl").addHandler(handler)
    return handler


def _detach_handler(handler: logging.Handler) -> None:
    import logging

    logging.getLogger("carl").removeHandler(handler)


def _continued(file: Path, step: int) -> IO[str]:
    """A file of JSON lines, open for more of them, without those of steps after `step`."""
    if file.is_file():
        kept = []
        for line in read_lines(file):
            try:
                if parse_json(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off when the machine went down
        partial = file.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, file)
    return open(file, "a", encoding="utf-8")


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

    A last line that was cut off when the run was killed is left out; any other damage is a FileError that names the line.
    """
    return _json_lines(path, "metrics.jsonl")


def read_usage(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What a run recorded of a fixed sample of its images, from its folder or its usage.jsonl: a dict for each time with

    step; assignments, the prototype of each image of the sample; assignment_entropy, mean entropy of its probabilities,
    in nats; mean_assignment_entropy, entropy of their mean. Runs on streams of batches record none.
    """
    return _json_lines(path, "usage.jsonl")


def read_broken(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The images that a run left out because they could not be read: a dict of "image", its path, and "reason" for each."""
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
    """The evaluations of a run on labelled images, one dict each, from its folder or its eval.jsonl: step, epoch (epochs done),
    knn and linear (accuracies), seconds. Empty for a run without any."""
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
            damaged = f"{file}: line {number} is damaged: {error}"
            continue
        rows.append(row)
    return rows


#: What readers of a run's figures count on: numbers, where they are there at all.
_NUMBERS = frozenset(FIELDS) | {"epoch", "knn", "linear", "assignment_entropy", "mean_assignment_entropy"}


def _check_row(row: Any) -> None:
    """Raises ValueError for what no run writes: readers of the figures need not look again."""
    if not isinstance(row, dict) or "step" not in row:
        raise ValueError("not an object with a step")
    for name, value in row.items():
        if name == "assignments":
            if not isinstance(value, list) or not all(isinstance(item, int) and 0 <= item < 2**31 for item in value):
                raise ValueError(f"{name} is no list of whole numbers")
        elif name in _NUMBERS and not (value is None or isinstance(value, float) or isinstance(value, int) and abs(value) < 2**63):
            raise ValueError(f"{name} is {str(value)[:40]!r}, want a number")
    if not isinstance(row["step"], int) or isinstance(row["step"], bool) or row["step"] < 0:
        raise ValueError(f"step is {row['step']!r}, want a whole number")


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The checkpoint that a path means: itself, or the last one of a run's folder."""
    from pathlib import Path

    place = Path(path).expanduser()
    if not place.is_dir():
        return place
    checkpoint = RunFolder(place).checkpoint
    if not checkpoint.is_file():
        if not is_run_folder(place):
            raise FileError(f"{place}: is not the folder of a run: it has neither config.json nor checkpoints")
        raise FileError(f"{place}: has no checkpoint yet: {checkpoint} is missing")
    return checkpoint
