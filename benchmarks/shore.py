"""The controller's side of the broker for many devices: publishes, and notes what it hears and when."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.form import Failed
from tests.support.cargo_hold import Version, desire
from wherry.protocol import topics
from wherry.protocol.codec import decode_up, encode
from wherry.protocol.types import Message

FLEET = "bench"
DONE = "bench/done/"
"""Below it bare subscribers say that they have all; their payload is the bytes that they counted."""

GO = "bench/go"
HOST = "127.0.0.1"

LOOK_S = 0.5
"""A condition may look at processes, too, which say nothing when they end."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Heard:
    """`at_s` on the clock of `time.perf_counter`; `sender` is a device or a bare subscriber."""

    at_s: float
    sender: str
    message: Message | bytes


class Shore:
    def __init__(self, port: int) -> None:
        self._heard: list[Heard] = []
        self._news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "shore", protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe([(topics.all_up(FLEET), 1), (f"{DONE}+", 1)])
        self._client.on_message = self._on_message
        self._client.max_inflight_messages_set(200)
        self._client.connect(HOST, port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, version: Version) -> None:
        """All blocks and lists of hashes, retained; on the broker when the call returns."""
        self._send(version.messages(FLEET), retain=True)

    def clear(self, version: Version) -> None:
        """Take the blocks off the broker."""
        self._send(dict.fromkeys(version.messages(FLEET), b""), retain=True)

    def want(self, generation: int, version: Version, devices: Iterable[str]) -> float:
        """Publish the desired document of each device; the time just before the first."""
        payload = encode(desire(generation, version))
        started_s = time.perf_counter()
        self._send({topics.down(FLEET, device, "desired"): payload for device in devices}, retain=True)
        return started_s

    def go(self, order: bytes) -> float:
        """Tell the bare subscribers to begin; the time just before."""
        started_s = time.perf_counter()
        self._send({GO: order}, retain=False)
        return started_s

    def heard(self, kind: type[M], since_s: float = 0.0) -> list[tuple[float, str, M]]:
        """When, from whom and what, in the order of arrival."""
        with self._news:
            return [
                (entry.at_s, entry.sender, entry.message)
                for entry in self._heard
                if isinstance(entry.message, kind) and entry.at_s >= since_s
            ]

    def done(self, since_s: float) -> dict[str, tuple[float, int]]:
        """When each bare subscriber had all, and how many bytes."""
        with self._news:
            return {
                entry.sender: (entry.at_s, int(entry.message))
                for entry in self._heard
                if isinstance(entry.message, bytes) and entry.at_s >= since_s
            }

    def wait_for(self, condition: Callable[[], T], what: str, limit_s: float) -> T:
        """The first truthy value of `condition`, looked at after every message, and every `LOOK_S`. Raises Failed."""
        deadline_s = time.monotonic() + limit_s
        with self._news:
            while not (value := condition()):
                if not self._news.wait(LOOK_S) and time.monotonic() > deadline_s:
                    raise Failed(f"not within {limit_s:g} s: {what}")
            return value

    def _send(self, messages: dict[str, bytes], *, retain: bool) -> None:
        sent = [self._client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages.items()]
        for info in sent:
            info.wait_for_publish(30)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        at_s, payload = time.perf_counter(), bytes(message.payload)
        if message.topic.startswith(DONE):
            heard = Heard(at_s, message.topic.removeprefix(DONE), payload)
        else:
            *_, sender, _, kind = message.topic.split("/")
            heard = Heard(at_s, sender, decode_up(kind, payload))
        with self._news:
            self._heard.append(heard)
            self._news.notify_all()
