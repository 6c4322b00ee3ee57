"""The references' layers against finite differences, and against torch where it is installed."""

import numpy as np
import pytest

from reference import layers
from reference.differences import numeric_gradient, relative_error

LIMIT = 1e-6


def generator(seed=0):
    return np.random.default_rng(seed)


def check(forward, backward, inputs, seed=1):
    """forward(*inputs) -> (y, tape); backward(dy, tape) -> gradients of all inputs."""
    y, tape = forward(*inputs)
    dy = generator(seed).standard_normal(y.shape)
    gradients = backward(dy, tape)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    for x, gradient in zip(inputs, gradients, strict=True):
        numeric = numeric_gradient(lambda: (forward(*inputs)[0] * dy).sum(), x)
        assert relative_error(gradient, numeric) < LIMIT


CONVOLUTIONS = [
    # (N, H, W, I), (O, KH, KW), stride, padding
    ((1, 1, 1, 1), (1, 1, 1), 1, 0),
    ((2, 5, 4, 3), (2, 1, 1), 1, 0),
    ((2, 5, 4, 3), (2, 1, 1), 2, 0),
    ((1, 5, 7, 2), (3, 3, 3), 1, 1),
    ((2, 6, 5, 1), (2, 3, 3), 2, 1),
    ((1, 1, 1, 3), (2, 3, 3), 1, 1),
    ((1, 9, 8, 2), (2, 7, 7), 2, 3),
    ((1, 7, 6, 2), (2, 2, 3), 3, 1),
    ((1, 8, 8, 1), (2, 3, 3), 1, 0),
]


@pytest.mark.parametrize("shape, kernel, stride, padding", CONVOLUTIONS)
def test_convolution_gradients(shape, kernel, stride, padding):
    rng = generator()
    x, weight = rng.standard_normal(shape), rng.standard_normal((kernel[0], shape[3], *kernel[1:]))
    check(lambda x, w: layers.conv2d(x, w, stride, padding), layers.conv2d_backward, [x, weight])


@pytest.mark.parametrize("shape, kernel, stride, padding", CONVOLUTIONS)
def test_convolution_agrees_with_torch(shape, kernel, stride, padding):
    torch = pytest.importorskip("torch")
    rng = generator()
    x, weight = rng.standard_normal(shape), rng.standard_normal((kernel[0], shape[3], *kernel[1:]))
    y, tape = layers.conv2d(x, weight, stride, padding)
    dy = rng.standard_normal(y.shape)
    dx, dweight = layers.conv2d_backward(dy, tape)
    tx = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    tw = torch.tensor(weight, requires_grad=True)
    ty = torch.nn.functional.conv2d(tx, tw, stride=stride, padding=padding)
    ty.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))
    assert relative_error(y.transpose(0, 3, 1, 2), ty.detach().numpy()) < 1e-12
    assert relative_error(dx.transpose(0, 3, 1, 2), tx.grad.numpy()) < 1e-12
    assert relative_error(dweight, tw.grad.numpy()) < 1e-12


@pytest.mark.parametrize("shape", [(2, 1), (5, 3), (2, 3, 5, 2), (1, 2, 1, 3)])
def test_batch_norm_gradients(shape):
    rng = generator()
    x = 2 + 3 * rng.standard_normal(shape)
    scale, shift = rng.uniform(0.5, 1.5, shape[-1]), rng.standard_normal(shape[-1])
    mean, variance = rng.standard_normal(shape[-1]), rng.uniform(0.5, 2, shape[-1])
    train = lambda x, scale, shift: layers.batch_norm_train(x, scale, shift)[:2]
    evaluate = lambda x, scale, shift: layers.batch_norm_eval(x, scale, shift, mean, variance)
    if x.size // shape[-1] > 2:  # of two values the normalised ones are +-1: no gradient is left to compare
        check(train, layers.batch_norm_train_backward, [x, scale, shift])
    check(evaluate, layers.batch_norm_eval_backward, [x, scale, shift])


def test_batch_norm_agrees_with_torch():
    torch = pytest.importorskip("torch")
    rng = generator()
    x, dy = 5 + rng.standard_normal((3, 4, 5, 2)), rng.standard_normal((3, 4, 5, 2))
    norm = torch.nn.BatchNorm2d(2, dtype=torch.float64)
    scale, shift = rng.uniform(0.5, 1.5, 2), rng.standard_normal(2)
    norm.weight.data, norm.bias.data = torch.tensor(scale), torch.tensor(shift)
    tx = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    ty = norm(tx)
    ty.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))
    y, tape, (mean, variance) = layers.batch_norm_train(x, scale, shift)
    dx, dscale, dshift = layers.batch_norm_train_backward(dy, tape)
    assert relative_error(y.transpose(0, 3, 1, 2), ty.detach().numpy()) < 1e-12
    assert relative_error(dx.transpose(0, 3, 1, 2), tx.grad.numpy()) < 1e-11
    assert relative_error(dscale, norm.weight.grad.numpy()) < 1e-11
    assert relative_error(dshift, norm.bias.grad.numpy()) < 1e-11
    assert relative_error(layers.running_update(np.zeros(2), mean), norm.running_mean.numpy()) < 1e-12
    assert relative_error(layers.running_update(np.ones(2), variance), norm.running_var.numpy()) < 1e-12


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_activation_gradients(name):
    x = 2 * generator().standard_normal((7, 5))
    check(getattr(layers, name), getattr(layers, name + "_backward"), [x])


def test_gelu_values():
    y, _ = layers.gelu(np.array([0.0, 1.0, -1.0, 30.0, -30.0]))
    # Phi(1) = 0.841344746068542948...
    np.testing.assert_allclose(y, [0, 0.841344746068543, -0.158655253931457, 30, 0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("rows, inputs, outputs", [(1, 1, 1), (3, 5, 2), (4, 1, 3)])
def test_linear_gradients(rows, inputs, outputs):
    rng = generator()
    arrays = [rng.standard_normal((rows, inputs)), rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)]
    check(layers.linear, layers.linear_backward, arrays)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 4, 3), (1, 2, 7, 2), (1, 6, 6, 1)])
def test_pooling_gradients(shape):
    x = generator().permutation(np.prod(shape)).reshape(shape).astype(np.float64)  # no ties, far apart
    check(layers.max_pool, layers.max_pool_backward, [x])
    check(layers.global_average_pool, layers.global_average_pool_backward, [x])


def test_max_pool_agrees_with_torch_ties_included():
    torch = pytest.importorskip("torch")
    rng = generator()
    x = rng.integers(-2, 1, (2, 7, 6, 3)).astype(np.float64)
    y, tape = layers.max_pool(x)
    dy = rng.standard_normal(y.shape)
    tx = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    ty = torch.nn.functional.max_pool2d(tx, 3, 2, 1)
    ty.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), ty.detach().numpy())
    dx = layers.max_pool_backward(dy, tape)
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), tx.grad.numpy(), rtol=0, atol=1e-12)
