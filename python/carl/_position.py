"""Where a run is in its data, and how that is cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._input import samples_of
from .errors import InvalidArgumentError
from .sources import BatchStream, ImageSource


@dataclass
class Position:
    """Position of a run in its data: `batch` batches of epoch number `epoch` are done. `samples`: size of the data set,
    None for streams."""

    epoch: int = 0
    batch: int = 0
    samples: int | None = None
    batch_size: int = 0

    def to_notes(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_notes(cls, notes: dict[str, Any]) -> Position:
        return cls(**{key: notes[key] for key in ("epoch", "batch", "samples", "batch_size") if key in notes})


def own_batch_size(source: ImageSource | BatchStream) -> int | None:
    """The images of a batch that the caller has made; None where batches are made here."""
    return source.batch_size if isinstance(source, BatchStream) else None


def batch_size_for(source: ImageSource | BatchStream, batch_size: int) -> int:
    """The batch size used: a stream's own; the whole set where it is smaller than one batch."""
    if isinstance(source, BatchStream):
        return own_batch_size(source) or batch_size
    if len(source) < 2:
        raise InvalidArgumentError(f"images: got {len(source)}, want at least 2")
    return min(batch_size, len(source))


def refuse_other_images(source: ImageSource | BatchStream, position: Position, checkpoint: str) -> None:
    """InvalidArgumentError for another number of images, or batches of another size, than a run has gone through: its
    place in the data counts batches."""
    samples = samples_of(source)
    if position.samples != samples:
        raise InvalidArgumentError(
            f"images: got {samples}, the checkpoint {checkpoint} was made with {position.samples}"
        )
    own = own_batch_size(source)
    if own is not None and own != position.batch_size:
        raise InvalidArgumentError(
            f"images: got batches of {own}, the checkpoint {checkpoint} was made with batches of {position.batch_size}"
        )


def steps_per_epoch(source: ImageSource | BatchStream, batch_size: int) -> int | None:
    """None for a stream that does not know its length."""
    if isinstance(source, BatchStream):
        return source.steps(batch_size)
    return len(source) // batch_size
