"""The objective by itself: consistent assignment with its uniform prior, on embeddings of any origin."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref, sizeof
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _arrays
from ._array_like import is_array_like
from ._c_api import LIB, call, carl_assignment_options, carl_assignment_result, pointers
from ._shown import ShownFields
from .errors import InvalidArgumentError


@dataclass(frozen=True, repr=False, eq=False)
class AssignmentLoss(ShownFields):
    """loss = consistency + prior_weight * prior, with the gradients of the loss.

    grad_views: one array (B, D) a view. grad_prototypes: (K, D).
    """

    loss: float
    consistency: float
    prior: float
    grad_views: list[np.ndarray]
    grad_prototypes: np.ndarray


def assignment_loss(
    views: Sequence[Any],
    prototypes: Any,
    *,
    targets: Sequence[Any] | None = None,
    target_prototypes: Any = None,
    temperature: float = 1.0,
    normalize_embedding: bool = True,
    normalize_prototypes: bool = True,
    stop_gradient: bool = True,
    symmetric: bool = True,
    prior_weight: float = 1.0,
    prior_over_targets: bool = False,
    partition_size: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
) -> AssignmentLoss:
    """Consistency of the views' assignments to the prototypes, plus the uniform prior, and the gradients of their sum.

    views: float32 arrays (B, D), one a view; at least 2 without `targets`.
    prototypes: float32 (K, D), before normalisation.
    targets: embeddings (B, D) of a teacher, one a view; pairs are then (view a, target b) with a != b, and targets get
        no gradient. target_prototypes: the teacher's, (K, D); None for the same.
    temperature: divides the logits; above 0.
    normalize_embedding, normalize_prototypes: divide each row by its l2 norm.
    stop_gradient: the target of a pair gets no gradient from it.
    symmetric: every ordered pair (a, b), else only a < b.
    prior_over_targets: the mean assignment of the prior includes the targets' probabilities.
    partition_size: softmax and both terms inside random blocks of so many prototypes, 1 .. K, and the mean over blocks
        (CARP, arXiv 2310.12692); the K mod partition_size prototypes left over have no gradient. None for one softmax
        over all.
    seed: of the random partition, which depends on seed and K alone; None is 0.
    threads: None for all processors.
    """
    arrays = _embeddings(views, "views")
    batch, dimension = arrays[0].shape
    weights = _arrays.float_array(prototypes, "prototypes", ("K", dimension))
    target_arrays = None if targets is None else _embeddings(targets, "targets", (batch, dimension))
    if target_arrays is None and len(arrays) < 2:
        raise InvalidArgumentError(f"views: got {len(arrays)}, want at least 2 (or targets)")
    target_weights = None
    if target_prototypes is not None:
        if target_arrays is None:
            raise InvalidArgumentError("target_prototypes: given without targets")
        target_weights = _arrays.float_array(target_prototypes, "target_prototypes", weights.shape)

    options = carl_assignment_options()
    LIB.carl_assignment_options_init(byref(options), sizeof(options))
    options.temperature = _arrays.real(temperature, "temperature", 0.0, above=True)
    options.prior_weight = _arrays.real(prior_weight, "prior_weight", 0.0)
    options.normalize_embedding = int(bool(normalize_embedding))
    options.normalize_prototypes = int(bool(normalize_prototypes))
    options.stop_gradient = int(bool(stop_gradient))
    options.symmetric = int(bool(symmetric))
    options.prior_over_targets = int(bool(prior_over_targets))
    if partition_size is not None:
        options.partition_size = _arrays.c_integer(partition_size, "partition_size", 1)
    options.seed = 0 if seed is None else _arrays.integer(seed, "seed", 0, 2**64 - 1)
    options.threads = _arrays.thread_count(threads)

    result = carl_assignment_result()
    grad_views = [np.empty_like(array) for array in arrays]
    grad_prototypes = np.empty_like(weights)
    call(
        LIB.carl_assignment_loss,
        byref(options),
        pointers(arrays),
        len(arrays),
        batch,
        dimension,
        weights,
        len(weights),
        None if target_arrays is None else pointers(target_arrays),
        0 if target_arrays is None else len(target_arrays),
        target_weights,
        byref(result),
        pointers(grad_views),
        grad_prototypes,
    )
    return AssignmentLoss(result.loss, result.consistency, result.prior, grad_views, grad_prototypes)


def _embeddings(value: Any, name: str, shape: tuple[int, int] | None = None) -> list[np.ndarray]:
    if is_array_like(value) and getattr(value, "ndim", 0) == 3:
        value = list(value)
    if not isinstance(value, (list, tuple)):
        raise InvalidArgumentError(f"{name}: got {type(value).__name__}, want a list of float32 arrays (B, D)")
    if not value:
        raise InvalidArgumentError(f"{name}: is empty")
    arrays: list[np.ndarray] = []
    for place, item in enumerate(value):
        want = shape or (arrays[0].shape if arrays else ("B", "D"))
        arrays.append(_arrays.float_array(item, f"{name}[{place}]", want))
    return arrays
