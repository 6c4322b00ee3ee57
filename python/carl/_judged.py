"""Records with figures and pictures which checkpoint they are of, so that the report can mark those of an earlier
model."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ._checkpoint import steps_taken
from ._reading import parse_json, read_lines, read_text, sha256_of
from ._writing import Lines, make_folder, replace_file
from .errors import FileError
from .runs import checkpoint_path, is_run_folder

if TYPE_CHECKING:
    from .evaluate.result import Result
    from .sources import ImageSource

Model = TypeVar("Model")
#: In a run's plots/: a line for each picture that was drawn.
_PICTURES = "plots.jsonl"


def checkpoint_facts(model: str | os.PathLike[str]) -> dict[str, Any]:
    """``step`` and ``sha256`` of a checkpoint, or of a run folder's; FileError if there is none."""
    path = checkpoint_path(model)
    return {"step": steps_taken(path), "sha256": sha256_of(path)}


def facts_or_none(model: str | os.PathLike[str]) -> dict[str, Any] | None:
    """``checkpoint_facts``, or None where there is no checkpoint that can be read."""
    try:
        return checkpoint_facts(model)
    except OSError:
        return None


@dataclass
class Judged:
    """What a command evaluates. run: its folder; None for a single checkpoint, whose figures are not kept."""

    run: str | None
    checkpoint: dict[str, Any] | None
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, part: str, path: str, labels: str | None, source: ImageSource) -> None:
        """Notes a set of images: `part` is what it serves as, such as "test"."""
        facts = {
            "path": os.path.abspath(os.path.expanduser(path)),
            "description": source.describe(),
            "images": len(source),
        }
        if labels is not None:
            facts["labels"] = os.path.abspath(os.path.expanduser(labels))
        self.data[part] = facts

    def keep(self, result: Result, name: str | None = None) -> str | None:
        """Writes a protocol's figures, with the checkpoint and the data they are of, into the run folder's evaluation/,
        where the report finds them, under the protocol's name or another. A folder that cannot be written is a warning:
        the figures are there to be shown."""
        if self.run is None:
            return None
        folder = os.path.join(self.run, "evaluation")
        path = os.path.join(folder, f"{name or result.protocol}.json")
        facts = {**result.to_dict(), "checkpoint": self.checkpoint, "data": self.data}
        try:
            make_folder(folder)
            replace_file(path, json.dumps(facts, indent=2) + "\n")
        except FileError as error:
            warnings.warn(f"these figures are not kept for the report: {error}", UserWarning, stacklevel=2)
            return None
        return path


def loaded(path: str, load: Callable[[str], Model]) -> tuple[Model, Judged]:
    """A model and the facts of its checkpoint. A run in progress may replace the checkpoint at any moment: the facts
    are those of the file that was loaded."""
    if not (os.path.isdir(os.path.expanduser(path)) and is_run_folder(path)):
        return load(path), Judged(None, None)
    file = checkpoint_path(path)
    while True:
        before = _stamp(file)
        facts = checkpoint_facts(file)
        model = load(path)
        if _stamp(file) == before:
            return model, Judged(os.path.expanduser(path), facts)
        close: Any = getattr(model, "close", None) or model.trainer_.close  # type: ignore[attr-defined]
        close()


def _stamp(file: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        facts = os.stat(file)
        return facts.st_ino, facts.st_mtime_ns, facts.st_size
    return None


def note_picture(run: Path, file: Path, checkpoint: Mapping[str, Any] | None) -> None:
    """Notes of which checkpoint a picture in the run's plots/ is. Pictures elsewhere are not of the run's folder."""
    folder = run / "plots"
    if os.path.realpath(file.parent) != os.path.realpath(folder):
        return
    lines = Lines(folder / _PICTURES)
    try:
        lines.write(json.dumps({"file": file.name, "checkpoint": checkpoint}))
    finally:
        lines.close()


def evaluations(run: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What evaluations have left in a run folder: names of files below it, and their content."""
    for file in [*sorted((run / "evaluation").glob("*.json")), run / "results.json"]:
        with suppress(OSError, ValueError):
            value = parse_json(read_text(file))
            if isinstance(value, dict):
                yield file.relative_to(run).as_posix(), value


def stale(run: Path) -> dict[str, str]:
    """Figures and pictures in a run folder that are not of its present checkpoint, or do not say of which: names of
    files below it, and what is the matter."""
    present = facts_or_none(run)
    found = {name: value.get("checkpoint") for name, value in evaluations(run)}
    noted: dict[str, Any] = {}
    with suppress(OSError):
        for line in read_lines(run / "plots" / _PICTURES):
            with suppress(ValueError, KeyError, TypeError):
                row = parse_json(line)
                noted[str(row["file"])] = row["checkpoint"]
    with suppress(OSError):
        pictures = [path for path in (run / "plots").iterdir() if path.suffix.lower() in (".png", ".svg", ".pdf")]
        found.update({f"plots/{path.name}": noted.get(path.name) for path in sorted(pictures)})
    return {name: reason for name, facts in found.items() if (reason := _difference(facts, present))}


def _difference(facts: Any, present: Mapping[str, Any] | None) -> str:
    """What to say of something that is of the checkpoint `facts`; "" if that is the present one."""
    if not isinstance(facts, dict) or "sha256" not in facts:
        return "does not say which checkpoint it is of: make it anew to be sure"
    if present is None:
        return f"of step {facts.get('step')}, but there is no checkpoint here any more"
    if facts["sha256"] == present["sha256"]:
        return ""
    if facts.get("step") == present["step"]:
        return f"of another model than the present checkpoint, of step {present['step']} too: make it anew"
    return f"of step {facts.get('step')}, but the present checkpoint is of step {present['step']}: make it anew"
