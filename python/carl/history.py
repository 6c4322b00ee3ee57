"""The figures of all steps of a run, in as little memory as they need."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ._reading import parse_json, read_lines
from .errors import FileError
from .metrics import FIELDS, Metrics

if TYPE_CHECKING:
    from .runs import RunFolder

#: Figures that are whole numbers; float64 holds them exactly up to 2^53.
_WHOLE = {"step", "memory_bytes", "collapsed"}
_FLAGS = {"updated"}


class History(Sequence[Metrics]):
    """A sequence of ``Metrics``, one a step, which takes 8 bytes a figure: about 190 bytes a step.

    The rows are numbers in one array; a Metrics object is made whenever one is asked for. Equal to any sequence of
    equal Metrics.
    """

    __slots__ = ("_values",)

    def __init__(self, rows: Iterable[Metrics] = ()) -> None:
        self._values = array("d")
        for row in rows:
            self.append(row)

    def append(self, metrics: Metrics) -> None:
        # One call of one method: no signal can come between the figures of a row.
        self._values.extend(array("d", [getattr(metrics, name) for name in FIELDS]))

    def add_row(self, row: Mapping[str, Any]) -> None:
        """``append`` for figures by name; KeyError or TypeError for what they are not."""
        self._values.extend(array("d", [row[name] for name in FIELDS]))

    def column(self, name: str) -> np.ndarray:
        """One figure of all steps: float64 (steps,), a copy."""
        if name not in FIELDS:
            raise KeyError(name)
        return np.array(self._values, np.float64)[FIELDS.index(name) :: len(FIELDS)].copy()

    def __len__(self) -> int:
        return len(self._values) // len(FIELDS)

    @overload
    def __getitem__(self, place: int) -> Metrics: ...
    @overload
    def __getitem__(self, place: slice) -> list[Metrics]: ...

    def __getitem__(self, place: int | slice) -> Metrics | list[Metrics]:
        if isinstance(place, slice):
            return [self._row(each) for each in range(*place.indices(len(self)))]
        index = range(len(self))[place]  # raises IndexError, and counts from the end
        return self._row(index)

    def __iter__(self) -> Iterator[Metrics]:
        place = 0
        while place < len(self):  # a row may be added meanwhile
            yield self._row(place)
            place += 1

    def _row(self, place: int) -> Metrics:
        start = place * len(FIELDS)
        figures: dict[str, Any] = {
            name: int(value) if name in _WHOLE else bool(value) if name in _FLAGS else value
            for name, value in zip(FIELDS, self._values[start : start + len(FIELDS)])
        }
        return Metrics(**figures)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, (str, bytes)):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        losses = self.column("loss")
        return f"History({len(self)} steps" + (f", loss {losses[0]:.4g} to {losses[-1]:.4g})" if len(self) else ")")

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (FIELDS, self._values.tobytes())


def _unpickle(fields: tuple[str, ...], data: bytes) -> History:
    """The inverse of ``__reduce__``, for files of releases with other figures too."""
    history = History()
    values = np.frombuffer(data, np.float64).reshape(-1, len(fields))
    if fields == FIELDS:
        history._values.frombytes(data)
        return history
    rows = np.zeros((len(values), len(FIELDS)))
    for place, name in enumerate(FIELDS):
        if name in fields:
            rows[:, place] = values[:, fields.index(name)]
    history._values.frombytes(rows.tobytes())
    return history


def figures_before(run: RunFolder, step: int) -> tuple[History, list[dict[str, Any]]]:
    """What a run folder holds of the first `step` steps, for a run that goes on: their figures and its evaluations.
    Empty where they cannot be read: the run needs neither."""
    from .runs import read_evaluations

    history, file = History(), run.path / "metrics.jsonl"
    try:
        for line in read_lines(file) if step > 0 and file.is_file() else ():
            row = parse_json(line)
            if row["step"] > step:
                break
            history.add_row(row)
        judged = read_evaluations(run.path) if step > 0 else []
        return history, [row for row in judged if row["step"] <= step]
    except (FileError, ValueError, KeyError, TypeError, OverflowError):
        return History(), []
