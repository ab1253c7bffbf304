"""Serving: answer the feed at its pace, count, and say a window when it is time.

Rules upheld here:
- An inference that raises is an error in the window; it never ends the loop.
- A file that cannot be used is counted apart from errors: a broken card must not cost a version its place.
- A window waits while the supervisor does not read: counting goes on, and the next one covers both.
"""

from collections.abc import Iterator
from pathlib import Path

from wherry.agent.worker.channel import WorkerChannel
from wherry.agent.worker.feed import BadFile, Idle, Sample, samples
from wherry.agent.worker.memory import rss_bytes
from wherry.agent.worker.messages import Feed, Serve, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.pacing import Pacer
from wherry.agent.worker.window import WindowCounts
from wherry.protocol.scores import ScoreReader, has_scores

IDLE_S = 1.0
"""How long a feed without a sample is left alone."""


class Serving:
    """One `Serve` order being carried out, from `now_s` on, on a monotonic clock."""

    def __init__(self, order: Serve, model: Model, channel: WorkerChannel, now_s: float) -> None:
        self._model, self._channel = model, channel
        self._window_s = order.window_s
        self._scores = ScoreReader(model.outputs[0]) if has_scores(model.outputs) else None
        self._feed = _feed(order.feed, model)
        self._pacer = Pacer(order.feed.rate_hz if order.feed else 1 / IDLE_S, now_s)
        self._mentioned = ""
        self._begin_window(now_s)

    def wait_s(self, now_s: float) -> float:
        """How long nothing need be done."""
        return max(min(self._pacer.due_s, self._window_due_s) - now_s, 0.0)

    def step(self, now_s: float) -> None:
        """Do what is due: at most one inference, and at most one window."""
        if now_s >= self._pacer.due_s:
            self._answer(next(self._feed), now_s)
        if now_s >= self._window_due_s:
            self._say_window(now_s)

    def last_window(self, now_s: float) -> Window:
        """What has been counted and not been said."""
        return self._counts.window(now_s, rss_bytes())

    def _answer(self, item: Sample | BadFile | Idle, now_s: float) -> None:
        match item:
            case Sample():
                self._pacer.advance(now_s)
                self._infer(item)
            case BadFile():
                self._counts.pass_over(item.reason)
            case Idle():
                self._pacer.rest(now_s, IDLE_S)
                if item.reason != self._mentioned:
                    self._mentioned = item.reason
                    self._counts.mention(item.reason)

    def _infer(self, sample: Sample) -> None:
        try:
            outputs, latency_ms = self._model.run(sample.inputs)
            reading = self._scores.read(outputs[0]) if self._scores else None
        except Exception as error:  # noqa: BLE001 - runtimes raise what they like; serving goes on
            self._counts.fail(f"{type(error).__name__}: {error}")
        else:
            self._counts.add(latency_ms, reading, sample.label)

    def _say_window(self, now_s: float) -> None:
        if self._channel.can_say():
            self._channel.say(self.last_window(now_s))
            self._begin_window(now_s)
        else:
            self._window_due_s = now_s + self._window_s

    def _begin_window(self, now_s: float) -> None:
        self._counts = WindowCounts(now_s)
        self._window_due_s = now_s + self._window_s


def _feed(feed: Feed | None, model: Model) -> Iterator[Sample | BadFile | Idle]:
    """The samples that `feed` gives for `model`; without a feed, silence."""
    if feed is None:
        return _silence("")
    return samples(Path(feed.directory), model.inputs)


def _silence(reason: str) -> Iterator[Idle]:
    while True:
        yield Idle(reason)
