"""The report of a conversion: what was measured, and why the manifest says what it says."""

import msgspec

from wherry.protocol.conversion import Recipe
from wherry.protocol.manifest import Operator, Tolerance
from wherry.protocol.runtime import Family, RuntimeFloor
from wherry.protocol.types import Count, Digest, Share, Struct


class Sizes(Struct, frozen=True, kw_only=True):
    source_bytes: Count
    float_bytes: Count
    artifact_bytes: Count
    golden_bytes: Count


class DataUsed(Struct, frozen=True, kw_only=True):
    """`used` of `given` samples, evenly spread; their values lie between `low` and `high`."""

    path: str
    given: Count
    used: Count
    labelled: bool
    low: float
    high: float


class Parity(Struct, frozen=True, kw_only=True):
    """The float TFLite against the source. `top1_share` is None where the output is not one score a class."""

    samples: Count
    snr_db: float
    top1_share: float | None


class Scores(Struct, frozen=True, kw_only=True):
    """The compressed model against the float model; accuracies are None without labels."""

    samples: Count
    agreement: float
    mean_cosine: float
    min_cosine: float
    float_accuracy: Share | None = None
    accuracy: Share | None = None

    @property
    def accuracy_loss(self) -> float | None:
        if self.float_accuracy is None or self.accuracy is None:
            return None
        return self.float_accuracy - self.accuracy


class Spread(Struct, frozen=True, kw_only=True):
    """The largest differences found between kernels on the same inputs. `max_abs` as in Tolerance."""

    max_abs: float
    min_cosine: float
    top1_share: Share


class FamilyResult(Struct, frozen=True, kw_only=True):
    """What one runtime family made of the file. `reason` says why it is left out, or whence the floor is."""

    family: Family
    version: str
    ok: bool
    reason: str
    floor: RuntimeFloor | None = None
    scores: Scores | None = None
    spread: Spread | None = None
    tolerance: Tolerance | None = None
    load_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


class Report(Struct, frozen=True, kw_only=True):
    """`steps_s`: seconds by step, in order."""

    v: int = 1
    name: str
    variant: str
    recipe: Recipe
    source: str
    source_digest: Digest
    artifact_digest: Digest
    sizes: Sizes
    calibration: DataUsed
    evaluation: DataUsed | None
    parity: Parity
    runtimes: tuple[FamilyResult, ...]
    operators: tuple[Operator, ...]
    float_runtime: str
    float_p50_ms: float
    tools: dict[str, str]
    steps_s: dict[str, float]


def encode_report(report: Report) -> bytes:
    """Indented JSON, defaults left out as in all our messages."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
