"""A broker in memory, for one agent: retained messages, and answers that come through the inbox."""

from collections.abc import Callable

from wherry.agent.adapters.broker import Arrived, Connected, Disconnected, Taken
from wherry.protocol.codec import decode_up, encode
from wherry.protocol.down import Receipt
from wherry.protocol.types import Message
from wherry.protocol.up import Event


class FakeLink:
    """`sent` is all that went up, in order. `damage` replaces a retained payload a number of times."""

    def __init__(self, on_event: Callable[[Connected | Disconnected | Arrived | Taken], None]) -> None:
        self._on_event = on_event
        self.retained: dict[str, bytes] = {}
        self.subscribed: set[str] = set()
        self.asked: list[str] = []
        self.sent: list[Message] = []
        self.damage: dict[str, int] = {}
        self.online = False
        self.gives_receipts = True
        self.is_mute = False
        self._session = 0
        self._mid = 0

    def connect(self) -> None:
        self.online, self._session = True, self._session + 1
        self._on_event(Connected(self._session, "5"))

    def disconnect(self) -> None:
        self.online = False
        self._on_event(Disconnected("cut", 1.0))

    def put(self, topic: str, payload: bytes) -> None:
        """Publish retained, as the controller does."""
        self.retained[topic] = payload
        if self.online and any(_matches(pattern, topic) for pattern in self.subscribed):
            self._on_event(Arrived(topic, payload))

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, expiry_s: int | None = None
    ) -> tuple[int, int] | None:
        if not self.online:
            return None
        self._mid += 1
        self.sent.append(decode_up(topic.rsplit("/", 1)[1], payload))
        token = (self._session, self._mid)
        if not qos or not self.is_mute:  # QoS 0 is told of once it is written, as paho does
            self._on_event(Taken(token))
        if self.gives_receipts and isinstance(event := self.sent[-1], Event):
            receipt = Receipt(boot_id=event.boot_id, seqs=(event.seq,))
            self._on_event(Arrived(topic.replace("/up/event", "/down/receipt"), encode(receipt)))
        return token

    def subscribe(self, topics: list[str], *, qos: int = 0) -> None:
        if not self.online:
            return
        self.subscribed.update(topics)
        self.asked += topics
        for topic in topics:
            for name, payload in self.retained.items():
                if _matches(topic, name):
                    self._on_event(Arrived(name, self._perhaps_damaged(name, payload)))

    def unsubscribe(self, topics: list[str]) -> None:
        if self.online:
            self.subscribed.difference_update(topics)

    def _perhaps_damaged(self, topic: str, payload: bytes) -> bytes:
        left = self.damage.get(topic, 0)
        if left <= 0:
            return payload
        self.damage[topic] = left - 1
        return bytes([payload[0] ^ 1]) + payload[1:]


def _matches(pattern: str, topic: str) -> bool:
    return pattern == topic or (pattern.endswith("/+") and topic.rsplit("/", 1)[0] == pattern[:-2])
