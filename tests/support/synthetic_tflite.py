"""Small `.tflite` files made by hand: operators on tensors of any type, shape and scales."""

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclass(frozen=True)
class Tensor:
    """`scales` may be empty; `data` makes it a constant."""

    type: str = "FLOAT32"
    shape: tuple[int, ...] = (1, 4)
    scales: tuple[float, ...] = ()
    name: str = ""
    data: bytes = b""
    axis: int = 0


@dataclass(frozen=True)
class Op:
    """`code` is the name of a built-in operator, or of a custom one that is not in the schema."""

    code: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...] = (Tensor(name="out"),)
    version: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    shared: bool = False
    """With the operator code of the one before."""


class _Graph:
    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.model.buffers = [schema.BufferT()]
        self.graph.tensors, self.graph.operators = [], []
        self._indices: dict[Tensor, int] = {}

    def tensor(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return -1
        if tensor not in self._indices:
            self._indices[tensor] = len(self.graph.tensors)
            self.graph.tensors.append(self._made(tensor))
        return self._indices[tensor]

    def operator(self, op: Op) -> None:
        if not op.shared:
            code = schema.OperatorCodeT()
            builtin = getattr(schema.BuiltinOperator, op.code, None)
            code.builtinCode = schema.BuiltinOperator.CUSTOM if builtin is None else builtin
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), op.version
            code.customCode = op.code if builtin is None else None
            self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs = [self.tensor(tensor) for tensor in op.inputs]
        made.outputs = [self.tensor(tensor) for tensor in op.outputs]
        kind = op.options.get("kind")
        if kind:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, f"{kind}T")()
            for name, value in op.options.items():
                setattr(made.builtinOptions, name, value)
        self.graph.operators.append(made)

    def _made(self, tensor: Tensor) -> Any:
        made = schema.TensorT()
        made.type, made.shape = getattr(schema.TensorType, tensor.type), list(tensor.shape)
        made.name = tensor.name or f"t{len(self.graph.tensors)}"
        if tensor.scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(tensor.scales)
            made.quantization.zeroPoint = [0] * len(tensor.scales)
            made.quantization.quantizedDimension = tensor.axis
        if tensor.data:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(tensor.data, np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return made


def model(*ops: Op, inputs: tuple[Tensor, ...] = (), outputs: tuple[Tensor, ...] = ()) -> Any:
    """`ModelT` with one subgraph and no signature."""
    made = _Graph()
    for op in ops:
        made.operator(op)
    made.graph.inputs = [made.tensor(tensor) for tensor in inputs]
    made.graph.outputs = [made.tensor(tensor) for tensor in outputs]
    return made.model


def pack(made: Any) -> bytes:
    """The bytes of the file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())
