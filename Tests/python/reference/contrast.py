"""Contrast between the images of a step: NT-Xent (arXiv 2002.05709, equation 1), the mean over all other views of an
image as positives."""

import numpy as np

from .assignment import log_softmax, unit_rows, unit_rows_backward


def contrast_loss(views, temperature):
    """views: list of (B, D). The loss, and its gradient by each view."""
    dtype = views[0].dtype
    count, batch = len(views), len(views[0])
    unit, norms = unit_rows(np.concatenate(views))
    rows = len(unit)
    image = np.arange(rows) % batch
    logits = unit @ unit.T / dtype.type(temperature)
    np.fill_diagonal(logits, -np.inf)
    log_p = log_softmax(logits)
    positive = image[:, None] == image[None, :]
    np.fill_diagonal(positive, False)
    weights = positive / dtype.type(max(count - 1, 1))
    loss = -np.where(positive, log_p, 0).sum() / dtype.type(rows * max(count - 1, 1))
    dlogits = (np.exp(log_p) - weights) / dtype.type(rows * temperature)
    dunit = dlogits @ unit + dlogits.T @ unit
    return loss, np.split(unit_rows_backward(dunit, unit, norms), count)
