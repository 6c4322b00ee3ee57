"""A vision transformer's graph, from images (N, C, H, W) of one size to features (N, F)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._onnx_graph import Graph

#: Channels of an attention head, and what is added to the variances of LayerNorm.
_HEAD = 64
_EPSILON = 1e-6


def transformer(
    graph: Graph, x: str, tensors: Mapping[str, np.ndarray], pool: str, grid: tuple[int, int], fold: bool
) -> tuple[str, int]:
    """Features and their number.

    tensors: by timm's names. pool: "class", "mean" or "class_mean". grid: patches of a column and of a row. fold:
    LayerScale becomes part of the layer in front of it.
    """
    weight = tensors["patch_embed.proj.weight"]
    width, _, patch, _ = weight.shape
    x = graph.node(
        "Conv",
        "patch_embed.proj",
        x,
        graph.constant("patch_embed.proj.weight", weight),
        kernel_shape=[patch, patch],
        strides=[patch, patch],
    )
    # -1 for the number of patches would not be defined of no images.
    flat = graph.constant("patch_embed.shape", [0, width, grid[0] * grid[1]], np.int64)
    x = graph.node("Reshape", "patch_embed.flat", x, flat)
    x = graph.node("Transpose", "patch_embed", x, perm=[0, 2, 1])
    # The tokens in front of the patches are the same for all images: rows of zeros there, which the table is added to.
    table, leading = _table(tensors, grid)
    x = graph.node("Pad", "tokens", x, graph.constant("tokens.pads", [0, leading, 0, 0, 0, 0], np.int64))
    x = graph.node("Add", "pos_embed", x, graph.constant("pos_embed.table", table[None]))
    block = 0
    while f"blocks.{block}.norm1.weight" in tensors:
        x = _block(graph, x, tensors, f"blocks.{block}", len(table), fold)
        block += 1
    x = _norm(graph, x, tensors, "norm")
    parts = []
    if pool != "mean":
        parts.append(_rows(graph, "class", x, 0, 1))
    if pool != "class":
        parts.append(_rows(graph, "patches", x, leading, len(table)))
    pooled = [graph.node("ReduceMean", f"pool.{place}", part, axes=[1], keepdims=0) for place, part in enumerate(parts)]
    return graph.node("Concat", "features", *pooled, axis=1), len(parts) * width


def _rows(graph: Graph, name: str, x: str, begin: int, end: int) -> str:
    bounds = [
        graph.constant(f"{name}.{part}", [value], np.int64)
        for part, value in (("begin", begin), ("end", end), ("axis", 1))
    ]
    return str(graph.node("Slice", name, x, *bounds))


def _table(tensors: Mapping[str, np.ndarray], grid: tuple[int, int]) -> tuple[np.ndarray, int]:
    """What is added to the tokens, (T, D), and how many of them come before the patches'."""
    positions = tensors["pos_embed"][0]
    rows = len(positions)
    side = int(np.sqrt(rows))
    token = tensors["cls_token"][0]
    if side * side != rows:  # the class token has a position
        side = int(np.sqrt(rows - 1))
        token, positions = token + positions[:1], positions[1:]
    leading = [token, *([tensors["reg_token"][0]] if "reg_token" in tensors else [])]
    patches = resampled(positions.reshape(side, side, -1), grid).reshape(grid[0] * grid[1], -1)
    patches = patches + tensors["patch_embed.proj.bias"]
    return np.concatenate([*leading, patches]), sum(len(tokens) for tokens in leading)


def resampled(positions: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Positions (h, w, D) of those of another grid, bicubic with antialiasing, as the library and timm do it."""
    side = positions.shape[0]
    if grid == (side, side):
        return positions
    rows, columns = (_weights(side, count) for count in grid)
    result: np.ndarray = np.einsum("yi,xj,ijd->yxd", rows, columns, positions.astype(np.float64), optimize=True)
    return result


def _weights(inputs: int, outputs: int) -> np.ndarray:
    """The share of each input in each output, (outputs, inputs): Keys' filter with a = -0.5, as wide as outputs are
    apart."""
    scale = inputs / outputs
    stretch = max(1.0, scale)
    weights = np.zeros((outputs, inputs))
    for output in range(outputs):
        center = (output + 0.5) * scale
        first = max(0, int(center - 2 * stretch + 0.5))
        places = np.arange(first, min(inputs, int(center + 2 * stretch + 0.5)))
        x = np.abs((places - center + 0.5) / stretch)
        weights[output, places] = np.where(
            x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0)
        )
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _block(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], name: str, tokens: int, fold: bool) -> str:
    attended = _attention(graph, _norm(graph, x, tensors, f"{name}.norm1"), tensors, f"{name}.attn", tokens)
    x = _added(graph, x, attended, tensors, f"{name}.attn.proj", f"{name}.ls1", fold)
    hidden = _norm(graph, x, tensors, f"{name}.norm2")
    hidden = graph.linear(f"{name}.mlp.fc1", hidden, tensors[f"{name}.mlp.fc1.weight"], tensors[f"{name}.mlp.fc1.bias"])
    return _added(graph, x, graph.gelu(f"{name}.mlp.act", hidden), tensors, f"{name}.mlp.fc2", f"{name}.ls2", fold)


def _added(
    graph: Graph, x: str, branch: str, tensors: Mapping[str, np.ndarray], name: str, scale: str, fold: bool
) -> str:
    """x plus a branch's last linear layer, with LayerScale where there is one."""
    weight, bias, factors = tensors[f"{name}.weight"], tensors[f"{name}.bias"], tensors.get(f"{scale}.gamma")
    if factors is not None and fold:
        weight, bias = weight * factors[:, None], bias * factors
    branch = graph.linear(name, branch, weight, bias)
    if factors is not None and not fold:
        branch = graph.node("Mul", scale, branch, graph.constant(f"{scale}.gamma", factors))
    return str(graph.node("Add", f"{name}.sum", x, branch))


def _attention(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], name: str, tokens: int) -> str:
    """Attention of all tokens to all, up to its last linear layer."""
    width = tensors[f"{name}.proj.weight"].shape[0]
    heads = width // _HEAD
    joined = graph.linear(f"{name}.qkv", x, tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"])
    shape = graph.constant(f"{name}.shape", [0, tokens, 3, heads, _HEAD], np.int64)
    joined = graph.node("Reshape", f"{name}.heads", joined, shape)
    joined = graph.node("Transpose", f"{name}.parts", joined, perm=[2, 0, 3, 1, 4])  # (3, N, heads, T, 64)
    parts = graph.node("Split", f"{name}.split", joined, outputs=3, axis=0)
    first = graph.constant(f"{name}.first", [0], np.int64)
    queries, keys, values = (
        graph.node("Squeeze", f"{name}.{part}", value, first) for part, value in zip("qkv", parts, strict=True)
    )
    keys = graph.node("Transpose", f"{name}.keys", keys, perm=[0, 1, 3, 2])
    queries = graph.node("Mul", f"{name}.queries", queries, graph.constant(f"{name}.scale", _HEAD**-0.5))
    shares = graph.node("Softmax", f"{name}.shares", graph.node("MatMul", f"{name}.logits", queries, keys), axis=-1)
    result = graph.node("MatMul", f"{name}.attended", shares, values)
    result = graph.node("Transpose", f"{name}.tokens", result, perm=[0, 2, 1, 3])
    return str(
        graph.node("Reshape", f"{name}.joined", result, graph.constant(f"{name}.width", [0, tokens, width], np.int64))
    )


def _norm(graph: Graph, x: str, tensors: Mapping[str, np.ndarray], name: str) -> str:
    parts = [graph.constant(f"{name}.{part}", tensors[f"{name}.{part}"]) for part in ("weight", "bias")]
    return str(graph.node("LayerNormalization", name, x, *parts, axis=-1, epsilon=_EPSILON))
