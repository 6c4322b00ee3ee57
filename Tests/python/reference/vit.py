"""Vision transformers (Dosovitskiy et al., arXiv 2010.11929) as timm builds and names them, from a state dict: depth,
width, patch, registers, LayerScale and the grid of positions are read from it."""

import math

import numpy as np

from . import layers
from .partition import MASK, philox

HEAD = 64
EPSILON = 1e-6
#: What numbers are drawn for is part of the counter.
STOCHASTIC_DEPTH = 5


def branch_factors(seed, step, first, images, branch, rate):
    """Stochastic depth: 0 for images whose branch is left out, 1 / (1 - rate) for the others. first: place of the first
    image among all views of the step; branch: twice the block's number, plus 1 for the perceptron's."""
    key = (seed & MASK, seed >> 32)
    drawn = np.array(
        [
            philox((0, first + i, (step & 0xFFFFFF) << 8, STOCHASTIC_DEPTH << 16 | branch), key)[0] >> 8
            for i in range(images)
        ]
    )
    return np.where(drawn * 2.0**-24 < rate, 0, 1 / (1 - rate))


def resampling(inputs, outputs):
    """(outputs, inputs): bicubic with antialiasing, a = -0.5, as torch's interpolate does it."""
    scale = inputs / outputs
    stretch = max(1.0, scale)

    def cubic(x):
        x = abs(x)
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0

    matrix = np.zeros((outputs, inputs))
    for i in range(outputs):
        centre = (i + 0.5) * scale
        for j in range(inputs):
            matrix[i, j] = cubic((j + 0.5 - centre) / stretch)
    return matrix / matrix.sum(1, keepdims=True)


def layer_norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + x.dtype.type(EPSILON))
    normed = centred * inverse
    return normed * scale + shift, (normed, inverse, scale)


def layer_norm_backward(dy, tape):
    """Gradients of x, scale and shift."""
    normed, inverse, scale = tape
    g = dy * scale
    dx = inverse * (g - g.mean(-1, keepdims=True) - normed * (g * normed).mean(-1, keepdims=True))
    axes = tuple(range(dy.ndim - 1))
    return dx, (dy * normed).sum(axes), dy.sum(axes)


class VisionTransformer:
    """As `resnet.ResNet`: `forward` gives features (N, F) and the tape, `backward` {key: gradient}. The last
    normalisation is one deeper than the last block."""

    def __init__(self, state, pool="class", prefix="encoder.", drop_path=0.0, seed=0, train_from=0):
        self.state, self.pool, self.prefix, self.train_from = state, pool, prefix, train_from
        self.drop_path, self.seed = drop_path, seed
        #: Of the pass that follows, see `branch_factors`.
        self.step, self.first = 0, 0
        self.depth = sum(key.startswith(prefix) and key.endswith("attn.qkv.weight") for key in state)

    def get(self, key):
        return self.state.get(self.prefix + key)

    def forward(self, images, train):
        weight = self.get("patch_embed.proj.weight")
        patch = weight.shape[2]
        x, convolved = layers.conv2d(images, weight, patch, 0)
        n, h, w, d = x.shape
        positions = self.get("pos_embed")[0]
        side = math.isqrt(len(positions) - 1)
        rows, columns = (resampling(side, count).astype(x.dtype) for count in (h, w))
        grid = np.einsum("yi,xj,ijd->yxd", rows, columns, positions[1:].reshape(side, side, d))
        x = (x + self.get("patch_embed.proj.bias") + grid).reshape(n, h * w, d)
        leading = [np.broadcast_to(self.get("cls_token") + positions[0], (n, 1, d))]
        registers = self.get("reg_token")
        if registers is not None:
            leading.append(np.broadcast_to(registers, (n, registers.shape[1], d)))
        x = np.concatenate([*leading, x], 1)
        tape = [(convolved, rows, columns, x.shape[1] - h * w)]
        for block in range(self.depth):
            x, inner = self._block(x, f"blocks.{block}.", self._keep(block, n, train and self.train_from <= block + 1))
            tape.append(inner)
        x, last = layer_norm(x, self.get("norm.weight"), self.get("norm.bias"))
        tape.append(last)
        first = x.shape[1] - h * w
        parts = {"class": [x[:, 0]], "mean": [x[:, first:].mean(1)]}
        parts["class_mean"] = parts["class"] + parts["mean"]
        return np.concatenate(parts[self.pool], 1), tape

    def backward(self, dfeatures, tape, kink=0.0):
        gradients = {}
        if self.train_from > self.depth + 1:
            return gradients
        tape = list(tape)
        last = tape.pop()
        convolved, rows, columns, first = tape[0]
        dx = np.zeros_like(last[0])
        d = dx.shape[2]
        if self.pool != "mean":
            dx[:, 0] += dfeatures[:, :d]
        if self.pool != "class":
            dx[:, first:] += dfeatures[:, None, -d:] / (dx.shape[1] - first)
        dx = self._norm_backward(dx, "norm", last, gradients)
        for block in reversed(range(self.depth)):
            if block + 1 < self.train_from:
                return gradients
            dx = self._block_backward(dx, f"blocks.{block}.", tape.pop(), gradients)
        if self.train_from > 0:
            return gradients
        dtokens, dgrid = dx[:, :first].sum(0), dx[:, first:].reshape(len(dx), len(rows), len(columns), d)
        gradients[self.prefix + "cls_token"] = dtokens[None, :1]
        if first > 1:
            gradients[self.prefix + "reg_token"] = dtokens[None, 1:]
        learnt = np.einsum("yi,xj,nyxd->ijd", rows, columns, dgrid).reshape(-1, d)
        gradients[self.prefix + "pos_embed"] = np.concatenate([dtokens[:1], learnt])[None]
        gradients[self.prefix + "patch_embed.proj.bias"] = dgrid.sum((0, 1, 2))
        _, gradients[self.prefix + "patch_embed.proj.weight"] = layers.conv2d_backward(dgrid, convolved)
        return gradients

    def _keep(self, block, images, train):
        """Factors (N, 1, 1) of the two branches of a block."""
        rate = self.drop_path * block / (self.depth - 1) if train else 0
        dtype = self.get("norm.weight").dtype
        if rate == 0:
            return np.ones((2, images, 1, 1), dtype)
        branches = [
            branch_factors(self.seed, self.step, self.first, images, 2 * block + i, np.float32(rate)) for i in (0, 1)
        ]
        return np.array(branches, dtype)[:, :, None, None]

    def _linear(self, x, key):
        return x @ self.get(key + ".weight").T + self.get(key + ".bias")

    def _linear_backward(self, dy, x, key, gradients):
        rows = dy.reshape(-1, dy.shape[-1])
        gradients[f"{self.prefix}{key}.weight"] = rows.T @ x.reshape(-1, x.shape[-1])
        gradients[f"{self.prefix}{key}.bias"] = rows.sum(0)
        return dy @ self.get(key + ".weight")

    def _norm(self, x, key):
        return layer_norm(x, self.get(key + ".weight"), self.get(key + ".bias"))

    def _norm_backward(self, dy, key, tape, gradients):
        dx, gradients[f"{self.prefix}{key}.weight"], gradients[f"{self.prefix}{key}.bias"] = layer_norm_backward(
            dy, tape
        )
        return dx

    def _scale_backward(self, dy, branch, key, gradients):
        factors = self.get(key)
        if factors is None:
            return dy
        gradients[self.prefix + key] = (dy * branch).sum((0, 1))
        return dy * factors

    def _block(self, x, block, keep):
        n, t, d = x.shape
        normed, norm1 = self._norm(x, block + "norm1")
        joined = self._linear(normed, block + "attn.qkv").reshape(n, t, 3, d // HEAD, HEAD)
        q, k, v = joined.transpose(2, 0, 3, 1, 4)
        scores = q @ k.transpose(0, 1, 3, 2) * x.dtype.type(HEAD**-0.5)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        attended = (p @ v).transpose(0, 2, 1, 3).reshape(n, t, d)
        projected = self._linear(attended, block + "attn.proj")
        scale1, scale2 = self.get(block + "ls1.gamma"), self.get(block + "ls2.gamma")
        middle = x + keep[0] * (projected if scale1 is None else projected * scale1)
        normed2, norm2 = self._norm(middle, block + "norm2")
        hidden = self._linear(normed2, block + "mlp.fc1")
        activated, gelu = layers.gelu(hidden)
        contracted = self._linear(activated, block + "mlp.fc2")
        y = middle + keep[1] * (contracted if scale2 is None else contracted * scale2)
        return y, (normed, norm1, q, k, v, p, attended, projected, normed2, norm2, gelu, activated, contracted, keep)

    def _block_backward(self, dy, block, tape, gradients):
        normed, norm1, q, k, v, p, attended, projected, normed2, norm2, gelu, activated, contracted, keep = tape
        n, heads, t, _ = q.shape
        branch = self._scale_backward(dy * keep[1], contracted, block + "ls2.gamma", gradients)
        branch = self._linear_backward(branch, activated, block + "mlp.fc2", gradients)
        branch = layers.gelu_backward(branch, gelu)
        branch = self._linear_backward(branch, normed2, block + "mlp.fc1", gradients)
        dy = dy + self._norm_backward(branch, block + "norm2", norm2, gradients)
        branch = self._scale_backward(dy * keep[0], projected, block + "ls1.gamma", gradients)
        branch = self._linear_backward(branch, attended, block + "attn.proj", gradients)
        branch = branch.reshape(n, t, heads, HEAD).transpose(0, 2, 1, 3)
        dp = branch @ v.transpose(0, 1, 3, 2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * q.dtype.type(HEAD**-0.5)
        joined = np.stack([ds @ k, ds.transpose(0, 1, 3, 2) @ q, p.transpose(0, 1, 3, 2) @ branch])
        joined = joined.transpose(1, 3, 0, 2, 4).reshape(n, t, -1)
        branch = self._linear_backward(joined, normed, block + "attn.qkv", gradients)
        return dy + self._norm_backward(branch, block + "norm1", norm1, gradients)


def depth(key, count, prefix="encoder."):
    """Of a tensor of an encoder of `count` blocks: 0 in front of them, 1 for the first, ..., `count` + 1 behind the
    last; None for other tensors."""
    if not key.startswith(prefix):
        return None
    own = key.removeprefix(prefix)
    if own.startswith("blocks."):
        return 1 + int(own.split(".")[1])
    return count + 1 if own.startswith("norm.") else 0


def random_state(rng, shapes):
    """Values for tensors of `shapes` (by key) that make attention uneven and every term count."""
    state = {}
    for key, shape in shapes.items():
        value = rng.standard_normal(shape)
        if key.endswith("gamma") or key.endswith("norm1.weight") or key.endswith("norm2.weight"):
            value = rng.uniform(0.5, 1.5, shape)
        elif key.endswith("bias"):
            value = 0.1 * value
        elif key.endswith("norm.weight"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1 and "token" not in key and "pos_embed" not in key:
            value = value * math.prod(shape[1:]) ** -0.5
        else:
            value = 0.5 * value
        state[key] = value
    return state
