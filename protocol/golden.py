"""Golden vectors: real inputs with the outputs that each runtime family gave when verified.

Stored as one MessagePack blob beside the artifact. Tensors are raw bytes in the order, shape and
type of the variant's tensor specs.
"""

import msgspec

from wherry.protocol import limits
from wherry.protocol.errors import Malformed, TooLarge
from wherry.protocol.types import Struct


class GoldenVector(Struct, frozen=True, kw_only=True):
    """`inputs`: one entry an input tensor. `outputs`: by runtime family, one entry an output tensor."""

    inputs: tuple[bytes, ...]
    outputs: dict[str, tuple[bytes, ...]]


class GoldenSet(Struct, frozen=True, kw_only=True):
    v: int = 1
    vectors: tuple[GoldenVector, ...]


def encode_golden(golden: GoldenSet) -> bytes:
    return msgspec.msgpack.encode(golden, order="sorted")


def decode_golden(data: bytes) -> GoldenSet:
    if len(data) > limits.MAX_GOLDEN_BYTES:
        raise TooLarge("golden vectors", len(data), limits.MAX_GOLDEN_BYTES)
    try:
        return msgspec.msgpack.decode(data, type=GoldenSet)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"not golden vectors: {error}") from error
