"""Central finite differences, the judge of every hand-written gradient."""

import numpy as np


def numeric_gradient(function, x, step=1e-6):
    """The gradient of `function()`, a scalar that reads `x`, by every value of x (float64, changed and put back)."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        x[at] = kept + step
        above = function()
        x[at] = kept - step
        below = function()
        x[at] = kept
        gradient[at] = (above - below) / (2 * step)
    return gradient


def relative_error(value, reference):
    """l2 norm of the difference over that of the reference (0 when both are 0)."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    assert value.shape == reference.shape, f"shape {value.shape}, want {reference.shape}"
    error, size = np.linalg.norm(value - reference), np.linalg.norm(reference)
    return 0.0 if error == 0 else error / max(size, 1e-300)
