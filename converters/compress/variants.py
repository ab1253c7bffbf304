"""The float file to each variant: bytes to bytes.

Rules upheld here:
- Everything is made from the one float TFLite file, so that every source goes the same way; quantized
  activations from the calibrated file that `calibration.calibrate` makes of it.
- The same bytes give the same bytes.
- The signature, and the order and type of inputs that are integers already, stay as they are.
- What comes out is in a form that tflite-runtime 2.14 computes rightly, not only loads.
The quantizer is TensorFlow's own (`mlir_quantize`, what TFLiteConverter calls for a representative dataset);
float16, dynamic and weight-only change only constants and are made by `weights.py`.
"""

from collections.abc import Callable
from typing import Any, Literal

from wherry.converters.compress import graph, sixteen, weights
from wherry.converters.errors import UnsupportedModel

Io = Literal["integer", "float"]
NOTHING: frozenset[str] = frozenset()


def quantize(calibrated: bytes, keep: frozenset[str] = NOTHING, io: Io = "integer") -> bytes:
    """int8 weights and activations. Operators whose output tensor is named in `keep` stay float.

    `io`: `integer` makes the float inputs and outputs int8; `float` leaves them float32.
    """
    quantized = _mlir(calibrated, "QUANTIZED_INT8", keep, io)
    _require_integers(quantized)
    return quantized


def only(calibrated: bytes, keep: frozenset[str]) -> bytes | None:
    """As `mixed`; None where nothing is left to quantize, instead of an error."""
    quantized = _mlir(calibrated, "QUANTIZED_INT8", keep, "float")
    return quantized if _has_integers(quantized) else None


def int8(calibrated: bytes) -> bytes:
    """Full-integer int8: weights, activations, inputs and outputs."""
    return quantize(calibrated)


def int8_float_io(calibrated: bytes) -> bytes:
    """As int8, between float32 inputs and outputs."""
    return quantize(calibrated, io="float")


def mixed(calibrated: bytes, keep: frozenset[str]) -> bytes:
    """int8 but for the layers in `keep`, between float32 inputs and outputs."""
    return quantize(calibrated, keep, io="float")


def int16x8(calibrated: bytes, keep: frozenset[str] = NOTHING) -> bytes:
    """int8 weights, symmetric int16 activations, float32 inputs and outputs. No delegate takes it: slow."""
    dense_per_channel = not sixteen.has_dense_rows(calibrated)
    quantized = _mlir(calibrated, "QUANTIZED_INT16", keep, "float", dense_per_channel=dense_per_channel)
    quantized = sixteen.for_old_runtimes(quantized)
    _require_integers(quantized)
    return quantized


def float16(float_file: bytes) -> bytes:
    """Constants stored as float16, computed in float32."""
    return weights.float16(float_file)


def dynamic(float_file: bytes) -> bytes:
    """int8 weights, each activation quantized by the runtime as it comes; float32 inputs and outputs."""
    return weights.dynamic(float_file)


def weight_only_int8(float_file: bytes) -> bytes:
    """int8 weights that are turned back into float32 before they are used."""
    return weights.weight_only_int8(float_file)


FROM_FLOAT: dict[str, Callable[[bytes], bytes]] = {
    "float16": float16,
    "dynamic": dynamic,
    "weight-only-int8": weight_only_int8,
}
FROM_CALIBRATED: dict[str, Callable[[bytes], bytes]] = {
    "int8": int8,
    "int8-float-io": int8_float_io,
    "int16x8": int16x8,
}


def _mlir(
    calibrated: bytes, activations: str, keep: frozenset[str], io: Io, *, dense_per_channel: bool = True
) -> bytes:
    """`fully_quantize` stays off, as in TFLiteConverter: it would ignore `io` and the operators to keep."""
    import tensorflow as tf
    from tensorflow.compiler.mlir.lite import types_pb2
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.convert_phase import ConverterError

    ends: Any = tf.int8 if io == "integer" else tf.float32
    kind = types_pb2.IODataType.Value(activations)
    try:
        return bytes(
            convert.mlir_quantize(
                calibrated,
                inference_type=kind,
                input_data_type=ends,
                output_data_type=ends,
                denylisted_nodes=set(keep),
                disable_per_channel_for_dense_layers=not dense_per_channel,
            )
        )
    except (ConverterError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedModel(
            f"TensorFlow's quantizer cannot quantize it: {reason}", "choose float16 or weight-only-int8"
        ) from error


def _require_integers(quantized: bytes) -> None:
    if not _has_integers(quantized):
        raise UnsupportedModel("there is nothing to quantize in the model", "ship it as float16 or float")


def _has_integers(quantized: bytes) -> bool:
    """Whether an operator other than QUANTIZE computes integers that stand for reals."""
    model = graph.parse(quantized)
    narrow = {graph.code("TensorType", name) for name in ("INT8", "INT16")}
    return any(
        subgraph.tensors[index].type in narrow
        for subgraph in model.subgraphs
        for name, op in graph.operators(model, subgraph)
        if name != "QUANTIZE"
        for index in op.outputs
    )
