"""Variants that change only constants: float16, dynamic and weight-only int8. The float file is edited directly.

Rules upheld here:
- Weights are symmetric in [-127, 127] by the formulas of `affine.py`: a scale for each output channel, except
  where noted.
- Only weights are made int8; biases, and constants below MIN_ELEMENTS, stay float32: they would spare less than
  their scales cost.
- A dense layer of the dynamic variant has one scale: tflite-runtime 2.14 has no kernel for more, and would compute
  garbage without a word. The activations of dense layers are quantized with a zero point (version 9, TensorFlow 2.3).
- A weight whose operator has no hybrid kernel, or that several kinds of operators share, is stored in int8 and goes
  through DEQUANTIZE, which the runtime does once. Of an embedding table only the rows that are looked up do.
- Operator versions are raised to what the tensors need, by google-ai-edge/LiteRT's `op_version.cc`.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters import flatbuffer
from wherry.converters.compress import affine, graph
from wherry.converters.errors import UnsupportedModel

MIN_ELEMENTS = 64
FLOAT16_MAX = 65504.0

_LSTM = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16)}
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "BATCH_MATMUL": (0, 1), "CONV_2D": (1,), "CONV_3D": (1,), "DEPTHWISE_CONV_2D": (1,), "EMBEDDING_LOOKUP": (1,),
    "FULLY_CONNECTED": (1,), "GATHER": (0,), "TRANSPOSE_CONV": (1,), **_LSTM,
}  # fmt: skip
"""Which inputs of an operator are weights."""

_HYBRID_VERSION = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9}
_DEQUANTIZE_PER_TENSOR, _DEQUANTIZE_FLOAT16, _DEQUANTIZE_PER_CHANNEL = 2, 3, 5


@dataclass(frozen=True)
class _Use:
    """An operator that reads a constant at input `position`."""

    name: str
    op: Any
    position: int


def float16(float_file: bytes) -> bytes:
    """Constants as float16, nearest with halves to even, each widened before use by a DEQUANTIZE."""
    model = graph.parse(float_file)
    changed = False
    for subgraph in model.subgraphs:
        for index, uses in _constants(model, subgraph).items():
            values = graph.floats(model, subgraph, index)
            if np.abs(values).max() <= FLOAT16_MAX:  # a NaN is not
                _behind_dequantize(model, subgraph, index, uses, _Narrow(values.astype(np.float16), None, None))
                changed = True
    return _finish(model, changed=changed)


def weight_only_int8(float_file: bytes) -> bytes:
    """int8 weights, each turned back into float32 before use by a DEQUANTIZE."""
    return _to_int8(float_file, hybrid=False)


def dynamic(float_file: bytes) -> bytes:
    """int8 weights; convolutions and dense layers quantize their activations as they come."""
    return _to_int8(float_file, hybrid=True)


@dataclass(frozen=True)
class _Narrow:
    """A constant in its small form: float16 without scales, or int8 with one scale or one for each index of `axis`."""

    stored: npt.NDArray[Any]
    scales: npt.NDArray[np.float32] | None
    axis: int | None


def _to_int8(float_file: bytes, *, hybrid: bool) -> bytes:
    model = graph.parse(float_file)
    changed = False
    for subgraph in model.subgraphs:
        for index, uses in _constants(model, subgraph).items():
            if not all(use.position in WEIGHT_INPUTS.get(use.name, ()) for use in uses):
                continue
            values = graph.floats(model, subgraph, index)
            kinds = {use.name for use in uses}
            if hybrid and all(_has_hybrid_kernel(model, subgraph, use) for use in uses) and len(kinds) == 1:
                _make_hybrid(model, subgraph, index, uses, values)
            elif kinds <= {"GATHER"}:
                _look_up_before_dequantize(model, subgraph, index, uses, _narrow(values, None))
            else:
                axis = graph.CHANNEL_AXIS.get(kinds.pop()) if len(kinds) == 1 else None
                _behind_dequantize(model, subgraph, index, uses, _narrow(values, axis))
            changed = True
    return _finish(model, changed=changed)


def _constants(model: Any, subgraph: Any) -> dict[int, list[_Use]]:
    """Float constants of at least MIN_ELEMENTS and who reads them; not those that are outputs of the graph."""
    uses: dict[int, list[_Use]] = defaultdict(list)
    for name, op in graph.operators(model, subgraph):
        for position, index in enumerate(op.inputs):
            if graph.is_float(subgraph, index) and graph.is_constant(model, subgraph, index):
                uses[int(index)].append(_Use(name, op, position))
    ends = {int(index) for index in subgraph.outputs}
    return {
        index: found
        for index, found in sorted(uses.items())
        if index not in ends and graph.floats(model, subgraph, index).size >= MIN_ELEMENTS
    }


def _narrow(values: npt.NDArray[np.float32], axis: int | None) -> _Narrow:
    scales = affine.weight_scales(values, axis)
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    return _Narrow(affine.quantize_weights(values, scales, axis), scales, axis)


def _has_hybrid_kernel(model: Any, subgraph: Any, use: _Use) -> bool:
    if use.name not in _HYBRID_VERSION or not graph.is_float(subgraph, use.op.inputs[0]):
        return False
    if use.name == "CONV_2D":  # in groups there is none
        return int(subgraph.tensors[use.op.inputs[0]].shape[3]) == int(subgraph.tensors[use.op.inputs[1]].shape[3])
    return not graph.is_constant(model, subgraph, use.op.inputs[0])


def _make_hybrid(model: Any, subgraph: Any, index: int, uses: list[_Use], values: npt.NDArray[np.float32]) -> None:
    name = uses[0].name
    axis = None if name == "FULLY_CONNECTED" else graph.CHANNEL_AXIS[name]
    _store(model, subgraph, index, _narrow(values, axis))
    for use in uses:
        if name == "FULLY_CONNECTED":
            use.op.builtinOptions.asymmetricQuantizeInputs = True
        use.op.opcodeIndex = graph.operator_code(model, name, _HYBRID_VERSION[name])


def _behind_dequantize(model: Any, subgraph: Any, index: int, uses: list[_Use], narrow: _Narrow) -> None:
    """The constant `index` in its small form, and a float tensor of the same name in its place for who reads it."""
    tensor = subgraph.tensors[index]
    name = graph.tensor_name(subgraph, index)
    wide = graph.add_tensor(subgraph, f"{name}#dequantized", flatbuffer.shape(tensor), "FLOAT32")
    _store(model, subgraph, index, narrow)
    for use in uses:
        use.op.inputs[use.position] = wide
    subgraph.operators.insert(0, _dequantize(model, index, wide, narrow))


def _look_up_before_dequantize(model: Any, subgraph: Any, index: int, uses: list[_Use], narrow: _Narrow) -> None:
    """An int8 table; rows are dequantized after they were looked up."""
    _store(model, subgraph, index, narrow)
    for use in uses:
        wide = int(use.op.outputs[0])
        name, shape = graph.tensor_name(subgraph, wide), flatbuffer.shape(subgraph.tensors[wide])
        rows = graph.add_tensor(subgraph, f"{name}#int8", shape, "INT8")
        subgraph.tensors[rows].shapeSignature = subgraph.tensors[wide].shapeSignature
        subgraph.tensors[rows].quantization = subgraph.tensors[index].quantization
        use.op.outputs[0] = rows
        use.op.opcodeIndex = graph.operator_code(
            model, use.name, max(2, model.operatorCodes[use.op.opcodeIndex].version)
        )
        place = next(i for i, op in enumerate(subgraph.operators) if op is use.op)
        subgraph.operators.insert(place + 1, _dequantize(model, rows, wide, narrow))


def _store(model: Any, subgraph: Any, index: int, narrow: _Narrow) -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph.set_data(model, subgraph, index, narrow.stored)
    tensor = subgraph.tensors[index]
    tensor.type = graph.code("TensorType", "FLOAT16" if narrow.scales is None else "INT8")
    tensor.quantization = None
    if narrow.scales is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = narrow.scales
        tensor.quantization.zeroPoint = np.zeros(len(narrow.scales), np.int64)
        tensor.quantization.quantizedDimension = narrow.axis or 0


def _dequantize(model: Any, source: int, target: int, narrow: _Narrow) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    op = schema.OperatorT()
    version = _DEQUANTIZE_FLOAT16
    if narrow.scales is not None:
        version = _DEQUANTIZE_PER_TENSOR if narrow.axis is None else _DEQUANTIZE_PER_CHANNEL
    op.opcodeIndex = graph.operator_code(model, "DEQUANTIZE", version)
    op.inputs, op.outputs = [source], [target]
    return op


def _finish(model: Any, *, changed: bool) -> bytes:
    if not changed:
        raise UnsupportedModel(
            "there is nothing to compress in the model: it has no weights worth it", "ship it as float"
        )
    graph.forget_runtime_version(model)
    graph.drop_unused_buffers(model)
    graph.drop_unused_codes(model)
    return flatbuffer.write(model)
