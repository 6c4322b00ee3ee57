"""A ResNet's graph, from images (N, C, H, W) to features (N, F)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._onnx_graph import Graph

#: Of every BatchNorm, as in torch.
EPSILON = 1e-5


def resnet(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], fold: bool) -> tuple[str, int]:
    """Features and their number. tensors: by torchvision's names. fold: BatchNorm becomes part of the convolution in
    front of it."""
    large = tensors["conv1.weight"].shape[2] == 7
    x = _convolution(graph, x, tensors, "conv1", "bn1", stride=2 if large else 1, fold=fold)
    x = graph.node("Relu", "relu", x)
    if large:
        x = graph.node("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in tensors:
            x = _block(graph, x, tensors, f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1, fold)
            block += 1
    last = tensors.get("layer4.0.bn3.weight", tensors["layer4.0.bn2.weight"])
    return graph.node("Flatten", "features", graph.node("GlobalAveragePool", "avgpool", x)), len(last)


def _block(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], name: str, stride: int, fold: bool) -> str:
    last = 3 if f"{name}.conv3.weight" in tensors else 2
    strided = last - 1  # the 3x3 convolution of a bottleneck, the first of a basic block
    result = x
    for number in range(1, last + 1):
        result = _convolution(
            graph,
            result,
            tensors,
            f"{name}.conv{number}",
            f"{name}.bn{number}",
            stride=stride if number == strided else 1,
            fold=fold,
        )
        if number < last:
            result = graph.node("Relu", f"{name}.relu{number}", result)
    if f"{name}.downsample.0.weight" in tensors:
        x = _convolution(graph, x, tensors, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride, fold=fold)
    return str(graph.node("Relu", f"{name}.relu", graph.node("Add", f"{name}.sum", result, x)))


def _convolution(
    graph: Graph, x: str, tensors: Mapping[str, np.ndarray], convolution: str, norm: str, stride: int, fold: bool
) -> str:
    """A convolution without bias, and its BatchNorm."""
    weight = tensors[f"{convolution}.weight"]
    side = weight.shape[2]
    inputs = [x]
    if fold:
        scale, shift = affine(tensors, norm)
        inputs.append(graph.constant(f"{convolution}.weight", weight * scale[:, None, None, None]))
        inputs.append(graph.constant(f"{convolution}.bias", shift))
    else:
        inputs.append(graph.constant(f"{convolution}.weight", weight))
    result: str = graph.node(
        "Conv", convolution, *inputs, kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4
    )
    return result if fold else batch_norm(graph, result, tensors, norm)


def batch_norm(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], name: str) -> str:
    parts = [
        graph.constant(f"{name}.{part}", tensors[f"{name}.{part}"])
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    return str(graph.node("BatchNormalization", name, x, *parts, epsilon=EPSILON))


def affine(tensors: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """What a BatchNorm comes to in evaluation: a factor and a summand for each channel, float64."""
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + EPSILON)
    return scale, bias - mean * scale
