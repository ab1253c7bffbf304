"""One download of the agent over a real broker and a real HTTP server, without the rest of the agent."""

import contextlib
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from wherry.agent import fetch as fetching
from wherry.agent.adapters.broker import Arrived, Broker, Connected, Disconnected, Will
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.http_blocks import HttpBlock, HttpBlocks
from wherry.agent.adapters.slow_links import SlowLimits
from wherry.agent.adapters.store import Store
from wherry.agent.config import ArtifactsConfig, BrokerConfig, Config
from wherry.agent.core.announce import Notice
from wherry.agent.errors import StoreError
from wherry.agent.fetch import Fetch
from wherry.agent.services import Services
from wherry.agent.timers import Timers
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef
from wherry.protocol.codec import encode
from wherry.protocol.errors import TopicError
from wherry.protocol.up import Status

FLEET = "test"
WINDOW_BLOCKS = 4
STALL_S = 0.15
TICK_S = 0.02
HTTP_LIMITS = SlowLimits(head_s=1.0, min_bytes_per_s=1000, window_s=0.5)


class Ferry:
    """Everything is hasty: silence lasts a sixth of a second. `fetch` is the one that is under way."""

    def __init__(
        self, directory: Path, ref: BlobRef, *, broker_port: int, url: str | None, device: str, protocol: Any = "5"
    ) -> None:
        self.ref, self._url = ref, url
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.store = Store(directory)
        self.notices: list[Notice] = []
        self.turns: list[str] = []
        broker = BrokerConfig(
            host="127.0.0.1", port=broker_port, protocol=protocol, reconnect_limit_s=0.02, keepalive_s=5
        )
        artifacts = ArtifactsConfig(window_blocks=WINDOW_BLOCKS, stall_s=STALL_S, give_up_s=60)
        config = Config(device=device, fleet=FLEET, state_dir=str(directory), broker=broker, artifacts=artifacts)
        will = Will(topics.up(FLEET, device, "status"), lambda number: encode(Status(presence="lost", session=number)))
        self.broker = Broker(broker, device, will, 1, self.inbox.put)
        clock = Clock()
        self._timers = Timers(clock.now_s)
        nothing: Any = None
        log = structlog.wrap_logger(None, processors=[_drop], wrapper_class=structlog.make_filtering_bound_logger(0))
        self._services = Services(
            config=config, store=self.store, link=self.broker, http=HttpBlocks(self.inbox.put, limits=HTTP_LIMITS),
            start_worker=nothing, on_worker=nothing, metrics=nothing, runtimes=(), clock=clock, timers=self._timers,
            chance=lambda: 0.5, log=log,
        )  # fmt: skip
        self.done: list[str | None] = []
        self.broker.start()
        self.begin()

    def begin(self) -> None:
        """Begin, or begin again as after a power cut, with what the disk has."""
        self.fetch = Fetch(self._services, self.ref, self._url, on_done=self.done.append, on_note=self.notices.append)
        self.fetch._pace = msgspec.structs.replace(self.fetch._pace, retry_s=0.02, retry_limit_s=0.1)
        self.fetch.start()

    def run(self, *, each_turn: Callable[[], object] = lambda: None, limit_s: float = 30.0) -> bool:
        """Until the download is done and its bytes are the blob's; False where it is not, or is given up."""
        deadline_s = time.monotonic() + limit_s
        while not self.done and time.monotonic() < deadline_s:
            with contextlib.suppress(queue.Empty):
                self._handle(self.inbox.get(timeout=self._timers.wait_s(0.1)))
            self._timers.run_due()
            self._note_turn()
            if not self.done:
                each_turn()
        if self.done != [None]:
            return False
        part = self.store.parts.open(self.ref)
        try:
            return part.is_whole()
        except StoreError:
            return False
        finally:
            part.close()

    def close(self) -> None:
        self.fetch.stop()
        self.broker.stop()
        self.store.close()

    def _handle(self, event: object) -> None:
        match event:
            case Connected():
                self.fetch.reconnected()
            case Disconnected():
                self.fetch.disconnected()
            case HttpBlock():
                self.fetch.http_answered(event)
            case Arrived():
                self._arrived(event)

    def _arrived(self, event: Arrived) -> None:
        try:
            topic = topics.parse(event.topic)
        except TopicError:
            return
        if isinstance(topic, topics.BlockTopic) and topic.digest == self.ref.digest and event.payload:
            self.fetch.arrived(topic.index, event.payload)

    def _note_turn(self) -> None:
        transfer = self.fetch._transfer
        if transfer is not None and transfer.turn not in self.turns[-1:]:
            self.turns.append(transfer.turn)


def hasten(patch: Callable[[object, str, object], None]) -> None:
    """Let downloads look at their clock more often."""
    patch(fetching, "TICK_S", TICK_S)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent
