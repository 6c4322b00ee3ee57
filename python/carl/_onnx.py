"""A model as an ONNX file: images in, features and what follows them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._onnx_graph import Graph
from ._onnx_resnet import affine, batch_norm, resnet
from ._onnx_transformer import transformer
from .errors import InvalidArgumentError

#: What the images of a graph are: dtype, and the value that is white; None where they are normalised already.
PIXELS: dict[str, tuple[Any, float | None]] = {
    "normalized": (np.float32, None),
    "unit": (np.float32, 1.0),
    "bytes": (np.uint8, 255.0),
}


def onnx_file(
    tensors: Mapping[str, np.ndarray], keys: Mapping[str, Any], *, fold: bool, pixels: str, size: tuple[int, int] | None
) -> bytes:
    """The bytes of a file.

    tensors, keys: of an exported weights file, of either part.
    fold: BatchNorm and LayerScale become part of the layers in front of them.
    pixels: one of PIXELS. size: height and width of the images; None for any of a ResNet, a transformer's own else.
    """
    graph = Graph()
    patch = keys.get("patch_size")
    if patch is not None and size is None:
        size = (int(keys["view_size"]),) * 2
    if patch is not None and size is not None and (size[0] % patch or size[1] % patch):
        raise InvalidArgumentError(
            f"size: got {size[0]} x {size[1]}, want multiples of {patch}, the patch size of the encoder"
        )
    channels = int(keys["in_channels"])
    x = _images(graph, channels, size, pixels, keys)
    inner = {name.removeprefix("encoder."): value for name, value in tensors.items()}
    if patch is None or size is None:
        features, width = resnet(graph, x, inner, fold)
    else:
        features, width = transformer(graph, x, inner, keys["pool"], (size[0] // patch, size[1] // patch), fold)
    graph.output(features, ["batch", width])
    if "prototypes.weight" in tensors:
        _assignment(graph, features, tensors, keys, fold)
    for name in ("fc", "head"):
        if f"{name}.weight" in tensors:
            _classes(graph, features, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
    return graph.serialized({**keys, "pixels": pixels})


def _images(graph: Graph, channels: int, size: tuple[int, int] | None, pixels: str, keys: Mapping[str, Any]) -> str:
    """The input, and its normalisation where it is not normalised yet."""
    dtype, white = PIXELS[pixels]
    x = graph.input("images", dtype, ["batch", channels, *(size or ("height", "width"))])
    if white is None:
        return x
    if dtype is not np.float32:
        x = graph.node("Cast", "pixels", x, to=1)  # TensorProto.FLOAT
    mean, std = (np.asarray(keys[key], np.float64).reshape(-1, 1, 1) for key in ("mean", "std"))
    # Zeros around an image are zeros of normalised values: the first convolution cannot take this over.
    x = graph.node("Mul", "scaled", x, graph.constant("scale", 1 / (white * std)))
    return str(graph.node("Add", "normalized", x, graph.constant("shift", -mean / std)))


def _assignment(
    graph: Graph, features: str, tensors: Mapping[str, np.ndarray], keys: Mapping[str, Any], fold: bool
) -> None:
    """Projection head and prototypes: outputs "projection", "logits" and "probabilities"."""
    last = len(keys["projector"]) - 1
    x = features
    for layer in range(last + 1):
        name = f"projector.{3 * layer}"
        weight, bias = tensors[f"{name}.weight"].astype(np.float64), tensors[f"{name}.bias"].astype(np.float64)
        if layer == last:
            x = graph.linear("projection", x, weight, bias)
            break
        norm = f"projector.{3 * layer + 1}"
        if fold:
            scale, shift = affine(tensors, norm)
            x = graph.linear(name, x, weight * scale[:, None], bias * scale + shift)
        else:
            x = batch_norm(graph, graph.linear(name, x, weight, bias), tensors, norm)
        name = f"projector.{3 * layer + 2}"
        x = graph.node("Relu", name, x) if keys["projector_activation"] == "relu" else graph.gelu(name, x)
    prototypes = tensors["prototypes.weight"].astype(np.float64)
    graph.output(x, ["batch", prototypes.shape[1]])
    if keys["normalize_prototypes"]:
        lengths = np.linalg.norm(prototypes, axis=1, keepdims=True)
        prototypes = prototypes / np.where(lengths > 0, lengths, 1)
    if keys["normalize_embedding"]:
        x = graph.node("LpNormalization", "direction", x, axis=-1, p=2)
    _classes(graph, x, prototypes / keys["temperature"], None)


def _classes(graph: Graph, x: str, weight: np.ndarray, bias: np.ndarray | None) -> None:
    logits = graph.linear("logits", x, weight, bias)
    graph.output(logits, ["batch", len(weight)])
    graph.output(graph.node("Softmax", "probabilities", logits, axis=-1), ["batch", len(weight)])


__all__ = ["PIXELS", "onnx_file"]
