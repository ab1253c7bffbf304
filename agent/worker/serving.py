"""Serving: answer apps and the feed at its pace, count, and say a window when it is time.

Rules upheld here:
- An inference that raises is an error in the window; it never ends the loop.
- A file that cannot be used is counted apart from errors: a broken card must not cost a version its place.
- A window waits while the supervisor does not read: counting goes on, and the next one covers both.
- Apps are answered by threads of their own; whoever steps the serving waits for none of them, except to drain.
"""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from wherry.agent.worker.channel import WorkerChannel
from wherry.agent.worker.engine import Engine, InferenceFailed
from wherry.agent.worker.feed import BadFile, Idle, Sample, samples
from wherry.agent.worker.listeners import Listeners
from wherry.agent.worker.messages import Feed, Identity, Serve, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.pacing import Pacer

IDLE_S = 1.0
"""How long a feed without a sample is left alone."""


class Serving:
    """One `Serve` order being carried out, from `now_s` on, on a monotonic clock. `sockets` are the order's."""

    def __init__(
        self,
        order: Serve,
        model: Model,
        channel: WorkerChannel,
        now_s: float,
        identity: Identity = Identity(),  # noqa: B008 - frozen
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._channel = channel
        self._window_s = order.window_s
        self._window_due_s = now_s + order.window_s
        self._engine = Engine(model, identity, now_s)
        self._feed = _feed(order.feed, model)
        self._pacer = Pacer(order.feed.rate_hz if order.feed else 1 / IDLE_S, now_s)
        self._mentioned = ""
        self._listeners = Listeners(self._engine, order, sockets)

    def wait_s(self, now_s: float) -> float:
        """How long nothing need be done."""
        return max(min(self._pacer.due_s, self._window_due_s) - now_s, 0.0)

    def step(self, now_s: float) -> None:
        """Do what is due: at most one inference, and at most one window."""
        if now_s >= self._pacer.due_s:
            self._answer(next(self._feed), now_s)
        if now_s >= self._window_due_s:
            self._say_window(now_s)

    def drain(self, drain_s: float) -> None:
        """Take nothing new, and return once all that was asked has been answered."""
        self._listeners.drain(drain_s)

    def last_window(self, now_s: float) -> Window:
        """What has been counted and not been said."""
        return self._engine.window(now_s)

    def _answer(self, item: Sample | BadFile | Idle, now_s: float) -> None:
        match item:
            case Sample():
                self._pacer.advance(now_s)
                self._infer(item)
            case BadFile():
                self._engine.pass_over(item.reason)
            case Idle():
                self._pacer.rest(now_s, IDLE_S)
                if item.reason != self._mentioned:
                    self._mentioned = item.reason
                    self._engine.mention(item.reason)

    def _infer(self, sample: Sample) -> None:
        try:
            self._engine.infer(sample.inputs, sample.label)
        except InferenceFailed:
            return  # counted

    def _say_window(self, now_s: float) -> None:
        if self._channel.can_say():
            self._channel.say(self.last_window(now_s))
        self._window_due_s = now_s + self._window_s


def _feed(feed: Feed | None, model: Model) -> Iterator[Sample | BadFile | Idle]:
    """The samples that `feed` gives for `model`; without a feed, silence."""
    if feed is None:
        return _silence("")
    return samples(Path(feed.directory), model.inputs)


def _silence(reason: str) -> Iterator[Idle]:
    while True:
        yield Idle(reason)
