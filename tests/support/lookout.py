"""Looks at a broker, and meddles with it, as somebody who is neither controller nor device."""

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.wait import wait_until

LIMIT_S = 20.0


class Lookout:
    """A client of MQTT 3.1.1 with a clean session."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        self._said: set[str] = set()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"lookout-{secrets.token_hex(4)}", protocol=mqtt.MQTTProtocolVersion.MQTTv311
        )
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(self._client.is_connected, "the lookout is connected")

    def publish(self, messages: Mapping[str, bytes], *, retain: bool, qos: int = 1) -> None:
        """Return when the broker has taken them all."""
        for topic, payload in messages.items():
            self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(LIMIT_S)

    def retained(self, topic_filter: str) -> dict[str, bytes]:
        """Everything that the broker retained there as we subscribed: what arrives before a message of our own does.

        What is said meanwhile is no part of it, and hides nothing of it: a copy for subscribers is never marked as
        retained, even where the broker retains the message.
        """
        mark = f"lookout/{secrets.token_hex(8)}"
        with self._lock:
            self._retained.clear()
            self._said.clear()
        self._client.subscribe([(topic_filter, 1), (mark, 1)])
        wait_until(lambda: self._seen(mark), "the lookout hears its own mark", LIMIT_S)
        self._client.unsubscribe([topic_filter, mark])
        with self._lock:
            return dict(self._retained)

    def _seen(self, mark: str) -> bool:
        self.publish({mark: b"here"}, retain=False)
        with self._lock:
            return mark in self._said

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            if message.retain:
                self._retained[message.topic] = bytes(message.payload)
            else:
                self._said.add(message.topic)


@contextmanager
def looking(port: int) -> Iterator[Lookout]:
    lookout = Lookout(port)
    try:
        yield lookout
    finally:
        lookout.close()
