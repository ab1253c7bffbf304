"""Brings an int16x8 file of TensorFlow's MLIR quantizer into the form that the kernels compute rightly.

The quantizer writes what no kernel of tflite-runtime 2.14 loads (int32 biases, which came with TensorFlow
2.15) and what none computes: zero points of -1 (its symmetric range has an even number of steps), logistic
outputs in steps of 2^-16, and additions that claim scales which are powers of two. Rules upheld here:
- int16 tensors are symmetric: zero point 0, the scale as it was, -32767 to 32767 where they are constants.
- Logistic and tanh answer in steps of 2^-15, as their kernels do; what only moves the values follows.
- A bias is int64 at the scale of the accumulator, which the kernels of every release take.
- Where a dense layer keeps several rows, all dense layers have one scale for their weights: with one a channel,
  tflite-runtime 2.14 computes the first row only, without a word.
- Versions of the operators that were changed are derived anew; the quantizer's are one too high.
"""

from typing import Any

import numpy as np

from wherry.converters import flatbuffer
from wherry.converters.compress import graph
from wherry.converters.verify.signature import Signature
from wherry.converters.verify.version_rules import RULES

_INT16_MAX = 32767
_FIXED_STEP = 2.0**-15
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Where the bias is among the inputs."""


def for_old_runtimes(quantized: bytes) -> bytes:
    """The same network, in the form that old kernels take."""
    model = graph.parse(quantized)
    for subgraph in model.subgraphs:
        for index in range(len(subgraph.tensors)):
            _make_symmetric(model, subgraph, index)
        operators = list(graph.operators(model, subgraph))
        for name, op in operators:
            _fix_steps(subgraph, name, op)
        for name, op in operators:
            _mend(model, subgraph, name, op)
    graph.forget_runtime_version(model)
    graph.drop_unused_buffers(model)
    graph.drop_unused_codes(model)
    return flatbuffer.write(model)


def has_dense_rows(float_file: bytes) -> bool:
    """Whether a dense layer answers with more rows than its first dimension says."""
    model = graph.parse(float_file)
    return any(
        name == "FULLY_CONNECTED" and int(np.prod(flatbuffer.shape(subgraph.tensors[op.outputs[0]])[1:-1])) > 1
        for subgraph in model.subgraphs
        for name, op in graph.operators(model, subgraph)
    )


def _make_symmetric(model: Any, subgraph: Any, index: int) -> None:
    quantization = subgraph.tensors[index].quantization
    if not _is(subgraph, index, "INT16") or quantization is None or quantization.zeroPoint is None:
        return
    zero_points = np.asarray(quantization.zeroPoint, np.int64)
    if not zero_points.any():
        return
    if graph.is_constant(model, subgraph, index):
        steps = graph.values(model, subgraph, index, np.int16).astype(np.int64) - zero_points[0]
        graph.set_data(model, subgraph, index, np.clip(steps, -_INT16_MAX, _INT16_MAX).astype(np.int16))
    quantization.zeroPoint = np.zeros_like(zero_points)


def _fix_steps(subgraph: Any, name: str, op: Any) -> None:
    """Operators come in the order of execution, so that what moves a logistic's values sees its new scale."""
    if not op.outputs or not _is(subgraph, op.outputs[0], "INT16"):
        return
    quantization = subgraph.tensors[op.outputs[0]].quantization
    if name in ("LOGISTIC", "TANH"):
        quantization.scale = np.array([_FIXED_STEP], np.float32)
    elif name in graph.MOVING:
        quantization.scale = subgraph.tensors[op.inputs[0]].quantization.scale


def _mend(model: Any, subgraph: Any, name: str, op: Any) -> None:
    if name not in _BIAS and name not in ("ADD", "SUB"):
        return
    if _is(subgraph, op.outputs[0], "INT16"):
        if name in _BIAS:
            _widen_bias(model, subgraph, name, op)
        else:
            _scales_are_general(name, op)
    op.opcodeIndex = graph.operator_code(model, name, RULES[name](Signature(subgraph, op)))


def _scales_are_general(name: str, op: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    if op.builtinOptions is None:
        op.builtinOptionsType = graph.code("BuiltinOptions", "AddOptions" if name == "ADD" else "SubOptions")
        op.builtinOptions = schema.AddOptionsT() if name == "ADD" else schema.SubOptionsT()
    op.builtinOptions.potScaleInt16 = False


def _widen_bias(model: Any, subgraph: Any, name: str, op: Any) -> None:
    """int64 instead of int32, at the scale of what the layer reads now."""
    if hasattr(op.builtinOptions, "quantizedBiasType"):
        op.builtinOptions.quantizedBiasType = 0  # the default, int64 for int16 activations
    position = _BIAS[name]
    index = op.inputs[position] if len(op.inputs) > position else -1
    if index < 0 or not _is(subgraph, index, "INT32"):
        return
    steps = graph.values(model, subgraph, index, np.int32)
    stored = subgraph.tensors[index].quantization
    given, weights = (subgraph.tensors[op.inputs[at]].quantization for at in (position - 2, position - 1))
    if name == "TRANSPOSE_CONV":
        given, weights = weights, given
    scales = np.float64(given.scale[0]) * np.asarray(weights.scale, np.float64)
    rescaled = np.rint(steps * (np.asarray(stored.scale, np.float64) / scales)).astype(np.int64)
    stored.scale = scales.astype(np.float32)
    graph.set_data(model, subgraph, index, rescaled)
    subgraph.tensors[index].type = graph.code("TensorType", "INT64")


def _is(subgraph: Any, index: int, type_name: str) -> bool:
    return bool(subgraph.tensors[index].type == graph.code("TensorType", type_name))
