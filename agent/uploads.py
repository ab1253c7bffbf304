"""What an order brought to light goes up: over HTTP where the order names a URL, else as blocks over MQTT.

Rules upheld here:
- One bundle at a time, and of its blocks few at a time: the queue to the broker belongs to events and reports.
- A block counts once the broker has acknowledged it. After a new connection the others are sent again.
- HTTP that fails, or takes too long, is followed by blocks; a bundle that arrives on both ways is the same bundle.
- Bundles are kept in memory only: an agent that is killed meanwhile does not collect again.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from wherry.agent.adapters.broker import Taken
from wherry.agent.adapters.http_upload import HttpUploaded
from wherry.agent.services import Services
from wherry.agent.timers import Timer
from wherry.protocol import topics
from wherry.protocol.blob import sha256
from wherry.protocol.codec import encode
from wherry.protocol.limits import MAX_UPLOAD_BYTES, UPLOAD_BLOCK_BYTES
from wherry.protocol.up import Upload

BLOCKS_IN_FLIGHT = 2
"""128 KiB in the broker's queue at most."""

MAX_WAITING = 3
"""Bundles behind the one that is on its way; more orders are refused."""

HTTP_LIMIT_S = 60.0
"""For a whole PUT; a server that drips is left for blocks."""


class Sent(msgspec.Struct, frozen=True):
    """How a bundle went up. `problem` of the way that was tried before is for the log."""

    digest: str
    size_bytes: int
    transport: Literal["mqtt", "http"]
    problem: str = ""


Done = Callable[[Sent], None]


class Bundle(msgspec.Struct):
    """`left` are the numbers of the blocks that the broker does not have; `in_flight` by the token of their message."""

    action_id: str
    url: str | None
    data: bytes
    digest: str
    done: Done
    left: deque[int]
    in_flight: dict[tuple[int, int], int]
    problem: str = ""

    @property
    def count(self) -> int:
        return -(-len(self.data) // UPLOAD_BLOCK_BYTES)


class Uploads:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._waiting: deque[Bundle] = deque()
        self._bundle: Bundle | None = None
        self._by_blocks = False
        self._limit: Timer | None = None
        self._online = False

    def send(self, action_id: str, url: str | None, data: bytes, done: Done) -> str | None:
        """Send it as soon as those before it are through; why not, where that is out of the question."""
        if len(data) > MAX_UPLOAD_BYTES:
            return f"{len(data)} bytes collected, and at most {MAX_UPLOAD_BYTES} can be sent"
        if len(self._waiting) >= MAX_WAITING:
            return f"{len(self._waiting) + 1} bundles are on their way already"
        self._waiting.append(Bundle(action_id, url, data, sha256(data), done, deque(), {}))
        if self._bundle is None:
            self._next()
        return None

    def connected(self) -> None:
        """A new session: what the old one had not acknowledged is sent again."""
        self._online = True
        if self._bundle is not None and self._by_blocks:
            self._bundle.left = deque(sorted({*self._bundle.left, *self._bundle.in_flight.values()}))
            self._bundle.in_flight.clear()
            self._send_blocks()

    def disconnected(self) -> None:
        self._online = False

    def taken(self, taken: Taken) -> None:
        """The broker has a message, perhaps a block."""
        bundle = self._bundle
        if bundle is None or bundle.in_flight.pop(taken.token, None) is None:
            return
        if bundle.left or bundle.in_flight:
            self._send_blocks()
        else:
            self._finish("mqtt")

    def http_answered(self, event: HttpUploaded) -> None:
        """Late answers, of a bundle that goes by blocks by now, change nothing."""
        if self._bundle is None or self._by_blocks or event.action_id != self._bundle.action_id:
            return
        self._cancel()
        if event.problem:
            self._go_by_blocks(event.problem)
        else:
            self._finish("http")

    def _next(self) -> None:
        self._bundle = self._waiting.popleft() if self._waiting else None
        self._by_blocks = False
        if self._bundle is None:
            return
        put = self._services.put_bundle
        if self._bundle.url is None or put is None:
            self._go_by_blocks("")
            return
        self._limit = self._services.timers.after(
            HTTP_LIMIT_S, lambda: self._go_by_blocks(f"no answer within {HTTP_LIMIT_S:g} s")
        )
        put(self._bundle.url, self._bundle.action_id, self._bundle.data, self._bundle.digest)

    def _go_by_blocks(self, problem: str) -> None:
        assert self._bundle is not None, "a timer or an answer belongs to a bundle"
        if problem:
            self._services.log.warning("sent as blocks instead", id=self._bundle.action_id, reason=problem)
        self._by_blocks = True
        self._bundle.problem = problem
        self._bundle.left = deque(range(self._bundle.count))
        self._send_blocks()

    def _send_blocks(self) -> None:
        bundle = self._bundle
        assert bundle is not None, "blocks belong to a bundle"
        while self._online and bundle.left and len(bundle.in_flight) < BLOCKS_IN_FLIGHT:
            token = self._publish(bundle, bundle.left[0])
            if token is None:
                return  # the connection is going; the next one goes on
            bundle.in_flight[token] = bundle.left.popleft()

    def _publish(self, bundle: Bundle, index: int) -> tuple[int, int] | None:
        start = index * UPLOAD_BLOCK_BYTES
        block = Upload(
            action_id=bundle.action_id, index=index, count=bundle.count, size_bytes=len(bundle.data),
            digest=bundle.digest, data=bundle.data[start : start + UPLOAD_BLOCK_BYTES],
        )  # fmt: skip
        config = self._services.config
        return self._services.link.publish(topics.up(config.fleet, config.device, "upload"), encode(block), qos=1)

    def _finish(self, transport: Literal["mqtt", "http"]) -> None:
        bundle = self._bundle
        assert bundle is not None, "only a bundle is finished"
        bundle.done(Sent(bundle.digest, len(bundle.data), transport, bundle.problem))
        self._next()

    def _cancel(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
