"""The report of a conversion: what was measured, and why the manifest says what it says.

It is written for a version that came about, and just so for one that was refused.
"""

from typing import Any, Literal

import msgspec

from wherry.protocol.manifest import Operator, Tolerance
from wherry.protocol.recipe import Recipe
from wherry.protocol.runtime import Family, RuntimeFloor
from wherry.protocol.types import Count, Digest, Share, Struct


class Sizes(Struct, frozen=True, kw_only=True):
    source_bytes: Count
    float_bytes: Count


class InputRange(Struct, frozen=True, kw_only=True):
    """The values of one input in one set.

    `histogram` counts them in equal bins over the axis, which is the same for both sets; from `low` to `high`
    where no axis is given.
    """

    input: str
    low: float
    high: float
    mean: float
    std: float
    histogram: tuple[Count, ...] = ()
    axis_low: float | None = None
    axis_high: float | None = None


class DataUsed(Struct, frozen=True, kw_only=True):
    """`used` of `given` samples, evenly spread."""

    where: str
    given: Count
    used: Count
    labelled: bool
    ranges: tuple[InputRange, ...] = ()


class DataWarning(Struct, frozen=True, kw_only=True):
    """A fault of the data that was named before anything depended on it."""

    kind: str
    message: str
    fix: str = ""


class Parity(Struct, frozen=True, kw_only=True):
    """The float TFLite against the source, by output. `top1_share` is None where that is not one score a class."""

    output: str
    samples: Count
    snr_db: float
    top1_share: float | None


class Interval(Struct, frozen=True, kw_only=True):
    """A share with its 95 % interval (Wilson)."""

    share: Share
    low: Share
    high: Share


class McNemar(Struct, frozen=True, kw_only=True):
    """Paired test of both models on the same labelled samples.

    `lost` were right in float only, `won` in the variant only; `p_value` is exact, two-sided.
    """

    lost: Count
    won: Count
    p_value: float


class Scores(Struct, frozen=True, kw_only=True):
    """One variant in one runtime against the float model, for the output that decides.

    Accuracies and the test are None without labels; `agreement_interval` is None where agreement is not a share
    of samples. `guessing` is what always naming the commonest class would be right on.
    """

    samples: Count
    agreement: float
    mean_cosine: float
    min_cosine: float
    snr_db: float
    agreement_interval: Interval | None = None
    float_accuracy: Interval | None = None
    accuracy: Interval | None = None
    guessing: Share | None = None
    mcnemar: McNemar | None = None

    @property
    def accuracy_loss(self) -> float | None:
        if self.float_accuracy is None or self.accuracy is None:
            return None
        return self.float_accuracy.share - self.accuracy.share


class Spread(Struct, frozen=True, kw_only=True):
    """The largest differences found between kernels on the same inputs. `max_abs` as in Tolerance."""

    max_abs: float
    min_cosine: float
    top1_share: Share


class FamilyResult(Struct, frozen=True, kw_only=True):
    """What one runtime family made of the file. `reason` says why it is left out, or whence the floor is.

    `delegated_ops` of `all_ops` run in XNNPACK, which is most of what makes a file fast.
    """

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
    delegated_ops: Count | None = None
    all_ops: Count | None = None


class LayerError(Struct, frozen=True, kw_only=True):
    """One layer of a variant against the float model on the same inputs, in the order of the graph.

    `layer` is the name that the source's author gave, as far as it is known.
    """

    op: str
    tensor: str
    layer: str
    snr_db: float
    rmse: float
    saturated_share: Share = 0.0
    float_low: float = 0.0
    float_high: float = 0.0
    quantized_low: float | None = None
    quantized_high: float | None = None


class Join(Struct, frozen=True, kw_only=True):
    """A CONCATENATION whose inputs differ in range so much that one scale cannot serve them all."""

    layer: str
    tensor: str
    ratio: float
    message: str


class RemedyTried(Struct, frozen=True, kw_only=True):
    """A remedy for a missed budget, and what came of it in the runtime that decides."""

    remedy: str
    detail: str
    held: bool
    took_s: float
    scores: Scores | None = None
    kept_float: tuple[str, ...] = ()


class LayerCost(Struct, frozen=True, kw_only=True):
    """What quantizing this layer costs: the share of the output's error power that comes from it alone."""

    op: str
    tensor: str
    layer: str
    noise_share: float
    extra_bytes: int


class Confusion(Struct, frozen=True, kw_only=True):
    """Rows are the labelled classes, columns the predicted ones; at most 64 classes."""

    who: str
    counts: tuple[tuple[Count, ...], ...]


class VariantReport(Struct, frozen=True, kw_only=True):
    """`accepted` variants are in the manifest; `reason` says why another is not.

    `macs` are multiply-accumulates of one inference; `arena_how` says whence `arena_bytes` is.
    """

    name: str
    accepted: bool
    reason: str = ""
    remark: str = ""
    digest: Digest | None = None
    artifact_bytes: Count = 0
    golden_bytes: Count = 0
    macs: Count = 0
    parameters: Count = 0
    arena_bytes: Count = 0
    arena_how: str = ""
    operators: tuple[Operator, ...] = ()
    runtimes: tuple[FamilyResult, ...] = ()
    layers: tuple[LayerError, ...] = ()


class FloatReport(Struct, frozen=True, kw_only=True):
    """The canonical float file in the runtimes, to compare with. None of its figures is a promise."""

    artifact_bytes: Count
    macs: Count
    runtimes: tuple[FamilyResult, ...] = ()


class Report(Struct, frozen=True, kw_only=True):
    """`steps_s`: seconds by step, in order; `cached` names the passes that were not done again.

    `ranges` are those of activations in 8 bits: as seen (minmax), or narrower.
    """

    v: Literal[2] = 2
    name: str
    outcome: Literal["accepted", "refused"]
    reason: str = ""
    source: str
    framework: str
    source_digest: str
    recipe: Recipe
    sizes: Sizes
    calibration: DataUsed
    evaluation: DataUsed | None
    warnings: tuple[DataWarning, ...] = ()
    ranges: str = ""
    parity: tuple[Parity, ...] = ()
    float_model: FloatReport | None = None
    variants: tuple[VariantReport, ...] = ()
    joins: tuple[Join, ...] = ()
    remedies: tuple[RemedyTried, ...] = ()
    layer_costs: tuple[LayerCost, ...] = ()
    labels: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    tools: dict[str, str] = {}
    steps_s: dict[str, float] = {}
    cached: tuple[str, ...] = ()

    def variant(self, name: str) -> VariantReport | None:
        return next((entry for entry in self.variants if entry.name == name), None)


def encode_report(report: Report) -> bytes:
    """Indented JSON, defaults left out as in all our messages."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode_report(data: bytes | Any) -> Report:
    """Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Report)
