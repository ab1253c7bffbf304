"""What happened since the last window was said. Called for every inference, so it counts and does no more."""

from collections import Counter
from time import process_time

from wherry.agent.worker.messages import Window
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.profile import CONFIDENCE_BINS, MAX_CLASSES
from wherry.protocol.scores import Reading
from wherry.protocol.types import clip_reason


class WindowCounts:
    """Counts for one window; make a new one for the next."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._start_cpu_s = process_time()
        self._latency = LatencyWindow()
        self._inferences = self._errors = self._labelled = self._correct = 0
        self._last_error = ""
        self._predictions: Counter[int] = Counter()
        self._confidence = [0] * CONFIDENCE_BINS

    def add(self, latency_ms: float, reading: Reading | None, label: int | None) -> None:
        """One inference that gave an answer; `reading` of its scores, where it has any."""
        self._inferences += 1
        self._latency.add(latency_ms)
        if reading is None:
            return
        self._predictions[reading.top] += 1
        self._confidence[min(int(reading.confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)] += 1
        if label is not None:
            self._labelled += 1
            self._correct += reading.top == label

    def fail(self, reason: str) -> None:
        """One inference that gave none."""
        self._errors += 1
        self._last_error = reason

    def window(self, now_s: float, rss_bytes: int) -> Window:
        return Window(
            window_s=max(now_s - self._start_s, 0.0),
            inferences=self._inferences,
            errors=self._errors,
            last_error=clip_reason(self._last_error),
            latency=self._latency.sketch(),
            labelled=self._labelled,
            correct=self._correct,
            predictions=dict(self._predictions.most_common(MAX_CLASSES)),
            confidence=tuple(self._confidence) if self._predictions else (),
            rss_bytes=rss_bytes,
            cpu_s=max(process_time() - self._start_cpu_s, 0.0),
        )
