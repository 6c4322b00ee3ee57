"""Which prototypes a fixed sample of the images is assigned to, recorded while training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CARLError
from .sources.order import evenly_spaced

if TYPE_CHECKING:
    from .runs import RunFolder
    from .sources import ImageSource
    from .sources.broken import BrokenImages
    from .trainer import Trainer

#: Images of the sample at most, and bytes they may take.
_SAMPLE, _BYTES = 512, 64_000_000
#: Share of the training's arithmetic that recording may cost: a step embeds each image in two views or more and goes
#: back through them at twice that price.
_COST, _PASSES = 0.03, 6
#: Records of a whole run at most.
_RECORDS = 100
#: Images of the sample at most in a run on features that are computed once, where a record costs more than a step.
_FROZEN_SAMPLE = 64


class UsageRecorder:
    """Writes a line of usage.jsonl now and then. The sample depends on the images alone, the steps on their number, so
    a resumed run records what an uninterrupted one does. Embedding changes nothing in the trainer.

    last: the step of the last record that is there already. frozen: of a run on features that are computed once, of how
    many views of each image."""

    def __init__(
        self,
        source: ImageSource,
        batch_size: int,
        total_steps: int | None,
        broken: BrokenImages,
        last: int | None = None,
        frozen: int | None = None,
    ) -> None:
        from .sources.broken import read_batch

        places = sample_places(source, _SAMPLE if frozen is None else _FROZEN_SAMPLE)
        records = _RECORDS
        if frozen is not None:
            records = min(records, max(1, int(_COST * frozen * len(source) / len(places))))
        self._images = read_batch(source, places, broken)
        cheap = -(-len(places) // max(1, int(_COST * _PASSES * batch_size)))
        self._every = max(1, cheap, 0 if total_steps is None else -(-total_steps // records))
        self._last = last

    def due(self, step: int) -> bool:
        return step % self._every == 0

    def record(self, trainer: Trainer, run: RunFolder) -> None:
        """Records the present step, once."""
        step = trainer.step_count
        if step == self._last:
            return
        self._last = step
        run.write_usage({"step": step, **describe_assignments(trainer.embed_images(self._images, output="logits"))})


def sample_places(source: ImageSource, most: int = _SAMPLE) -> np.ndarray:
    """Places of at most `most` images, an eighth of the set where that is less but at least 32, evenly spaced."""
    pixels = source.side**2 * source.channels
    most = max(32, min(most, _BYTES // max(1, pixels)))
    return evenly_spaced(len(source), min(most, max(32, len(source) // 8)))


def describe_assignments(logits: np.ndarray) -> dict[str, Any]:
    """assignments: the prototype of each image. assignment_entropy: mean entropy of its probabilities, in nats.
    mean_assignment_entropy: entropy of the mean of the probabilities. From logits (N, K)."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    weights = np.exp(values)
    sums = weights.sum(axis=1, keepdims=True)
    probabilities = weights / sums
    # -sum p log p with log p = value - log(sum): finite where p is 0.
    single = (np.log(sums[:, 0]) - (probabilities * values).sum(axis=1)).mean()
    mean = probabilities.mean(axis=0)
    return {
        "assignments": logits.argmax(axis=1).tolist(),
        "assignment_entropy": max(0.0, float(single)),
        "mean_assignment_entropy": max(0.0, float(-(mean * np.log(np.where(mean > 0, mean, 1.0))).sum())),
    }


def make_recorder(
    source: Any,
    batch_size: int,
    total_steps: int | None,
    run: RunFolder,
    broken: BrokenImages,
    frozen: int | None = None,
) -> UsageRecorder | None:
    """A recorder; None for streams, which cannot be sampled, and after a damaged usage.jsonl."""
    from .runs import read_usage
    from .sources import ImageSource

    if not isinstance(source, ImageSource):
        return None
    try:
        before = read_usage(run.path / "usage.jsonl")
    except CARLError as error:
        run.log(f"usage.jsonl is not written: {error}")
        return None
    return UsageRecorder(source, batch_size, total_steps, broken, before[-1]["step"] if before else None, frozen)
