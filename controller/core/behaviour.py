"""How a version behaved on a device since it was sent there: sums over what the device told.

Rules upheld here:
- Counters are exact. Histograms forget: beyond `MEMORY` inferences they are halved, so that an incumbent of a year is
  compared as it was of late.
- What is not known stays unknown: a model without confidence has none, and memory that no one measured is 0.
"""

from collections.abc import Iterable, Mapping

import msgspec

from wherry.protocol.latency import MAX_BINS, LatencySketch
from wherry.protocol.profile import CONFIDENCE_BINS, MAX_CLASSES, Confidence, Predictions
from wherry.protocol.types import Struct
from wherry.protocol.up import Telemetry

MEMORY = 100_000
"""Inferences: more say no more about a quantile, or a share."""


class Behaviour(Struct, frozen=True, kw_only=True, gc=False):
    """`crashes` are those of the worker, `memory_bytes` the most that it held at the end of a window."""

    inferences: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    crashes: int = 0
    memory_bytes: int = 0
    latency: LatencySketch = LatencySketch()
    predictions: Predictions = {}
    confidence: Confidence = ()


def after_window(before: Behaviour, telemetry: Telemetry) -> Behaviour:
    """What is known once a window has been added."""
    halved = before.latency.count > MEMORY
    latency = _halved(before.latency.counts) if halved else before.latency.counts
    kept = LatencySketch(first_key=before.latency.first_key, counts=latency)
    predictions = {key: count // 2 for key, count in before.predictions.items()} if halved else before.predictions
    confidence = _halved(before.confidence) if halved else before.confidence
    return Behaviour(
        inferences=before.inferences + telemetry.inferences,
        errors=before.errors + telemetry.errors,
        labelled=before.labelled + telemetry.labelled,
        correct=before.correct + telemetry.correct,
        crashes=before.crashes,
        memory_bytes=max(before.memory_bytes, telemetry.system.worker_rss_bytes),
        latency=merged_latency((kept, telemetry.latency)),
        predictions=merged_predictions((predictions, telemetry.predictions)),
        confidence=merged_confidence((confidence, telemetry.confidence)),
    )


def after_crash(before: Behaviour) -> Behaviour:
    return msgspec.structs.replace(before, crashes=before.crashes + 1)


def merged_latency(sketches: Iterable[LatencySketch]) -> LatencySketch:
    """All values together; exact, but that what is beyond `MAX_BINS` bins is counted in the highest."""
    filled = [sketch for sketch in sketches if sketch.counts]
    if len(filled) < 2:
        return filled[0] if filled else LatencySketch()
    first = min(sketch.first_key for sketch in filled)
    last = max(sketch.first_key + len(sketch.counts) for sketch in filled)
    counts = [0] * (last - first)
    for sketch in filled:
        for place, count in enumerate(sketch.counts, start=sketch.first_key - first):
            counts[place] += count
    kept = counts[:MAX_BINS]
    kept[-1] += sum(counts[MAX_BINS:])
    return LatencySketch(first_key=first, counts=tuple(kept))


def merged_predictions(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Counts by class; of more than `MAX_CLASSES` the commonest."""
    total: dict[int, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    if len(total) <= MAX_CLASSES:
        return total
    return dict(sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_CLASSES])


def merged_confidence(parts: Iterable[Confidence]) -> Confidence:
    filled = [part for part in parts if len(part) == CONFIDENCE_BINS]
    return tuple(map(sum, zip(*filled, strict=True))) if filled else ()


def _halved(counts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(count // 2 for count in counts)
