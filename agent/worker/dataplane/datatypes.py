"""The protocol's names of types, and ours."""

from wherry.protocol.manifest import DType

DATATYPES: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""What a request may have, by name, as numpy calls it. No model of ours takes texts (BYTES)."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype(dtype: DType) -> str:
    """`INT8` for int8."""
    return _NAMES[dtype]
