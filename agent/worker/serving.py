"""Serving: answer whoever asks, and say a window when it is time.

Rules upheld here:
- A window waits while the supervisor does not read: counting goes on, and the next one covers both.
- Who asks is answered by threads of their own; whoever steps the serving waits for none of them, except to drain.
"""

import socket
from collections.abc import Sequence

from wherry.agent.worker.channel import WorkerChannel
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.listeners import Listeners
from wherry.agent.worker.messages import Identity, Serve, Window
from wherry.agent.worker.model import Model
from wherry.agent.worker.samples import SampleKeeper


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
        samples: SampleKeeper | None = None,
    ) -> None:
        self._channel = channel
        self._window_s = order.window_s
        self._window_due_s = now_s + order.window_s
        self._engine = Engine(model, identity, now_s, samples)
        self._listeners = Listeners(self._engine, order, sockets)

    def wait_s(self, now_s: float) -> float:
        """How long nothing need be done."""
        return max(self._window_due_s - now_s, 0.0)

    def step(self, now_s: float) -> None:
        """Say a window, where it is due."""
        if now_s >= self._window_due_s:
            self._say_window(now_s)

    def drain(self, drain_s: float) -> None:
        """Take nothing new, and return once all that was asked has been answered."""
        self._listeners.drain(drain_s)

    def last_window(self, now_s: float) -> Window:
        """What has been counted and not been said."""
        return self._engine.window(now_s)

    def _say_window(self, now_s: float) -> None:
        if self._channel.can_say():
            self._channel.say(self.last_window(now_s))
        self._window_due_s = now_s + self._window_s
