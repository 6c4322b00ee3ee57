"""Relative cost of an encoder for a view, in operations and in activations, to compare settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .config import ViewSpec

_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
#: Cost of storing and loading one value, in multiply-adds: narrow layers are bound by memory bandwidth.
_VALUE = 30


@dataclass(frozen=True)
class Cost:
    """operations: multiply-adds of a forward pass. values: float32 activations kept for the backward pass."""

    operations: float
    values: float

    @property
    def work(self) -> float:
        """Estimated work, to which the time of a training step is about proportional."""
        return self.operations + _VALUE * self.values


#: The library's default of patch_size.
PATCH = 16
#: Width and depth of vision transformers.
_TRANSFORMERS = {"vit_tiny": (192, 12), "vit_small": (384, 12), "vit_base": (768, 12), "vit_large": (1024, 24)}


def transformer_cost(encoder: str, patch_size: int, channels: int, side: int) -> Cost:
    """Of one view of side x side pixels, by a vision transformer."""
    width, depth = _TRANSFORMERS[encoder]
    tokens = (side // patch_size) ** 2 + 1
    # Queries, keys, values and their projection, a hidden layer of four times the width, and attention.
    block = tokens * 12 * width**2 + 2 * tokens**2 * width
    return Cost(float(tokens * channels * patch_size**2 * width + depth * block), float(depth * 16 * tokens * width))


def encoder_cost(encoder: str, stem: str, width: float, channels: int, side: int, patch_size: int = 16) -> Cost:
    """Of one view of side x side pixels."""
    if encoder in _TRANSFORMERS:
        return transformer_cost(encoder, patch_size, channels, side)
    base = round(64 * width)
    kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
    side = -(-side // stride)
    operations = side**2 * base * kernel**2 * channels
    values = 2 * side**2 * base  # of the convolution and, normalised, of BatchNorm
    if stem == "imagenet":
        side = -(-side // 2)
        values += side**2 * base
    inputs = base
    for stage, blocks in enumerate(_BLOCKS[encoder]):
        inner = base << stage
        outputs = 4 * inner if encoder == "resnet50" else inner
        for block in range(blocks):
            before, stride = side, 2 if stage > 0 and block == 0 else 1
            side = -(-side // stride)
            if encoder == "resnet50":
                layers = [(before, 1, inputs, inner), (side, 3, inner, inner), (side, 1, inner, outputs)]
            else:
                layers = [(side, 3, inputs, inner), (side, 3, inner, outputs)]
            if stride != 1 or inputs != outputs:
                layers.append((side, 1, inputs, outputs))
            operations += sum(place**2 * k**2 * a * b for place, k, a, b in layers)
            values += sum(2 * place**2 * b for place, _, _, b in layers)
            inputs = outputs
    return Cost(float(operations), float(values))


def image_cost(
    encoder: str,
    stem: str | None,
    width: float,
    channels: int,
    specs: Iterable[ViewSpec],
    patch_size: int | None = None,
) -> Cost:
    """Of all views of an image. stem: None for the one that the first view's size asks for."""
    specs = list(specs)
    stem = stem or ("small" if specs[0]["size"] < 64 else "imagenet")
    patch = patch_size or PATCH
    costs = [(spec["count"], encoder_cost(encoder, stem, width, channels, spec["size"], patch)) for spec in specs]
    return Cost(sum(n * cost.operations for n, cost in costs), sum(n * cost.values for n, cost in costs))
