"""Small weights files with random values, by the names that other programs give to tensors, written byte by byte."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carl

#: Parameters of runs of seconds; the encoder's are those of the file.
QUICK: dict[str, Any] = {
    "projector": [16, 8],
    "prototypes": 4,
    "batch_size": 8,
    "epochs": 1,
    "seed": 2,
    "progress": False,
}


def write_safetensors(path: Any, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file of float32 tensors: the header's length, the header, the values."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    place = 0
    for name, values in tensors.items():
        size = values.size * 4
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, "<f4").tobytes())
    return Path(path)


def resnet18(width: float = 0.25, channels: int = 3, kernel: int = 7, seed: int = 0) -> dict[str, np.ndarray]:
    """torchvision's ResNet-18 with a classifier; kernel 3 is that of small images."""
    random = np.random.default_rng(seed)
    base = round(64 * width)
    tensors: dict[str, np.ndarray] = {}

    def convolution(name: str, out: int, into: int, size: int) -> None:
        scale = (2 / (into * size * size)) ** 0.5
        tensors[f"{name}.weight"] = random.standard_normal((out, into, size, size)) * scale

    def normalisation(name: str, count: int) -> None:
        tensors[f"{name}.weight"] = random.uniform(0.5, 1.5, count)
        tensors[f"{name}.bias"] = random.standard_normal(count) * 0.1
        tensors[f"{name}.running_mean"] = random.standard_normal(count) * 0.1
        tensors[f"{name}.running_var"] = random.uniform(0.5, 1.5, count)

    convolution("conv1", base, channels, kernel)
    normalisation("bn1", base)
    inputs = base
    for stage in range(4):
        outputs = base << stage
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            convolution(f"{name}.conv1", outputs, inputs, 3)
            normalisation(f"{name}.bn1", outputs)
            convolution(f"{name}.conv2", outputs, outputs, 3)
            normalisation(f"{name}.bn2", outputs)
            if inputs != outputs:
                convolution(f"{name}.downsample.0", outputs, inputs, 1)
                normalisation(f"{name}.downsample.1", outputs)
            inputs = outputs
    tensors["fc.weight"], tensors["fc.bias"] = random.standard_normal((10, inputs)), np.zeros(10)
    return tensors


def vit_tiny(patch: int = 8, grid: int = 4, dinov2: bool = False, registers: int = 0) -> dict[str, np.ndarray]:
    """timm's ViT-Ti; or, in DINOv2's own names, one with LayerScale, a mask token, and registers."""
    random = np.random.default_rng(1)
    width = 192
    tensors: dict[str, np.ndarray] = {}

    def values(name: str, *shape: int, scale: float = 0.02, around: float = 0.0) -> None:
        tensors[name] = around + scale * random.standard_normal(shape)

    values("cls_token", 1, 1, width)
    values("pos_embed", 1, 1 + grid * grid, width, scale=0.2)
    if registers:
        values("register_tokens", 1, registers, width)
    values("patch_embed.proj.weight", width, 3, patch, patch, scale=0.05)
    values("patch_embed.proj.bias", width)
    for block in range(12):
        name = f"blocks.{block}"
        for norm in ("norm1", "norm2"):
            values(f"{name}.{norm}.weight", width, scale=0.1, around=1.0)
            values(f"{name}.{norm}.bias", width)
        for layer, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            values(f"{name}.{layer}.weight", out, into, scale=into**-0.5)
            values(f"{name}.{layer}.bias", out)
        if dinov2:
            values(f"{name}.ls1.gamma", width, scale=0.1, around=0.5)
            values(f"{name}.ls2.gamma", width, scale=0.1, around=0.5)
    values("norm.weight", width, scale=0.1, around=1.0)
    values("norm.bias", width)
    if dinov2:
        values("mask_token", 1, width)
    else:
        values("head.weight", 10, width)
        values("head.bias", 10)
    return tensors


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The file of a small ResNet-18."""
    return write_safetensors(tmp_path / "small.safetensors", resnet18(0.125, kernel=3))


def model_with(weights: Any, **changes: Any) -> carl.CARL:
    """An unfitted estimator that begins with a file, of views that are small."""
    return carl.CARL(weights=weights, **{**QUICK, "view_size": 16, **changes})
