"""The folder of a training run.

::

    config.json                    the complete configuration
    metrics.jsonl                  one JSON object a step
    train.log                      what happened, with times
    checkpoints/last.carl          everything needed to go on exactly
    exported/encoder.safetensors   the encoder's tensors by torchvision's names
    plots/
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from .errors import FileError, InvalidArgumentError
from .metrics import Metrics
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
        self._handler: logging.Handler | None = None

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.carl"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def open(self, step: int) -> None:
        """Makes the folder. Figures of steps after `step`, from a run that ended without a checkpoint, are dropped."""
        try:
            for folder in ("checkpoints", "exported", "plots"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            file = self.path / "metrics.jsonl"
            _keep_until(file, step)
            self._metrics = open(file, "a", encoding="utf-8")
            self._log = open(self.path / "train.log", "a", encoding="utf-8")
        except OSError as error:
            self.close()
            raise FileError(f"run_dir: cannot write {self.path}: {error}") from error
        self._handler = _attach_handler(self)

    def close(self) -> None:
        if self._handler is not None:
            _detach_handler(self._handler)
        for file in (self._metrics, self._log):
            if file is not None:
                file.close()
        self._metrics = self._log = self._handler = None

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

    def save(self, trainer: Trainer, notes: Mapping[str, Any]) -> None:
        trainer.save(self.checkpoint, notes)

    def export(self, trainer: Trainer) -> Path | None:
        """Writes the encoder by torchvision's names, for which the safetensors package is needed; None without it."""
        try:
            from safetensors.numpy import save_file
        except ImportError:
            self.log("exported/encoder.safetensors not written: pip install 'carl[export]'")
            return None
        file = self.path / "exported" / "encoder.safetensors"
        prefix = "encoder."
        tensors = {
            name.removeprefix(prefix): value for name, value in trainer.state_dict().items() if name.startswith(prefix)
        }
        partial = file.with_suffix(".partial")
        save_file(tensors, partial, metadata={"format": "pt"})
        os.replace(partial, file)
        return file


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


def _keep_until(file: Path, step: int) -> None:
    if not file.is_file():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off when the machine went down
    partial = file.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, file)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The figures of a run, one dict a step, from its folder or its metrics.jsonl."""
    from pathlib import Path

    file = Path(path)
    if file.is_dir():
        file = file / "metrics.jsonl"
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {file}: {error}") from error


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The checkpoint that a path means: itself, or the last one of a run's folder."""
    from pathlib import Path

    place = Path(path).expanduser()
    return RunFolder(place).checkpoint if place.is_dir() else place
