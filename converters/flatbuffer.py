"""TFLite files as trees of objects: read with every offset checked, written again in one fixed form.

Rules upheld here:
- `read` is for files of others: whatever is wrong with the bytes ends as ValueError, never in a runtime.
- Constants are written aligned to 16 bytes, as TFLite's schema demands (`force_align`) and its object API forgets:
  kernels may read them in place.
- The same tree gives the same bytes.
- What a file leaves out reads as None, (), [] or the empty string.
"""

import math
import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.protocol.manifest import DType

IDENTIFIER = b"TFL3"
ALIGNMENT = 16

DTYPES: dict[str, DType] = {
    "FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "UINT8": "uint8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
}  # fmt: skip
"""From TFLite's name of a type to the manifest's, which is NumPy's too."""


def parse(content: bytes) -> Any:
    """The model (`ModelT` of TFLite's schema), of a file that was made or read here before."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def is_tflite(content: bytes) -> bool:
    """Whether it has the mark of a TFLite file."""
    return content[4:8] == IDENTIFIER


def read(content: bytes) -> Any:
    """As `parse`. Raises ValueError where the file is not whole and consistent."""
    if not is_tflite(content):
        raise ValueError("not a TFLite file: it has no TFL3 mark")
    try:
        model = parse(content)
        _check(model)
    except (struct.error, IndexError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError("truncated or damaged: something in it points outside of the file") from error
    return model


def write(model: Any) -> bytes:
    """The bytes of the file."""
    import flatbuffers

    buffers = model.buffers
    size = sum(0 if buffer.data is None else len(buffer.data) for buffer in buffers)
    builder = flatbuffers.Builder(size + size // 8 + 65536)
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in buffers]
    try:
        builder.Finish(model.Pack(builder), IDENTIFIER)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


@cache
def builtin_names() -> dict[int, str]:
    """Names of TFLite's built-in operators, by code."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.BuiltinOperator)


@cache
def type_names() -> dict[int, str]:
    """Names of TFLite's tensor types, by code."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.TensorType)


def builtin_code(code: Any) -> int:
    """The operator's code, which old files keep in another field than new ones."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def text(raw: bytes | str | None) -> str:
    """A string of the file."""
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


def indices(vector: Any) -> list[int]:
    """A vector of tensor indices; -1 stands for an operand that is left out."""
    return [] if vector is None else [int(index) for index in vector]


def type_name(tensor: Any) -> str:
    """FLOAT32, INT8, …"""
    return type_names().get(tensor.type, f"type {tensor.type}")


def operator_name(model: Any, op: Any) -> str:
    """CONV_2D, …; of a custom operator, its own name."""
    code = model.operatorCodes[op.opcodeIndex]
    if code.customCode:
        return text(code.customCode)
    return builtin_names().get(builtin_code(code), f"operator {builtin_code(code)}")


def shape(tensor: Any) -> tuple[int, ...]:
    """Of a tensor; () for a scalar."""
    return () if tensor.shape is None else tuple(int(n) for n in tensor.shape)


def data(model: Any, tensor: Any) -> npt.NDArray[np.uint8] | None:
    """The bytes of a constant; None for what is computed."""
    stored = model.buffers[tensor.buffer].data
    return None if stored is None or not len(stored) else np.asarray(stored, np.uint8)


def name_ends(model: Any, inputs: list[str], outputs: list[str], key: str = "serving_default") -> None:
    """Give the model one signature; names are in the order of the first subgraph's inputs and outputs."""
    from ai_edge_litert import schema_py_generated as schema

    def entry(name: str, index: int) -> Any:
        tensor_map = schema.TensorMapT()
        tensor_map.name, tensor_map.tensorIndex = name, int(index)
        return tensor_map

    graph, signature = model.subgraphs[0], schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    signature.inputs = [entry(name, index) for name, index in zip(inputs, graph.inputs, strict=True)]
    signature.outputs = [entry(name, index) for name, index in zip(outputs, graph.outputs, strict=True)]
    model.signatureDefs = [signature]


class _AlignedBuffer:
    """Packs as the schema's Buffer does, with the alignment that it asks for."""

    def __init__(self, content: Any) -> None:
        self._content = b"" if content is None else np.asarray(content, np.uint8).tobytes()

    def Pack(self, builder: Any) -> Any:  # noqa: N802  the object API's name
        from ai_edge_litert import schema_py_generated as schema

        size, offset = len(self._content), None
        if size:
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self._content
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        return schema.BufferEnd(builder)


def _check(model: Any) -> None:
    if not model.subgraphs or not model.buffers:
        raise ValueError("truncated or damaged: it has no graph")
    if any((buffer.offset or 0) > 1 for buffer in model.buffers):
        raise ValueError("its weights lie behind the graph, as in files above 2 GB, which are not supported")
    for graph in model.subgraphs:
        tensors = graph.tensors or []
        for tensor in tensors:
            _check_tensor(model, tensor)
        ends = [*indices(graph.inputs), *indices(graph.outputs)]
        for op in graph.operators or ():
            ends += [*indices(op.inputs), *indices(op.outputs)]
            model.operatorCodes[op.opcodeIndex]
        if any(not -1 <= index < len(tensors) for index in ends):
            raise ValueError("damaged: an operator refers to a tensor that does not exist")


def _check_tensor(model: Any, tensor: Any) -> None:
    stored = data(model, tensor)
    if stored is None or type_name(tensor) not in DTYPES or tensor.sparsity is not None:
        return
    wanted = math.prod(shape(tensor)) * np.dtype(DTYPES[type_name(tensor)]).itemsize
    if len(stored) != wanted:
        raise ValueError(f"damaged: tensor {text(tensor.name)!r} has {len(stored)} bytes, its shape asks for {wanted}")


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}
