"""Networks none of whose ReLUs has an input near 0, so that rounding cannot put a value on the other side of the kink.

In an ordinary network some of the many ReLU inputs are always within rounding of 0. Two correct programs then take
different sides, and their gradients differ by far more than rounding. Here every channel is on or off for all pixels of
all images, by a shift of several standard deviations: a whole network can be compared tightly, signs and masks
included.
"""

import numpy as np

from . import layers
from .problems import initial_state
from .resnet import BLOCKS

#: Shift of a channel over the standard deviation of its values.
LOW, HIGH = 9.0, 11.0
#: Share of channels that are off.
OFF = 0.25


class Channels:
    """What is known of a tensor's channels: their mean over pixels and images, and the standard deviation around it."""

    def __init__(self, mean, deviation):
        self.mean, self.deviation = mean, deviation


def settle(state, settings, seed=0):
    """Sets scales and shifts of all batch norms before a ReLU in a state dict, and removes from convolutions and linear
    layers what they would make of their input's mean: with zero padding a large mean would draw a frame around every
    image."""
    rng = np.random.default_rng(seed)
    stages = BLOCKS[settings.encoder]
    last = 3 if settings.encoder == "resnet50" else 2
    channels = _norm(state, "encoder.bn1", None, rng)
    for stage, depth in enumerate(stages, 1):
        for block in range(depth):
            key = f"encoder.layer{stage}.{block}."
            shortcut = channels
            if key + "downsample.0.weight" in state:
                _balance(state, key + "downsample.0.weight", channels)
                norm = key + "downsample.1"
                state[norm + ".bias"] = np.zeros_like(state[norm + ".bias"])
                shortcut = Channels(np.zeros(state[norm + ".bias"].size), np.abs(state[norm + ".weight"]))
            for index in range(1, last + 1):
                _balance(state, f"{key}conv{index}.weight", channels)
                channels = _norm(state, f"{key}bn{index}", shortcut if index == last else None, rng)
    for index in range(len(settings.projector)):
        _balance(state, f"projector.{3 * index}.weight", channels)
        if index + 1 < len(settings.projector):
            channels = _norm(state, f"projector.{3 * index + 1}", None, rng)
    return state


def settled_state(settings, width, in_channels, prototypes, seed=0):
    """A float32 state dict as `initial_state`'s, settled. The same channels are on for every seed, so that a teacher of
    another seed may be averaged with the student."""
    return settle(initial_state(settings, width, in_channels, prototypes, seed), settings)


def _norm(state, key, shortcut, rng):
    """Sets the shift so that ReLU of (norm + shortcut) is on or off by channel; returns its channels."""
    scale = state[key + ".weight"].astype(np.float64)
    count = scale.size
    scale = scale * rng.choice([-1.0, 1.0], count)
    mean = np.zeros(count) if shortcut is None else shortcut.mean
    deviation = np.sqrt(scale**2 + (0 if shortcut is None else shortcut.deviation**2))
    on = rng.permutation(count) >= round(OFF * count)
    place = rng.uniform(LOW, HIGH, count) * deviation * np.where(on, 1, -1)
    # A shortcut that is on far enough needs no more: means would grow from block to block.
    place = np.where(on & (mean > place), mean, place)
    state[key + ".weight"] = scale.astype(np.float32)
    state[key + ".bias"] = (place - mean).astype(np.float32)
    return Channels(np.where(on, place, 0), np.where(on, deviation, 0))


def _balance(state, key, channels):
    """Makes sum over inputs of weight * mean zero, for each output and place in the kernel, without changing the
    weights' size."""
    weight = state[key].astype(np.float64)
    mean = channels.mean.reshape(1, -1, *[1] * (weight.ndim - 2))
    size = np.linalg.norm(weight)
    weight = weight - (weight * mean).sum(1, keepdims=True) * mean / max((mean**2).sum(), 1e-30)
    state[key] = (weight * (size / np.linalg.norm(weight))).astype(np.float32)


class Margin:
    """Within `with`, notes how near to 0 the reference's ReLU inputs come; also whether channels of both kinds were
    seen."""

    def __enter__(self):
        self.smallest, self.on, self.off = np.inf, 0, 0
        self._kept = layers.relu

        def watched(x):
            self.smallest = min(self.smallest, float(np.abs(x).min()))
            self.on += int((x > 0).sum())
            self.off += int((x < 0).sum())
            return self._kept(x)

        layers.relu = watched
        return self

    def __exit__(self, *_):
        layers.relu = self._kept
