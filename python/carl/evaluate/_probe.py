"""A quick linear classifier on features, by NumPy alone."""

from __future__ import annotations

import numpy as np

from ..sources.order import epoch_order

#: Epochs, batch size, and the initial learning rate, which decays along half a cosine.
EPOCHS, BATCH, RATE = 20, 128, 0.01
#: Adam's betas and epsilon.
_FIRST, _SECOND, _TINY = 0.9, 0.99, 1e-8
_WEIGHT_DECAY = 1e-4


def fit_probe(features: np.ndarray, places: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression: weights (D, classes) and biases (classes,) for logits ``x @ weights + biases``.

    features: float32 (N, D), standardised internally. places: class of each, 0 .. classes - 1. Adam (Kingma and Ba,
    2015) from weights of zero, in an order that depends on N alone: the same features give the same probe.
    """
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    rows = np.empty((len(features), features.shape[1] + 1), np.float32)
    rows[:, :-1] = (features - mean) / scale
    rows[:, -1] = 1
    weights = np.zeros((rows.shape[1], classes), np.float32)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    starts = range(0, len(rows), BATCH)
    step, total = 0, EPOCHS * len(starts)
    for epoch in range(EPOCHS):
        order = epoch_order(len(rows), 0, epoch)
        for start in starts:
            chosen = order[start : start + BATCH]
            gradient = _gradient(rows[chosen], places[chosen], weights) + _WEIGHT_DECAY * weights
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / total))
            step += 1
            first += (1 - _FIRST) * (gradient - first)
            second += (1 - _SECOND) * (gradient * gradient - second)
            root = np.sqrt(second / (1 - _SECOND**step)) + _TINY
            weights -= np.float32(rate / (1 - _FIRST**step)) * first / root
    slopes = weights[:-1] / scale[:, None]
    return slopes, weights[-1] - mean @ slopes


def _gradient(rows: np.ndarray, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the mean cross-entropy."""
    logits = rows @ weights
    logits -= logits.max(axis=1, keepdims=True)
    errors = np.exp(logits)
    errors /= errors.sum(axis=1, keepdims=True)
    errors[np.arange(len(rows)), places] -= 1
    gradient: np.ndarray = rows.T @ errors / np.float32(len(rows))
    return gradient
