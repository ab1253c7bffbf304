"""From what an operator works on to the version that it needs: one rule for each operator.

Facts from LiteRT's `op_version.cc`, as found in November 2026. Where it falls short, the rule here asks for more:
- int16 activations with int8 weights: it looks for int16 weights, so such layers come out as version 1. The kernels
  came with the versions of the int16 kernels, which are taken.
- A bias of 32 bits with int16 activations is judged by the bias itself. The option `quantized_bias_type` alone says
  little: TensorFlow sets it to int64 too, which every kernel of 16x8 takes.
- A recurrent layer of 16x8 comes out as version 5, which no runtime has: the latest that exists is taken.
- float activations with int4 weights are not mentioned; tflite-runtime 2.14 loads them and answers NaN. The first
  version that it does not have is taken. A depthwise layer has none, so that only running it tells.
"""

from collections.abc import Callable

from wherry.converters.verify.signature import Signature

Rule = Callable[[Signature], int]

_INT8_HYBRID = ("FLOAT32", "INT8", "FLOAT32")
_INT4_HYBRID = ("FLOAT32", "INT4", "FLOAT32")
_INT8 = ("INT8", "INT8", "INT8")
_INT4 = ("INT8", "INT4", "INT8")
_INT16 = ("INT16", "INT8", "INT16"), ("INT16", "INT16", "INT16")

_ONE_VERSION = """
ADD_N ASSIGN_VARIABLE ATAN2 BITCAST BROADCAST_ARGS CALL_ONCE CEIL COMPLEX_ABS CONV_3D CONV_3D_TRANSPOSE CUMSUM
DENSIFY ELU EXPAND_DIMS FLOOR HARD_SWISH IF IMAG L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGICAL_AND LOGICAL_NOT
LOGICAL_OR MATRIX_DIAG MATRIX_SET_DIAG NEG NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 ONE_HOT POW PRELU RANK
READ_VARIABLE REAL REDUCE_ALL REDUCE_ANY RELU_0_TO_1 RELU_N1_TO_1 RESHAPE REVERSE_SEQUENCE RFFT2D ROUND
SCATTER_ND SEGMENT_SUM SHAPE SQUARE UNIQUE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD
UNSORTED_SEGMENT_SUM VAR_HANDLE WHILE ZEROS_LIKE
"""
"""Operators that exist in one version only."""

_BY_TYPE = """
ARG_MAX 0 INT8:2 BOOL:3
ARG_MIN 0 INT8:2 BOOL:3
AVERAGE_POOL_2D 0 INT8:2 INT16:3
BROADCAST_TO 0 *:2 INT8:3 INT16:3
CONCATENATION 0 INT8:2 INT16:3 UINT32:4 INT4:5 FLOAT16:6
COS 0 FLOAT16:2
DEPTH_TO_SPACE 0 INT8:2
EQUAL 0 INT8:2 STRING:3 INT16:4
EXP 0 INT8:2 INT16:2
FILL 1 BOOL:2 STRING:2 INT8:3 INT16:3 FLOAT16:4
FLOOR_DIV 0 FLOAT32:2 INT8:3 INT16:3
FLOOR_MOD 0 INT8:2 INT16:2
GELU 0 INT8:2 UINT8:2
GREATER 0 INT8:2
GREATER_EQUAL 0 INT8:2 INT16:3
LEAKY_RELU 0 INT16:2
LESS 0 INT8:2 INT16:3
LESS_EQUAL 0 INT8:2
LOG 0 INT8:2 INT16:2
LOGISTIC 0 INT8:2 INT16:3
LOG_SOFTMAX 0 INT8:2
MAX_POOL_2D 0 INT8:2 INT16:3
MEAN 0 INT8:2 INT16:3
MIRROR_PAD 0 INT8:2 INT16:3
NOT_EQUAL 0 INT8:2 STRING:3 INT16:4
PACK 0 INT8:2 INT16:3 UINT32:4
RANGE 0 INT64:2
REDUCE_MAX 0 INT8:2 INT16:3
REDUCE_MIN 0 INT8:2 INT16:3
REDUCE_PROD 0 INT8:2 INT16:2
RELU 0 INT8:2 UINT8:2 INT16:3
RELU6 0 INT8:2 INT16:3
REVERSE_V2 0 BOOL:2 INT8:3
RSQRT 0 INT8:2 INT16:3
SELECT_V2 0 UINT32:2
SIGN 0 INT32:2
SIN 0 FLOAT16:2
SOFTMAX 0 INT8:2 INT16:3 FLOAT16:4
SPACE_TO_DEPTH 0 INT8:2
SPARSE_TO_DENSE 2 INT64:2 INT8:3 UINT8:3
SPLIT 1 INT8:2 INT32:3 INT16:4
SPLIT_V 0 INT8:2
SQRT 0 INT8:2 INT16:2
SQUARED_DIFFERENCE 0 INT8:2
SQUEEZE 0 STRING:2
SUM 0 INT8:2
TANH 0 INT8:2 INT16:3
TILE 0 STRING:2 INT8:3
UNPACK 0 INT8:2 UINT8:2 BOOL:3 INT16:4 FLOAT16:5 BFLOAT16:5
WHERE 0 *:2 BOOL:1
"""
"""Operators whose version follows from the type of one operand: its place, and the version by type; else 1, or *."""


def _abs(op: Signature) -> int:
    if op.type() == "INT16":
        return 3 if op.has_quantization(0) else 4
    return {"INT32": 5, "INT8": 2, "UINT8": 2}.get(op.type(), 1)


def _add(op: Signature) -> int:
    if op.type() == "INT16":
        if not op.has_quantization(0):
            return 5
        return 1 if op.option("potScaleInt16") else 3
    return {"FLOAT16": 6, "INT64": 4, "INT8": 2}.get(op.type(), 1)


def _sub(op: Signature) -> int:
    if op.type() == "INT16" and not op.option("potScaleInt16"):
        return 5
    if op.type() == "INT64":
        return 4
    if op.broadcasts_beyond_4d:
        return 3
    return 2 if op.type() == "INT8" else 1


def _mul(op: Signature) -> int:
    if op.type() == "INT16":
        return 4 if op.has_quantization(0, 1) else 7
    fixed = {"FLOAT16": 8, "UINT32": 7, "COMPLEX64": 6, "INT64": 5}.get(op.type())
    if fixed:
        return fixed
    a, b, out = op.scales(0), op.scales(1), op.output_scales()
    if a and b and out and out[0] and a[0] * b[0] / out[0] >= 1:
        return 3
    return 2 if op.type() == "INT8" else 1


def _div(op: Signature) -> int:
    return 2 if op.broadcasts_beyond_4d else 1


def _extremum(op: Signature) -> int:
    if op.type() == "INT16":
        return 4
    if op.broadcasts_beyond_4d:
        return 3
    return 2 if op.type() == "INT8" else 1


def _batch_matmul(op: Signature) -> int:
    if op.types() == _INT8_HYBRID and op.option("asymmetricQuantizeInputs"):
        return 4
    return {"INT16": 3, "INT8": 2}.get(op.type(), 1)


def _batch_space(op: Signature) -> int:
    if op.type() == "INT16":
        return 4
    if op.rank() != 4:
        return 3
    return 2 if op.type() == "INT8" else 1


def _cast(op: Signature) -> int:
    ends = {op.type(), op.output_type()}
    if op.type() == "INT4" and op.output_type() == "FLOAT32":
        ends.add("INT4 to FLOAT32")
    versions = {
        "INT2": 8, "UINT4": 8, "BFLOAT16": 7, "INT4 to FLOAT32": 6, "FLOAT64": 5, "FLOAT16": 5,
        "UINT16": 4, "INT8": 3, "UINT32": 2,
    }  # fmt: skip
    return max(versions.get(end, 1) for end in ends)


def _conv(op: Signature) -> int:
    grouped = 6 if op.rank(0) == 4 and op.rank(1) == 4 and op.shape(0)[3] != op.shape(1)[3] else 1
    if op.types() in _INT16:
        return 8 if op.type(2) == "INT32" else max(4, grouped)
    if op.types() == _INT4_HYBRID:
        return 8
    if grouped > 1:
        return grouped
    if op.types() == _INT8_HYBRID:
        return 5 if _per_channel(op, 0) else 2
    return {_INT8: 3, _INT4: 7}.get(op.types(), 1)


def _depthwise_conv(op: Signature) -> int:
    if op.types() in _INT16:
        return 5
    if op.types() == _INT8_HYBRID:
        return 6 if _per_channel(op, 3) else 4
    fixed = {_INT8: 3, _INT4: 7, _INT4_HYBRID: 7}.get(op.types())
    if fixed:
        return fixed
    return 2 if max(op.option("dilationWFactor"), op.option("dilationHFactor")) > 1 else 1


def _transpose_conv(op: Signature) -> int:
    """Operands: output shape, weights, input, bias."""
    if op.type(2) == "INT16" and op.type(3) == "INT32":
        return 5
    if op.option("fusedActivationFunction"):
        return 4
    if op.type(3):
        return 3
    return 2 if op.type(1) == "INT8" else 1


def _dense(op: Signature) -> int:
    if op.type(1) == "INT2":
        return 14
    if op.type(0) == "INT16" and op.type(1) == "INT4":
        return 13
    if op.types() == _INT4_HYBRID or (op.types() == _INT8_HYBRID and _per_channel(op, 0)):
        return 12
    if op.types() in _INT16 and op.type(2) == "INT32":
        return 11
    if op.types() == _INT4:
        return 10
    if op.sparse_weights:
        return 8
    return _plain_dense(op)


def _plain_dense(op: Signature) -> int:
    if op.types() in _INT16:
        return 7
    if op.operands == 2:
        return 6
    if op.option("keepNumDims"):
        return 5
    if op.types() == _INT8:
        return 4
    if op.types() == _INT8_HYBRID:
        return 9 if op.option("asymmetricQuantizeInputs") else 3
    return 2 if op.option("weightsFormat") else 1


def _dequantize(op: Signature) -> int:
    if op.type() == "INT8":
        return 5 if len(op.scales(0)) > 1 else 2
    return {"UINT4": 8, "INT2": 7, "INT4": 6, "INT16": 3, "FLOAT16": 3}.get(op.type(), 1)


def _quantize(op: Signature) -> int:
    ends = (op.type(), op.output_type())
    if "UINT4" in ends:
        return 5
    if "INT4" in ends:
        return 4
    if len(op.output_scales()) > 1:
        return 3
    return 2 if op.output_type() == "INT16" else 1


def _embedding_lookup(op: Signature) -> int:
    if op.type(1) == "INT2":
        return 5
    return 4 if op.type(1) == "INT4" or len(op.scales(1)) > 1 else 1


def _gather(op: Signature) -> int:
    if op.type() == "INT4":
        return 7
    if op.type(1) == "INT16":
        return 6
    if op.option("batchDims"):
        return 5
    return {"INT16": 4, "BOOL": 3, "INT8": 2}.get(op.type(), 1)


def _gather_nd(op: Signature) -> int:
    if op.type() == "BOOL":
        return 5
    if op.type(1) == "INT16":
        return 4
    return {"INT16": 3, "STRING": 2}.get(op.type(), 1)


def _l2_normalization(op: Signature) -> int:
    return 2 if op.output_type() == "INT8" else 1


def _pad(op: Signature) -> int:
    if op.type() == "BOOL":
        return 5
    if op.rank() > 4:
        return 4
    return {"INT16": 3, "INT8": 2}.get(op.type(), 1)


def _resize(op: Signature) -> int:
    if op.type() == "INT16":
        return 4
    if op.option("halfPixelCenters"):
        return 3
    return 2 if op.type() == "INT8" else 1


def _resize_nearest(op: Signature) -> int:
    return 3 if op.type() != "INT16" and op.option("alignCorners") else _resize(op)


def _select(op: Signature) -> int:
    if op.type() == "UINT32":
        return 4
    if 5 in (op.rank(0), op.rank(1), op.rank(2)):
        return 3
    return 2 if op.type() == "INT8" else 1


def _slice(op: Signature) -> int:
    fixed = {"FLOAT16": 8, "INT4": 7, "UINT32": 6}.get(op.type())
    if fixed:
        return fixed
    return 5 if op.rank() > 4 else {"INT16": 4, "STRING": 3, "INT8": 2}.get(op.type(), 1)


def _strided_slice(op: Signature) -> int:
    if op.option("offset"):
        return 8
    if op.type() == "UINT32":
        return 7
    if op.option("ellipsisMask") or op.option("newAxisMask"):
        return 6
    if op.type() == "STRING":
        return 5
    return 4 if op.rank() > 4 else {"BOOL": 3, "INT8": 2}.get(op.type(), 1)


def _top_k(op: Signature) -> int:
    if "INT16" in (op.type(0), op.type(1), op.output_type(1)):
        return 3
    return 2 if op.type() == "INT8" else 1


def _transpose(op: Signature) -> int:
    if op.type() == "FLOAT16":
        return 9
    if op.rank() > 6 or op.type() == "BFLOAT16":
        return 8
    if op.type() == "INT4":
        return 7
    if op.rank() > 5:
        return 6
    if op.type() == "INT16":
        return 5
    return 4 if op.rank() > 4 else {"BOOL": 3, "INT8": 2}.get(op.type(), 1)


def _sequence_lstm(op: Signature) -> int:
    types = (op.type(0), op.type(2), op.output_type(0))
    if types == ("INT16", "INT8", "INT16"):
        return 4
    if op.option("diagonalRecurrentTensors"):
        return 4
    if types == _INT8_HYBRID:
        return 3 if op.option("asymmetricQuantizeInputs") else 2
    return 1


def _lstm(op: Signature) -> int:
    if op.option("kernelType"):
        return 2
    types = (op.type(0), op.type(2), op.output_type(0))
    if types == ("INT16", "INT8", "INT16"):
        return 4
    if types == _INT8_HYBRID:
        return 4 if op.option("asymmetricQuantizeInputs") else 3
    return 1


def _svdf(op: Signature) -> int:
    if op.type() == "INT8":
        return 3
    if op.types() == _INT8_HYBRID:
        return 4 if op.option("asymmetricQuantizeInputs") else 2
    return 1


def _fake_quant(op: Signature) -> int:
    return 2 if op.option("narrowRange") else 1


def _dynamic_update_slice(op: Signature) -> int:
    versions = {"BFLOAT16": 6, "INT4": 5, "INT16": 4, "FLOAT16": 3}
    return versions.get(op.type(), 2 if op.type(2) == "INT64" else 1)


def _sequence_rnn(op: Signature) -> int:
    if op.type(1) == "INT8" and op.output_type() == "FLOAT32":
        return 3 if op.option("asymmetricQuantizeInputs") else 2
    return 1


def _per_channel(op: Signature, axis: int) -> bool:
    """Whether the weights have a scale for each index of `axis`; one scale is one scale, whatever the length."""
    shape, scales = op.shape(1), op.scales(1)
    return len(scales) > 1 and len(shape) > axis and len(scales) == shape[axis]


def _by_type(operand: int, versions: dict[str, int]) -> Rule:
    return lambda op: versions.get(op.type(operand), versions.get("*", 1))


def _parsed(table: str) -> dict[str, Rule]:
    rules = {}
    for line in table.strip().splitlines():
        name, operand, *pairs = line.split()
        versions = {kind: int(version) for kind, version in (pair.split(":") for pair in pairs)}
        rules[name] = _by_type(int(operand), versions)
    return rules


RULES: dict[str, Rule] = (
    _parsed(_BY_TYPE)
    | dict.fromkeys(_ONE_VERSION.split(), lambda _: 1)
    | {
        "ABS": _abs,
        "ADD": _add,
        "BATCH_MATMUL": _batch_matmul,
        "BATCH_TO_SPACE_ND": _batch_space,
        "BIDIRECTIONAL_SEQUENCE_LSTM": _sequence_rnn,
        "BIDIRECTIONAL_SEQUENCE_RNN": _sequence_rnn,
        "CAST": _cast,
        "CONV_2D": _conv,
        "DEPTHWISE_CONV_2D": _depthwise_conv,
        "DEQUANTIZE": _dequantize,
        "DIV": _div,
        "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
        "EMBEDDING_LOOKUP": _embedding_lookup,
        "FAKE_QUANT": _fake_quant,
        "FULLY_CONNECTED": _dense,
        "GATHER": _gather,
        "GATHER_ND": _gather_nd,
        "L2_NORMALIZATION": _l2_normalization,
        "LSTM": _lstm,
        "MAXIMUM": _extremum,
        "MINIMUM": _extremum,
        "MUL": _mul,
        "PAD": _pad,
        "PADV2": _pad,
        "QUANTIZE": _quantize,
        "RESIZE_BILINEAR": _resize,
        "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
        "RNN": _sequence_rnn,
        "SELECT": _select,
        "SLICE": _slice,
        "SPACE_TO_BATCH_ND": _batch_space,
        "STRIDED_SLICE": _strided_slice,
        "SUB": _sub,
        "SVDF": _svdf,
        "TOPK_V2": _top_k,
        "TRANSPOSE": _transpose,
        "TRANSPOSE_CONV": _transpose_conv,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm,
        "UNIDIRECTIONAL_SEQUENCE_RNN": _sequence_rnn,
    }
)
