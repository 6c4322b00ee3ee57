"""Inputs and initial states on which float32 and float64 training stay close: structured images, orderly weights."""

import numpy as np

from .resnet import random_state


def images_of(views, batch, size, channels, seed=0, sizes=None):
    """Views (B, H, W, C) of `batch` patterns: waves of an image's own direction, phase and colour, each view shifted
    and scaled."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.5, 3.0, (batch, 2)) * rng.choice([-1, 1], (batch, 2))
    colour = rng.uniform(-1.2, 1.2, (batch, channels))
    offset = rng.uniform(-0.5, 0.5, (batch, channels))
    made = []
    for side in sizes or [size] * views:
        y, x = np.mgrid[:side, :side] / side
        shift = rng.uniform(0, 0.3, (batch, 1, 1))
        zoom = rng.uniform(0.8, 1.2, (batch, 1, 1))
        wave = np.sin(2 * np.pi * zoom * (frequency[:, :1, None] * x + frequency[:, 1:, None] * y + shift))
        noise = 0.1 * rng.standard_normal((batch, side, side, channels))
        image = wave[..., None] * colour[:, None, None] + offset[:, None, None] + noise
        made.append(np.ascontiguousarray(image, np.float32))
    return made


def initial_state(settings, width, in_channels, prototypes, seed=0):
    """A float32 state dict with the library's keys: He-scaled encoder, uniform linear layers, unit-scale norms and
    prototypes."""
    rng = np.random.default_rng(seed)
    state = random_state(rng, settings.encoder, settings.stem, width, in_channels)
    into = state[f"encoder.layer4.0.bn{3 if settings.encoder == 'resnet50' else 2}.weight"].size
    for index, out in enumerate(settings.projector):
        bound = into**-0.5
        state[f"projector.{3 * index}.weight"] = rng.uniform(-bound, bound, (out, into))
        state[f"projector.{3 * index}.bias"] = rng.uniform(-bound, bound, out)
        if index + 1 < len(settings.projector):
            key = f"projector.{3 * index + 1}"
            state[key + ".weight"], state[key + ".bias"] = rng.uniform(0.5, 1.5, out), 0.2 * rng.standard_normal(out)
            state[key + ".running_mean"], state[key + ".running_var"] = np.zeros(out), np.ones(out)
        into = out
    state["prototypes.weight"] = rng.standard_normal((prototypes, into))
    return {key: value.astype(np.float32) for key, value in state.items()}
