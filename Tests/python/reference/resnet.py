"""ResNet-18, -34 and -50 (He et al., arXiv 1512.03385) as torchvision builds and names them, from a state dict.

The architecture is read from the name, the weights from the dict; the output is the global average pool's.
"""

import numpy as np

from . import layers

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class ResNet:
    """A residual encoder over `state`, whose keys start with `prefix`.

    Training-mode forwards update the running statistics in `state` in place. `backward` takes the gradient of the
    features and the tape of the forward it belongs to, and returns {key: gradient} without the image's gradient.
    Layers of a depth (see `depth`) below `train_from` are frozen: in evaluation mode, without gradients.
    """

    def __init__(self, state, name="resnet18", stem="small", prefix="encoder.", train_from=0):
        self.state, self.stem, self.prefix, self.train_from = state, stem, prefix, train_from
        self.bottleneck = name == "resnet50"
        self.depths = BLOCKS[name]

    def forward(self, images, train):
        """images (N, H, W, C) -> features (N, F), and the tape."""
        tape, place = [], 0
        training, train = train, train and self.train_from <= 0
        if self.stem == "imagenet":
            x = self._convolve(images, "conv1", 2, 3, tape)
        else:
            x = self._convolve(images, "conv1", 1, 1, tape)
        x = self._activate(self._normalise(x, "bn1", train, tape), tape)
        if self.stem == "imagenet":
            x, pool = layers.max_pool(x)
            tape.append(pool)
        for stage, depth in enumerate(self.depths, 1):
            for block in range(depth):
                stride = 2 if stage > 1 and block == 0 else 1
                place += 1
                x, inner = self._block_forward(
                    x, f"layer{stage}.{block}.", stride, training and self.train_from <= place
                )
                tape.append(inner)
        features, shape = layers.global_average_pool(x)
        tape.append(shape)
        return features, tape

    def backward(self, dfeatures, tape, kink=0.0):
        """`kink`: see layers.relu_backward."""
        tape = list(tape)
        gradients = {}
        dx, place = layers.global_average_pool_backward(dfeatures, tape.pop()), sum(self.depths)
        for stage, depth in reversed(list(enumerate(self.depths, 1))):
            for block in reversed(range(depth)):
                if place < self.train_from:
                    return gradients
                dx = self._block_backward(dx, f"layer{stage}.{block}.", tape.pop(), gradients, kink)
                place -= 1
        if self.train_from > 0:
            return gradients
        if self.stem == "imagenet":
            dx = layers.max_pool_backward(dx, tape.pop())
        dx = layers.relu_backward(dx, tape.pop(), kink)
        dx = self._normalise_backward(dx, "bn1", tape.pop(), gradients)
        self._convolve_backward(dx, "conv1", tape.pop(), gradients)
        return gradients

    def _convolutions(self, stride):
        """(kernel, stride) of the block's residual branch: torchvision strides the 3x3 of a bottleneck."""
        return ((1, 1), (3, stride), (1, 1)) if self.bottleneck else ((3, stride), (3, 1))

    def _block_forward(self, x, block, stride, train):
        tape, shortcut, short = [], x, []
        if f"{self.prefix}{block}downsample.0.weight" in self.state:
            shortcut = self._convolve(x, block + "downsample.0", stride, 0, short)
            shortcut = self._normalise(shortcut, block + "downsample.1", train, short)
        steps = self._convolutions(stride)
        for index, (kernel, step) in enumerate(steps, 1):
            x = self._convolve(x, f"{block}conv{index}", step, kernel // 2, tape)
            x = self._normalise(x, f"{block}bn{index}", train, tape)
            if index < len(steps):
                x = self._activate(x, tape)
        x, last = layers.relu(x + shortcut)
        return x, (tape, short, last)

    def _block_backward(self, dy, block, tape, gradients, kink):
        branch, short, last = list(tape[0]), tape[1], tape[2]
        dy = layers.relu_backward(dy, last, kink)
        dx = dy
        count = 3 if self.bottleneck else 2
        for index in range(count, 0, -1):
            if index < count:
                dx = layers.relu_backward(dx, branch.pop(), kink)
            dx = self._normalise_backward(dx, f"{block}bn{index}", branch.pop(), gradients)
            dx = self._convolve_backward(dx, f"{block}conv{index}", branch.pop(), gradients)
        if short:
            dy = self._normalise_backward(dy, block + "downsample.1", short[1], gradients)
            dy = self._convolve_backward(dy, block + "downsample.0", short[0], gradients)
        return dx + dy

    def _convolve(self, x, key, stride, padding, tape):
        y, entry = layers.conv2d(x, self.state[f"{self.prefix}{key}.weight"], stride, padding)
        tape.append(entry)
        return y

    def _convolve_backward(self, dy, key, entry, gradients):
        dx, gradients[f"{self.prefix}{key}.weight"] = layers.conv2d_backward(dy, entry)
        return dx

    def _activate(self, x, tape):
        y, entry = layers.relu(x)
        tape.append(entry)
        return y

    def _normalise(self, x, key, train, tape):
        y, entry = normalise(self.state, self.prefix + key, x, train)
        tape.append(entry)
        return y

    def _normalise_backward(self, dy, key, entry, gradients):
        return normalise_backward(dy, self.prefix + key, entry, gradients)


def depth(key, name, prefix="encoder."):
    """Of a tensor of the encoder: 0 in front of the blocks, 1 for the first block, ...; None for other tensors."""
    if not key.startswith(prefix + "layer"):
        return 0 if key.startswith(prefix) else None
    stage, block = key.removeprefix(prefix + "layer").split(".")[:2]
    return 1 + sum(BLOCKS[name][: int(stage) - 1]) + int(block)


def normalise(state, key, x, train):
    """Batch normalisation by the entries `key`.*; in training it also updates the running statistics."""
    scale, shift = state[key + ".weight"], state[key + ".bias"]
    mean_key, variance_key = key + ".running_mean", key + ".running_var"
    if not train:
        y, tape = layers.batch_norm_eval(x, scale, shift, state[mean_key], state[variance_key])
        return y, (tape, train)
    y, tape, (mean, variance) = layers.batch_norm_train(x, scale, shift)
    state[mean_key] = layers.running_update(state[mean_key], mean)
    state[variance_key] = layers.running_update(state[variance_key], variance)
    return y, (tape, train)


def normalise_backward(dy, key, entry, gradients):
    tape, train = entry
    backward = layers.batch_norm_train_backward if train else layers.batch_norm_eval_backward
    dx, gradients[key + ".weight"], gradients[key + ".bias"] = backward(dy, tape)
    return dx


def random_state(rng, name="resnet18", stem="small", width=1.0, in_channels=3, dtype=np.float64):
    """A state dict with He-scaled convolutions and arbitrary, well-conditioned batch norms."""
    state, bottleneck = {}, name == "resnet50"
    widths = [max(1, round(base * width)) for base in (64, 128, 256, 512)]
    expansion = 4 if bottleneck else 1

    def convolution(key, out, into, kernel):
        deviation = np.sqrt(2 / (into * kernel * kernel))
        state[f"encoder.{key}.weight"] = (deviation * rng.standard_normal((out, into, kernel, kernel))).astype(dtype)

    def norm(key, channels):
        values = {
            "weight": rng.uniform(0.5, 1.5, channels),
            "bias": 0.2 * rng.standard_normal(channels),
            "running_mean": 0.2 * rng.standard_normal(channels),
            "running_var": rng.uniform(0.5, 2.0, channels),
        }
        state.update({f"encoder.{key}.{name}": value.astype(dtype) for name, value in values.items()})

    convolution("conv1", widths[0], in_channels, 7 if stem == "imagenet" else 3)
    norm("bn1", widths[0])
    into = widths[0]
    for stage, (depth, inner) in enumerate(zip(BLOCKS[name], widths), 1):
        out = inner * expansion
        for block in range(depth):
            prefix = f"layer{stage}.{block}."
            stride = 2 if stage > 1 and block == 0 else 1
            shapes = (
                [(inner, into, 1), (inner, inner, 3), (out, inner, 1)]
                if bottleneck
                else [(out, into, 3), (out, out, 3)]
            )
            for index, shape in enumerate(shapes, 1):
                convolution(f"{prefix}conv{index}", *shape)
                norm(f"{prefix}bn{index}", shape[0])
            if stride != 1 or into != out:
                convolution(prefix + "downsample.0", out, into, 1)
                norm(prefix + "downsample.1", out)
            into = out
    return state
