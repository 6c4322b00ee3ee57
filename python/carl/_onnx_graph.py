"""Putting together an ONNX graph, node by node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._version import __version__
from .errors import InvalidArgumentError, missing_package

#: 17 has LayerNormalization; what runs models at all has it.
OPSET = 17
_IR_VERSION = 8
#: protobuf's limit of a message, less room for names.
_MOST_BYTES = 2**31 - 2**20


def require_onnx() -> Any:
    """The onnx package; MissingPackageError."""
    try:
        import onnx
    except ImportError:
        raise missing_package("an ONNX file", "onnx") from None
    return onnx


class Graph:
    """Nodes and constants. Values are known by their names: what a node gives is called as the node."""

    def __init__(self) -> None:
        self._onnx = require_onnx()
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """A value that the caller gives. Sizes that are texts may be any number."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, value: str, shape: Sequence[int | str]) -> None:
        """A float32 value that the caller gets."""
        kind = self._onnx.TensorProto.FLOAT
        self._outputs.append(self._onnx.helper.make_tensor_value_info(value, kind, list(shape)))

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self._constants[name] = np.ascontiguousarray(values, dtype)
        return name

    def node(self, kind: str, name: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node, whose name is its result's; of several results, a list of names."""
        names = [name] if outputs == 1 else [f"{name}.{number}" for number in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, name: str, x: str, weight: np.ndarray, bias: np.ndarray | None) -> str:
        """x (..., in) by torch's weight (out, in)."""
        product = self.node(
            "MatMul", name if bias is None else f"{name}/product", x, self.constant(f"{name}.weight", weight.T)
        )
        return product if bias is None else str(self.node("Add", name, product, self.constant(f"{name}.bias", bias)))

    def gelu(self, name: str, x: str) -> str:
        """x / 2 (1 + erf(x / sqrt(2))): ONNX has an operator for it only since opset 20."""
        scaled = self.node("Mul", f"{name}/scaled", x, self.constant(f"{name}/root", np.sqrt(0.5)))
        error = self.node("Erf", f"{name}/erf", scaled)
        share = self.node("Add", f"{name}/share", error, self.constant(f"{name}/one", 1.0))
        product = self.node("Mul", f"{name}/product", x, share)
        return str(self.node("Mul", name, product, self.constant(f"{name}/half", 0.5)))

    def serialized(self, metadata: Mapping[str, Any]) -> bytes:
        """The file's bytes. metadata: kept in the file as JSON under "carl"."""
        size = sum(values.nbytes for values in self._constants.values())
        if size > _MOST_BYTES:
            raise InvalidArgumentError(
                f"format: the model has {size} bytes of values, more than the {_MOST_BYTES} that an ONNX file takes: "
                'leave prototypes and head out with part="encoder", or export safetensors'
            )
        helper = self._onnx.helper
        constants = [self._onnx.numpy_helper.from_array(values, name) for name, values in self._constants.items()]
        graph = helper.make_graph(self._nodes, "carl", self._inputs, self._outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="carl",
            producer_version=__version__,
        )
        helper.set_model_props(model, {"carl": json.dumps(dict(metadata))})
        content: bytes = model.SerializeToString()
        return content
