"""A `.tflite` file as an object tree that can be edited, and written back.

Rules upheld here:
- The same tree gives the same bytes (`flatbuffer.write`).
- Tensors are told apart by index; names are for people, and for the quantizer's list of layers to leave alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.errors import UnreadableModel

Array = npt.NDArray[Any]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators with inputs (activation, weights, bias)."""

MOVING = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"}
"""Operators that only move values."""

CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""The axis of the output channels in the weights."""


def parse(content: bytes) -> Any:
    """`ModelT` of TFLite's schema. Raises UnreadableModel where it is none."""
    if not flatbuffer.is_tflite(content):
        raise UnreadableModel("not a TFLite file", "give a .tflite file")
    model = flatbuffer.parse(content)
    for graph in model.subgraphs:
        for op in graph.operators or ():  # numpy views of the file otherwise, which cannot be written to
            op.inputs, op.outputs = flatbuffer.indices(op.inputs), flatbuffer.indices(op.outputs)
    return model


def operators(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """(name, operator) in the order of execution."""
    names = flatbuffer.builtin_names()
    for op in graph.operators or ():
        yield names[flatbuffer.builtin_code(model.operatorCodes[op.opcodeIndex])], op


def tensor_name(graph: Any, index: int) -> str:
    return flatbuffer.text(graph.tensors[index].name)


def is_float(graph: Any, index: int) -> bool:
    return index >= 0 and bool(graph.tensors[index].type == code("TensorType", "FLOAT32"))


def is_constant(model: Any, graph: Any, index: int) -> bool:
    if index < 0:
        return False
    data = model.buffers[graph.tensors[index].buffer].data
    return data is not None and len(data) > 0


def values(model: Any, graph: Any, index: int, dtype: npt.DTypeLike) -> Array:
    """The values of a constant tensor; a copy."""
    tensor = graph.tensors[index]
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    return np.frombuffer(data, dtype).reshape(flatbuffer.shape(tensor)).copy()


def floats(model: Any, graph: Any, index: int) -> npt.NDArray[np.float32]:
    """The values of a constant float tensor; a copy."""
    return values(model, graph, index, np.float32)


def set_data(model: Any, graph: Any, index: int, values: Array) -> None:
    """Give a tensor its own new constant; other tensors that shared the buffer keep the old one."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    graph.tensors[index].buffer = len(model.buffers)
    model.buffers.append(buffer)


def drop_unused_buffers(model: Any) -> None:
    """Renumber the buffers without those that nothing refers to; buffer 0 is empty by definition."""
    used = {0, *(tensor.buffer for graph in model.subgraphs for tensor in graph.tensors)}
    used |= {entry.buffer for entry in model.metadata or ()}
    number = {old: new for new, old in enumerate(sorted(used))}
    model.buffers = [model.buffers[old] for old in sorted(used)]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = number[tensor.buffer]
    for entry in model.metadata or ():
        entry.buffer = number[entry.buffer]


def drop_unused_codes(model: Any) -> None:
    """Renumber the operator codes without those of no operator: a runtime may refuse a file for a code alone."""
    used = sorted({int(op.opcodeIndex) for graph in model.subgraphs for op in graph.operators or ()})
    number = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[old] for old in used]
    for graph in model.subgraphs:
        for op in graph.operators or ():
            op.opcodeIndex = number[int(op.opcodeIndex)]


def forget_runtime_version(model: Any) -> None:
    """Drop TensorFlow's statement of the lowest runtime, which an edit makes untrue."""
    model.metadata = [entry for entry in model.metadata or () if entry.name != b"min_runtime_version"]


def add_tensor(graph: Any, name: str, lengths: Sequence[int], type_name: str) -> int:
    """A new tensor without data; its index."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, [int(n) for n in lengths], 0
    tensor.type = code("TensorType", type_name)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def operator_code(model: Any, name: str, version: int) -> int:
    """The index of an operator code with this name and version, added where there is none."""
    from ai_edge_litert import schema_py_generated as schema

    number = code("BuiltinOperator", name)
    for index, known in enumerate(model.operatorCodes):
        if flatbuffer.builtin_code(known) == number and known.version == version:
            return index
    added = schema.OperatorCodeT()
    added.builtinCode, added.deprecatedBuiltinCode, added.version = number, min(number, 127), version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def code(enum: str, name: str) -> int:
    """The number of a name in one of the schema's enumerations."""
    from ai_edge_litert import schema_py_generated as schema

    return int(getattr(getattr(schema, enum), name))


def bias(model: Any, graph: Any, op: Any, channels: int) -> npt.NDArray[np.float64]:
    """[channels]: the bias of an operator of WEIGHTED; zeros where it has none."""
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return np.zeros(channels)
    return floats(model, graph, op.inputs[2]).astype(np.float64)


def set_bias(model: Any, graph: Any, op: Any, given: npt.NDArray[np.float64]) -> None:
    """Give an operator of WEIGHTED a bias of its own: converters let layers share equal ones."""
    added = add_tensor(graph, f"{tensor_name(graph, op.outputs[0])}#bias", given.shape, "FLOAT32")
    set_data(model, graph, added, given.astype(np.float32))
    op.inputs = [*op.inputs[:2], added]
