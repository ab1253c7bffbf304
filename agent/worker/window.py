"""What happened since the last window was said."""

from collections import Counter

import numpy as np

from wherry.agent.worker.messages import Window
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.types import clip_reason

MAX_CLASSES = 64
"""Of more predicted classes a window names the commonest; the others are left out of `predictions`."""


class WindowCounts:
    """Counts for one window; make a new one for the next."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._latency = LatencyWindow()
        self._inferences = self._errors = self._labelled = self._correct = 0
        self._bad_files = 0
        self._last_error = self._remark = ""
        self._predictions: Counter[int] = Counter()

    def add(self, latency_ms: float, prediction: int | None, label: int | None) -> None:
        """One inference that gave an answer."""
        self._inferences += 1
        self._latency.add(latency_ms)
        if prediction is None:
            return
        self._predictions[prediction] += 1
        if label is not None:
            self._labelled += 1
            self._correct += prediction == label

    def fail(self, reason: str) -> None:
        """One inference that gave none."""
        self._errors += 1
        self._last_error = reason

    def pass_over(self, reason: str) -> None:
        """One file of the feed that cannot be used: the board's trouble, not the model's failure."""
        self._bad_files += 1
        self._remark = reason

    def mention(self, reason: str) -> None:
        """Something else about the feed for a person to know."""
        self._remark = reason

    def window(self, now_s: float, rss_bytes: int) -> Window:
        return Window(
            window_s=max(now_s - self._start_s, 0.0),
            inferences=self._inferences,
            errors=self._errors,
            last_error=clip_reason(self._last_error),
            bad_files=self._bad_files,
            remark=clip_reason(self._remark),
            latency=self._latency.sketch(),
            labelled=self._labelled,
            correct=self._correct,
            predictions=dict(self._predictions.most_common(MAX_CLASSES)),
            rss_bytes=rss_bytes,
        )


def has_scores(outputs: tuple[TensorSpec, ...]) -> bool:
    """Whether the first output is one row of scores for two classes or more, so that its top is a prediction."""
    shape = outputs[0].shape if outputs else ()
    return bool(shape) and shape[-1] >= 2 and all(length == 1 for length in shape[:-1])


def top_class(scores: Tensor) -> int:
    """The index of the largest score, of equal ones the first. Raises ValueError where one is not a number."""
    if np.isnan(scores).any():
        raise ValueError("the output is not a number")
    return int(np.argmax(scores))
