"""Layers, forward beside backward, written for reading and not for speed.

Images are NHWC, convolution weights OIHW as in torch's state dicts. A forward function returns its output and what its
backward function needs.
"""

import math

import numpy as np

try:
    from scipy.special import erf as _erf
except ImportError:  # SciPy is a convenience here: the standard library has a correct, slow erf.
    _erf = np.vectorize(math.erf, otypes=[np.float64])


def convolution_output(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def conv2d(x, weight, stride=1, padding=0):
    """x (N, H, W, I), weight (O, I, KH, KW) -> (N, H', W', O): cross-correlation, zero padding, no bias."""
    n, h, w, _ = x.shape
    o, _, kh, kw = weight.shape
    oh, ow = convolution_output(h, kh, stride, padding), convolution_output(w, kw, stride, padding)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    patches = np.concatenate(
        [_tap(padded, i, j, oh, ow, stride).reshape(n * oh * ow, -1) for i in range(kh) for j in range(kw)], axis=1
    )
    y = patches @ _patch_matrix(weight)
    return y.reshape(n, oh, ow, o), (patches, weight, padded.shape, stride, padding)


def conv2d_backward(dy, tape):
    """Gradients of x and of weight."""
    patches, weight, shape, stride, padding = tape
    _, oh, ow, o = dy.shape
    _, channels, kh, kw = weight.shape
    rows = dy.reshape(-1, o)
    dweight = (patches.T @ rows).reshape(kh, kw, channels, o).transpose(3, 2, 0, 1)
    dpatches = (rows @ _patch_matrix(weight).T).reshape(*dy.shape[:3], kh, kw, channels)
    dpadded = np.zeros(shape, dy.dtype)
    for i in range(kh):
        for j in range(kw):
            _tap(dpadded, i, j, oh, ow, stride)[...] += dpatches[:, :, :, i, j]
    return dpadded[:, padding : shape[1] - padding, padding : shape[2] - padding], dweight


def _patch_matrix(weight):
    """OIHW -> (KH * KW * I, O), in the order of a patch's values."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _tap(padded, i, j, oh, ow, stride):
    """The pixels that kernel position (i, j) meets, as a view."""
    return padded[:, i : i + stride * (oh - 1) + 1 : stride, j : j + stride * (ow - 1) + 1 : stride]


def batch_norm_train(x, scale, shift, eps=1e-5):
    """x (..., C), normalised by the mean and biased variance over all axes but the last.

    Returns the output, the tape, and (mean, unbiased variance) for the running statistics.
    """
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    mean = x.mean(axes)
    centred = x - mean
    variance = (centred * centred).mean(axes)
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    normalised = centred * inverse
    unbiased = variance * x.dtype.type(count / (count - 1))
    return normalised * scale + shift, (normalised, inverse, scale), (mean, unbiased)


def batch_norm_train_backward(dy, tape):
    """Gradients of x, scale and shift; the statistics depend on x."""
    normalised, inverse, scale = tape
    axes = tuple(range(dy.ndim - 1))
    dscale, dshift = (dy * normalised).sum(axes), dy.sum(axes)
    count = dy.dtype.type(dy.size // dy.shape[-1])
    dx = scale * inverse * (dy - dshift / count - normalised * dscale / count)
    return dx, dscale, dshift


def batch_norm_eval(x, scale, shift, mean, variance, eps=1e-5):
    """x (..., C), normalised by the running statistics."""
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    normalised = (x - mean) * inverse
    return normalised * scale + shift, (normalised, inverse, scale)


def batch_norm_eval_backward(dy, tape):
    """Gradients of x, scale and shift; the statistics are constants."""
    normalised, inverse, scale = tape
    axes = tuple(range(dy.ndim - 1))
    return dy * scale * inverse, (dy * normalised).sum(axes), dy.sum(axes)


def running_update(old, new, momentum=0.1):
    return old * old.dtype.type(1 - momentum) + new * old.dtype.type(momentum)


def relu(x):
    return np.maximum(x, 0), x


def relu_backward(dy, tape, kink=0.0):
    """`kink` moves the place of the kink: +m and -m tell how much the values within m of 0 matter, which rounding may
    put on either side."""
    return dy * (tape > kink)


def gelu(x):
    """x Phi(x) with the exact error function (Hendrycks and Gimpel, arXiv 1606.08415)."""
    phi = (0.5 * (1 + _erf(x / np.sqrt(x.dtype.type(2))))).astype(x.dtype)
    return x * phi, (x, phi)


def gelu_backward(dy, tape, kink=0.0):
    """`kink` is there for the likeness to ReLU: GELU has none."""
    x, phi = tape
    density = np.exp(-x * x / 2) / x.dtype.type(math.sqrt(2 * math.pi))
    return dy * (phi + x * density)


def linear(x, weight, bias):
    """x (B, I), weight (O, I), bias (O,) -> (B, O)."""
    return x @ weight.T + bias, (x, weight)


def linear_backward(dy, tape):
    """Gradients of x, weight and bias."""
    x, weight = tape
    return dy @ weight, dy.T @ x, dy.sum(0)


def max_pool(x, kernel=3, stride=2, padding=1):
    """x (N, H, W, C); the border never wins; the first of equal values (row by row) wins, as in torch."""
    _, h, w, _ = x.shape
    oh, ow = convolution_output(h, kernel, stride, padding), convolution_output(w, kernel, stride, padding)
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x, border, constant_values=-np.inf)
    taps = np.stack([_tap(padded, i, j, oh, ow, stride) for i in range(kernel) for j in range(kernel)])
    winner = taps.argmax(0)
    return np.take_along_axis(taps, winner[None], 0)[0], (winner, padded.shape, kernel, stride, padding)


def max_pool_backward(dy, tape):
    winner, shape, kernel, stride, padding = tape
    _, oh, ow, _ = dy.shape
    dpadded = np.zeros(shape, dy.dtype)
    for i in range(kernel):
        for j in range(kernel):
            _tap(dpadded, i, j, oh, ow, stride)[...] += dy * (winner == i * kernel + j)
    return dpadded[:, padding : shape[1] - padding, padding : shape[2] - padding]


def global_average_pool(x):
    """x (N, H, W, C) -> (N, C)."""
    return x.mean((1, 2)), x.shape


def global_average_pool_backward(dy, shape):
    _, h, w, _ = shape
    return np.broadcast_to(dy[:, None, None, :] / dy.dtype.type(h * w), shape).copy()
