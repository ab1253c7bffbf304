"""The manifest: what is signed about a version, and all a device needs to judge it.

A converter writes it with version 0; the registry gives the number. A device fetches it by digest
as a single block, so its digest in the desired document is enough to verify it.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol import limits
from wherry.protocol.blob import BlobRef
from wherry.protocol.errors import Malformed, TooLarge
from wherry.protocol.profile import Profile
from wherry.protocol.runtime import Family, RuntimeFloor
from wherry.protocol.types import Count, Name, Seconds, Share, Struct

DType = Literal["int8", "uint8", "int16", "int32", "int64", "float16", "float32", "bool"]

DTYPE_BYTES: dict[str, int] = {
    "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "float16": 2, "float32": 4, "bool": 1,
}  # fmt: skip


class Quantization(Struct, frozen=True, kw_only=True):
    """Per-tensor affine: real = scale * (stored - zero_point)."""

    scale: Annotated[float, msgspec.Meta(gt=0)]
    zero_point: int


class Preprocessing(Struct, frozen=True, kw_only=True):
    """How what an app or a camera has becomes the real values that the model takes.

        real = (raw * scale - mean) / std

    after a picture was brought to `size` (height, width) in pixels and to `color`. `mean` and `std` hold one
    number, or one a channel; empty they are 0 and 1.
    """

    size: tuple[Count, Count] | None = None
    color: Literal["", "rgb", "bgr", "gray"] = ""
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, msgspec.Meta(gt=0)], ...] = ()


class TensorSpec(Struct, frozen=True, kw_only=True):
    """An input or output. `shape` includes the batch, which is 1; values are little-endian, row by row.

    `layout` says what the lengths of a picture mean: NHWC or NCHW; empty for anything else.
    """

    name: str
    shape: tuple[Count, ...]
    dtype: DType
    quantization: Quantization | None = None
    layout: Literal["", "NHWC", "NCHW"] = ""
    preprocessing: Preprocessing | None = None

    @property
    def size_bytes(self) -> int:
        size = DTYPE_BYTES[self.dtype]
        for length in self.shape:
            size *= length
        return size


class Operator(Struct, frozen=True, kw_only=True):
    """A built-in operator at the version that the file asks for, and how often it occurs."""

    name: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    count: Annotated[int, msgspec.Meta(ge=1)]


class Tolerance(Struct, frozen=True, kw_only=True):
    """How far a device's golden outputs may be from the recorded ones, for one runtime family.

    `max_abs` is in steps of the output's integers, or in the output's unit where it is float, and
    holds for every element. `min_cosine` holds for every vector, over real (dequantized) values.
    `min_top1_share` is of all vectors together. `max_abs_by_output` is narrower, where there are several outputs.
    """

    family: Family
    max_abs: Annotated[float, msgspec.Meta(ge=0)]
    min_cosine: Annotated[float, msgspec.Meta(ge=-1, le=1)]
    min_top1_share: Share = 0.0
    max_abs_by_output: tuple[Annotated[float, msgspec.Meta(ge=0)], ...] = ()


class Variant(Struct, frozen=True, kw_only=True):
    """One artifact of the version, for every runtime that `runtimes` admits.

    `reference` is how this very file answered the converter's evaluation data; none where it gives no classes.
    """

    name: Name
    artifact: BlobRef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    runtimes: tuple[RuntimeFloor, ...]
    golden: BlobRef
    tolerances: tuple[Tolerance, ...]
    arena_bytes: Count = 0
    reference: Profile | None = None

    def tolerance(self, family: Family) -> Tolerance | None:
        return next((entry for entry in self.tolerances if entry.family == family), None)


class HealthLimits(Struct, frozen=True, kw_only=True):
    """What a device holds the version to while it is on probation.

    `p95_ratio` is against the incumbent on the same device and counts only above
    `p95_ratio_floor_ms`: below it, doubling means nothing. `worker_growth_bytes` is what a worker may gain
    while it goes on growing. `prediction_psi` and `confidence_shift` are drift against the incumbent on the same
    device and against the variant's reference, from `drift_min_inferences` on either side; see the agent's
    `core/drift.py` for the formulas. None switches a limit off.
    """

    p95_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    p95_ratio: Annotated[float, msgspec.Meta(gt=1)] = 3.0
    p95_ratio_floor_ms: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    error_share: Share = 0.02
    worker_memory_bytes: Annotated[int, msgspec.Meta(gt=0)] | None = None
    worker_growth_bytes: Annotated[int, msgspec.Meta(gt=0)] | None = 16 * 1024 * 1024
    prediction_psi: Annotated[float, msgspec.Meta(gt=0)] | None = 1.0
    confidence_shift: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = 0.4
    drift_min_inferences: Annotated[int, msgspec.Meta(ge=1)] = 100
    min_inferences: Count = 200
    probation_s: Seconds = 60.0
    deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 900.0

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError, for limits under which nothing could ever be committed."""
        if not self.probation_s < self.deadline_s:
            raise ValueError(f"probation_s {self.probation_s:g} must be less than deadline_s {self.deadline_s:g}")


class Manifest(Struct, frozen=True, kw_only=True):
    """What is signed about a version. `version` is 0 until the registry has numbered it."""

    v: Literal[1] = 1
    model: Name
    version: Count = 0
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1, max_length=16)]
    labels: tuple[str, ...] = ()
    health: HealthLimits = HealthLimits()
    source_digest: str = ""
    tools: dict[str, str] = {}

    def variant(self, name: str) -> Variant | None:
        return next((entry for entry in self.variants if entry.name == name), None)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes, whose digest names the manifest. Raises TooLarge over one block."""
    plain = msgspec.to_builtins(manifest, str_keys=True)  # numbers as keys cannot be sorted by the encoder
    data = msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=1) + b"\n"
    if len(data) > limits.MAX_MANIFEST_BYTES:
        raise TooLarge("manifest", len(data), limits.MAX_MANIFEST_BYTES)
    return data


def decode_manifest(data: bytes) -> Manifest:
    if len(data) > limits.MAX_MANIFEST_BYTES:
        raise TooLarge("manifest", len(data), limits.MAX_MANIFEST_BYTES)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"not a manifest: {error}") from error
