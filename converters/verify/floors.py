"""The lowest runtime that has all operators of a file, by table.

The table is TensorFlow's own, carried over for the operators that image, signal and tabular
networks use; source: `FindMinimumRuntimeVersionForOp` in `runtime_version.cc` (tensorflow/lite/tools/
versioning, now in google-ai-edge/LiteRT under tflite/converter). tflite-runtime is numbered like
TensorFlow. LiteRT 1.0 followed TensorFlow 2.17 and has all that came before; what is newer, or not in
the table, is only promised from the version on which the file was actually run.
"""

from wherry.protocol.manifest import Operator
from wherry.protocol.runtime import Family, RuntimeFloor, version_key

_LOWEST = """
ABS 1.13 2.4 2.5 2.6 2.12
ADD 1.5 1.14 2.4 2.6 2.13
ARG_MAX 1.9 1.14 2.9
AVERAGE_POOL_2D 1.5 1.14 2.3
BATCH_MATMUL 2.3 2.3 2.4 2.5
BATCH_TO_SPACE_ND 1.6 1.14 2.3 2.12
CAST 1.5 2.7 2.8 2.9 2.12 2.15 2.17 2.21
CONCATENATION 1.5 1.14 2.3 2.14 2.21
CONV_2D 1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15
DEPTHWISE_CONV_2D 1.5 1.12 1.14 2.2 2.3 2.3 2.11
DEQUANTIZE 1.13.1 1.14 1.15 2.2 2.7 2.18 2.21 2.22
DIV 1.6 2.3
ELU 1.14
EXP 1.7 2.12
EXPAND_DIMS 1.10
FULLY_CONNECTED 1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18 2.21
GATHER 1.6 1.14 1.15 2.4 2.5 2.13 2.15
GELU 2.9 2.9
HARD_SWISH 1.15
L2_NORMALIZATION 1.5 1.14
LEAKY_RELU 1.13.1 2.3
LOGISTIC 1.14 1.14 2.3
LOG_SOFTMAX 1.14 1.14
MAXIMUM 1.14 1.14 2.3 2.3
MAX_POOL_2D 1.5 1.14 2.3
MEAN 1.6 1.14 2.4
MINIMUM 1.14 1.14 2.3 2.3
MIRROR_PAD 1.13.1 2.3 2.12
MUL 1.5 1.14 1.15 2.3 2.6 2.11 2.13
NEG 1.9
PACK 1.11 1.14 2.3 2.13
PAD 1.5 1.14 2.4 2.6 2.20
PADV2 1.9 1.14 2.4 2.6 2.20
PRELU 1.8
QUANTIZE 1.14 1.15 2.7 2.21 2.21 2.21
REDUCE_MAX 1.11 1.14 2.5
RELU 1.5 2.1 2.5
RELU6 1.5 1.14 2.5
RESHAPE 1.5
RESIZE_BILINEAR 1.7 1.14 2.2 2.5
RESIZE_NEAREST_NEIGHBOR 1.13.1 1.14 2.3 2.4
RSQRT 1.10 2.5 2.15
SHAPE 1.10
SLICE 1.14 1.14 1.14 2.4 2.5 2.14 2.21
SOFTMAX 1.5 1.14 2.3
SPACE_TO_BATCH_ND 1.6 1.14 2.3 2.12
SPACE_TO_DEPTH 1.5 1.14
SPLIT 1.5 1.14 1.14 2.3
SPLIT_V 1.13.1 2.3
SQRT 1.10 2.21
SQUARE 1.12
SQUARED_DIFFERENCE 1.13.1 2.5
SQUEEZE 1.6 2.5
STRIDED_SLICE 1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14
SUB 1.6 1.14 2.3 2.4 2.4
SUM 1.10 1.15
TANH 1.14 1.14 2.3
TILE 1.10.1 2.2 2.8
TRANSPOSE 1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22
TRANSPOSE_CONV 1.9 2.2 2.3 2.13 2.15
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.12
UNPACK 1.11 1.14 2.2 2.3 2.22
WHILE 1.15
"""
"""By operator: the TensorFlow release that brought version 1, version 2, and so on."""

LOWEST_TENSORFLOW: dict[str, tuple[str, ...]] = {
    name: tuple(versions) for name, *versions in (line.split() for line in _LOWEST.strip().splitlines())
}

_PER_CHANNEL_DENSE = "2.14"
"""The converter stores a scale for each channel of a dense layer without raising the operator's version.
2.14 is the oldest release on which that was run, and computed rightly; an older one may not know of it."""

_LITERT_FIRST = "1.0.0"
_LITERT_FIRST_TENSORFLOW = "2.17"


def lowest_tensorflow(operator: Operator) -> str | None:
    """The TensorFlow release that brought this version of the operator; None where the table has none."""
    versions = LOWEST_TENSORFLOW.get(operator.name, ())
    return versions[operator.version - 1] if operator.version <= len(versions) else None


def floor(
    family: Family, operators: tuple[Operator, ...], measured: str, *, per_channel_dense: bool = False
) -> tuple[RuntimeFloor, str]:
    """The lowest version of `family` that runs a file with `operators`, and the reason in words.

    `measured` is the version that did run it.
    """
    needs = [(operator, lowest_tensorflow(operator)) for operator in operators]
    unknown = [operator for operator, lowest in needs if lowest is None]
    if unknown:
        names = ", ".join(_label(operator) for operator in unknown)
        return _at(family, measured), f"measured: {names} not in the table"
    reasons = [(v, f"{_label(o)} came with TensorFlow {v}") for o, v in needs if v is not None]
    if per_channel_dense:
        reasons.append((_PER_CHANNEL_DENSE, f"dense layers with a scale a channel, tried from {_PER_CHANNEL_DENSE} on"))
    lowest, reason = max(reasons, key=lambda need: version_key(need[0]))
    if family == "tflite-runtime":
        floor = lowest if lowest.count(".") == 2 else f"{lowest}.0"
        return _at(family, floor), reason
    if version_key(lowest) <= version_key(_LITERT_FIRST_TENSORFLOW):
        return _at(family, _LITERT_FIRST), reason
    return _at(family, measured), f"measured: {reason}"


def _at(family: Family, lowest: str) -> RuntimeFloor:
    return RuntimeFloor(family=family, lowest=lowest)


def _label(operator: Operator) -> str:
    return f"{operator.name} version {operator.version}"
