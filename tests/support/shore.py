"""The controller's side of the broker, as far as tests of the agent need it: publishes, and keeps what it hears."""

import threading
from collections.abc import Collection
from typing import TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.cargo_hold import DEVICE, FLEET, Version, desire
from tests.support.wait import wait_until
from wherry.protocol import topics
from wherry.protocol.codec import decode_up, encode
from wherry.protocol.down import Receipt
from wherry.protocol.types import Message
from wherry.protocol.up import Event, Reported
from wherry.protocol.up.reported import SlotReport

M = TypeVar("M", bound=Message)


class Shore:
    def __init__(self, port: int) -> None:
        self.heard: list[Message] = []
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "shore", protocol=mqtt.MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(topics.all_up(FLEET), qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, version: Version, *, damaged: Collection[str] = ()) -> None:
        """Publish all blocks; those on the topics in `damaged` with one byte changed."""
        for topic, payload in version.messages().items():
            if topic in damaged:
                payload = bytes([payload[0] ^ 1]) + payload[1:]
            self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)

    def want(self, generation: int, *versions: Version, url: str | None = None) -> None:
        payload = encode(desire(generation, *versions, url=url))
        topic = topics.down(FLEET, DEVICE, "desired")
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)

    def receive(self, *events: Event) -> None:
        """Give a receipt for each, as a controller does that has written them down."""
        for event in events:
            payload = encode(Receipt(boot_id=event.boot_id, seqs=(event.seq,)))
            self._client.publish(topics.down(FLEET, DEVICE, "receipt"), payload).wait_for_publish(10)

    def all(self, kind: type[M]) -> list[M]:
        with self._lock:
            return [message for message in self.heard if isinstance(message, kind)]

    def slot(self) -> SlotReport | None:
        """The newest report on the slot `main`."""
        reports = self.all(Reported)
        return reports[-1].slots[0] if reports else None

    def await_outcome(self, generation: int, limit_s: float = 30.0) -> SlotReport:
        def settled() -> SlotReport | None:
            slot = self.slot()
            done = slot is not None and slot.outcome is not None and slot.outcome.generation == generation
            return slot if done and slot is not None and slot.phase in ("running", "empty") else None

        return wait_until(settled, f"an outcome of generation {generation}", limit_s)

    def await_event(self, kind: str, limit_s: float = 20.0) -> Event:
        def found() -> Event | None:
            return next((event for event in self.all(Event) if event.kind == kind), None)

        return wait_until(found, f"an event {kind}", limit_s)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        decoded = decode_up(message.topic.rsplit("/", 1)[1], bytes(message.payload))
        with self._lock:
            self.heard.append(decoded)
