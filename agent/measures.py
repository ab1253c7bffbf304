"""What a slot's worker measures, gathered over telemetry windows, a probation, and the incumbent's past."""

from collections import deque

from wherry.agent.worker.messages import Window
from wherry.protocol.latency import LatencySketch, LatencyWindow

PAST_WINDOWS = 60
"""Windows of the incumbent that its p95 is taken from: long enough to be steady, short enough to be now."""


class Tally:
    """Sums of worker windows since it was made."""

    def __init__(self) -> None:
        self._latency = LatencyWindow()
        self.window_s = 0.0
        self.inferences = self.errors = self.labelled = self.correct = 0
        self.rss_bytes = 0
        self.last_error = self.remark = ""
        self.predictions: dict[int, int] = {}

    def add(self, window: Window) -> None:
        self._latency.merge(window.latency)
        self.window_s += window.window_s
        self.inferences += window.inferences
        self.errors += window.errors
        self.labelled += window.labelled
        self.correct += window.correct
        self.rss_bytes = window.rss_bytes
        self.last_error = window.last_error or self.last_error
        self.remark = window.remark or self.remark
        for top, count in window.predictions.items():
            self.predictions[top] = self.predictions.get(top, 0) + count

    def p95_ms(self) -> float | None:
        return self._latency.quantile_ms(0.95)

    def sketch(self) -> LatencySketch:
        return self._latency.sketch()


class Past:
    """The newest windows of whatever serves, to compare a candidate with."""

    def __init__(self) -> None:
        self._sketches: deque[LatencySketch] = deque(maxlen=PAST_WINDOWS)

    def add(self, window: Window) -> None:
        if window.inferences:
            self._sketches.append(window.latency)

    def p95_ms(self) -> float | None:
        return LatencyWindow(self._sketches).quantile_ms(0.95)

    def clear(self) -> None:
        self._sketches.clear()
