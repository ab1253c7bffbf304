"""Brings an int16x8 file of TensorFlow's MLIR quantizer into the form that the kernels compute rightly.

The quantizer writes what no kernel of tflite-runtime 2.14 loads (int32 biases, which came with TensorFlow
2.15) and what none computes: zero points of -1 (its symmetric range has an even number of steps), and
additions that claim scales which are powers of two. Rules upheld here:
- int16 tensors are symmetric: zero point 0, the scale as it was, -32767 to 32767 where they are constants.
- A bias is int64 at the scale of the accumulator, which the kernels of every release take.
- Versions are those of google-ai-edge/LiteRT's `op_version.cc` for int16 activations and int64 biases.
"""

from typing import Any

import numpy as np

from wherry.converters.compress import graph

_INT16_MAX = 32767
_VERSIONS = {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 7, "TRANSPOSE_CONV": 3, "ADD": 3, "SUB": 5}
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


def for_old_runtimes(quantized: bytes) -> bytes:
    """The same network, in the form that old kernels take."""
    model = graph.parse(quantized)
    for subgraph in model.subgraphs:
        for index in range(len(subgraph.tensors)):
            _make_symmetric(model, subgraph, index)
        for name, op in list(graph.operators(model, subgraph)):
            if name in _VERSIONS and _is(subgraph, op.outputs[0], "INT16"):
                _mend(model, subgraph, name, op)
    graph.forget_runtime_version(model)
    graph.drop_unused_buffers(model)
    graph.drop_unused_codes(model)
    return graph.pack(model)


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


def _mend(model: Any, subgraph: Any, name: str, op: Any) -> None:
    if name in ("ADD", "SUB"):
        _scales_are_general(name, op)
    else:
        _widen_bias(model, subgraph, op, _BIAS[name])
        if hasattr(op.builtinOptions, "quantizedBiasType"):
            op.builtinOptions.quantizedBiasType = 0  # the default, int64 for int16 activations
    op.opcodeIndex = graph.operator_code(model, name, _VERSIONS[name])


def _scales_are_general(name: str, op: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    if op.builtinOptions is None:
        op.builtinOptionsType = graph.code("BuiltinOptions", "AddOptions" if name == "ADD" else "SubOptions")
        op.builtinOptions = schema.AddOptionsT() if name == "ADD" else schema.SubOptionsT()
    op.builtinOptions.potScaleInt16 = False


def _widen_bias(model: Any, subgraph: Any, op: Any, position: int) -> None:
    index = op.inputs[position] if len(op.inputs) > position else -1
    if index >= 0 and _is(subgraph, index, "INT32"):
        bias = graph.values(model, subgraph, index, np.int32)
        graph.set_data(model, subgraph, index, bias.astype(np.int64))
        subgraph.tensors[index].type = graph.code("TensorType", "INT64")


def _is(subgraph: Any, index: int, type_name: str) -> bool:
    return bool(subgraph.tensors[index].type == graph.code("TensorType", type_name))
