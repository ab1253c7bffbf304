"""What a slot's worker measures, gathered over telemetry windows, a probation, and the incumbent's past."""

from collections import Counter, deque
from collections.abc import Sequence

from wherry.agent.core.drift import Baseline
from wherry.agent.core.growth import Trace
from wherry.agent.worker.messages import Window
from wherry.protocol.distances import clumping
from wherry.protocol.latency import LatencySketch, LatencyWindow
from wherry.protocol.profile import CONFIDENCE_BINS, MAX_CLASSES, Profile

PAST_WINDOWS = 60
"""Windows of the incumbent that its p95 is taken from: long enough to be steady, short enough to be now."""

SPELL_S = 30.0
SPELLS = 60
"""What the incumbent says is kept for half an hour, in spells of half a minute: a scene changes more slowly than load,
and how much it changes from spell to spell is what a candidate's few minutes must be held against."""


class Answers:
    """Sums of what windows say about answers."""

    def __init__(self) -> None:
        self.samples = 0
        self.window_s = 0.0
        self.predictions: Counter[int] = Counter()
        self.confidence: Counter[int] = Counter()

    def add(self, window: Window) -> None:
        if window.predictions:
            self.samples += window.inferences
        self.window_s += window.window_s
        self.predictions.update(window.predictions)
        self.confidence.update(dict(enumerate(window.confidence)))

    def profile(self) -> Profile:
        return Profile(
            samples=self.samples,
            predictions=dict(self.predictions.most_common(MAX_CLASSES)),
            confidence=tuple(self.confidence[index] for index in range(CONFIDENCE_BINS)) if self.confidence else (),
        )


def _joined(spells: Sequence[Answers]) -> Answers:
    total = Answers()
    for spell in spells:
        total.samples += spell.samples
        total.predictions.update(spell.predictions)
        total.confidence.update(spell.confidence)
    return total


class Tally:
    """Sums of worker windows since it was made."""

    def __init__(self) -> None:
        self._latency = LatencyWindow()
        self._answers = Answers()
        self.window_s = self.cpu_s = 0.0
        self.inferences = self.errors = self.labelled = self.correct = 0
        self.rss_bytes = 0
        self.memory = Trace()
        self.last_error = ""

    def add(self, window: Window) -> None:
        self._latency.merge(window.latency)
        self._answers.add(window)
        self.window_s += window.window_s
        self.cpu_s += window.cpu_s
        self.inferences += window.inferences
        self.errors += window.errors
        self.labelled += window.labelled
        self.correct += window.correct
        self.rss_bytes = window.rss_bytes
        self.memory.add(self.window_s, window.rss_bytes)
        self.last_error = window.last_error or self.last_error

    def p95_ms(self) -> float | None:
        return self._latency.quantile_ms(0.95)

    def sketch(self) -> LatencySketch:
        return self._latency.sketch()

    def profile(self) -> Profile:
        return self._answers.profile()


class Past:
    """The newest windows of whatever serves, to compare a candidate with."""

    def __init__(self) -> None:
        self._sketches: deque[LatencySketch] = deque(maxlen=PAST_WINDOWS)
        self._spells: deque[Answers] = deque(maxlen=SPELLS)

    def add(self, window: Window) -> None:
        if not window.inferences:
            return
        self._sketches.append(window.latency)
        if not self._spells or self._spells[-1].window_s >= SPELL_S:
            self._spells.append(Answers())
        self._spells[-1].add(window)

    def p95_ms(self) -> float | None:
        return LatencyWindow(self._sketches).quantile_ms(0.95)

    def baseline(self) -> Baseline | None:
        """How it answered; None where nothing did."""
        total = _joined(self._spells).profile()
        if not total.samples:
            return None
        return Baseline(
            samples=total.samples,
            predictions=total.predictions,
            confidence=total.confidence,
            prediction_clumping=clumping([spell.predictions for spell in self._spells]),
            confidence_clumping=clumping([spell.confidence for spell in self._spells]),
        )

    def clear(self) -> None:
        self._sketches.clear()
        self._spells.clear()
