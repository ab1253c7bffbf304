"""How versions did on a device, added up from the windows that it sent."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from wherry.controller.core.behaviour import merged_confidence
from wherry.controller.store.tables import TelemetryRow
from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.profile import CONFIDENCE_BINS, Confidence
from wherry.protocol.types import Struct

MAX_PREDICTED = 5


class Predicted(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The index of a class, and the share of inferences that were it."""

    top: int
    share: float


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What one version did in one slot over the period asked for; `accuracy` is correct of labelled.

    `predictions` are the commonest classes with their shares; `confidence` is the mean, None where the model has none.
    `worker_cpu_share` is of one processor, in the newest window.
    """

    slot: str
    model: str
    version: int
    inferences: int
    errors: int
    labelled: int
    correct: int
    accuracy: float | None
    p50_ms: float | None
    p95_ms: float | None
    predictions: tuple[Predicted, ...]
    confidence: float | None
    worker_cpu_share: float | None
    last_s: float


def readings(windows: Iterable[TelemetryRow]) -> tuple[Reading, ...]:
    by_version: dict[tuple[str, str, int], list[TelemetryRow]] = {}
    for window in windows:
        by_version.setdefault((window.slot, window.model, window.version), []).append(window)
    return tuple(_reading(*key, rows) for key, rows in sorted(by_version.items()))


def _reading(slot: str, model: str, version: int, windows: Sequence[TelemetryRow]) -> Reading:
    latency = LatencyWindow(msgspec.json.decode(window.latency, type=LatencySketch) for window in windows)
    labelled = sum(window.labelled for window in windows)
    correct = sum(window.correct for window in windows)
    return Reading(
        slot=slot,
        model=model,
        version=version,
        inferences=sum(window.inferences for window in windows),
        errors=sum(window.errors for window in windows),
        labelled=labelled,
        correct=correct,
        accuracy=correct / labelled if labelled else None,
        p50_ms=latency.quantile_ms(0.5),
        p95_ms=latency.quantile_ms(0.95),
        predictions=_predictions(windows),
        confidence=_confidence(windows),
        worker_cpu_share=windows[-1].worker_cpu_share,
        last_s=max(window.received_s for window in windows),
    )


def _predictions(windows: Sequence[TelemetryRow]) -> tuple[Predicted, ...]:
    counts: Counter[int] = Counter()
    for window in windows:
        counts.update(msgspec.json.decode(window.predictions, type=dict[int, int]))
    total = sum(counts.values())
    return tuple(Predicted(top=top, share=count / total) for top, count in counts.most_common(MAX_PREDICTED) if count)


def _confidence(windows: Sequence[TelemetryRow]) -> float | None:
    bodies = [window.confidence for window in windows if window.confidence is not None]
    decoded = (msgspec.json.decode(body, type=tuple[int, ...]) for body in bodies)
    return mean_confidence(merged_confidence(decoded))


def mean_confidence(counts: Confidence) -> float | None:
    """By the middles of the bins; None where the model has none."""
    total = sum(counts)
    return sum((index + 0.5) / CONFIDENCE_BINS * count for index, count in enumerate(counts)) / total if total else None
