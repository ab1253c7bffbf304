"""Many devices played over one connection: `python -m benchmarks.controller_devices PORT FIRST COUNT`.

They have no worker, no store and no patience: whatever document one of them gets, it commits the version at once and
says what a real agent would say last, two reports and two events. Those of the fleet `bare` are asked by nobody
but the benchmark. An order on the topic `bench/go` makes all of them say telemetry, so many windows each.
"""

import socket
import sys
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.controller_values import LITERT, make_birth
from tests.support.depot import SYSTEM
from wherry.protocol import topics
from wherry.protocol.codec import decode_down, encode
from wherry.protocol.down import Desired
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import Message, VersionRef
from wherry.protocol.up import Event, Reported, Status, Telemetry
from wherry.protocol.up.reported import Outcome, SlotReport

GO, READY = "bench/go", "bench/ready"
BARE, REAL = "bare", "test"
SAID_OF_ONE = 4
"""Messages that a device answers a document with."""

LATENCY = LatencySketch(first_key=0, counts=tuple(2 + i % 7 for i in range(60)))
PREDICTIONS = dict.fromkeys(range(10), 25)
CONFIDENCE = (0, 0, 0, 0, 5, 10, 20, 40, 75, 100)


class Order(msgspec.Struct, frozen=True):
    """Say windows `first` to `first + windows` in the fleet, or be known to it where there are none."""

    fleet: str
    ref: VersionRef | None = None
    first: int = 0
    windows: int = 0


def window(ref: VersionRef, number: int) -> Telemetry:
    """One of ten seconds, of a size that real ones have."""
    return Telemetry(
        boot_id="b1", window=number, window_s=10.0, slot="main", ref=ref, phase="running", inferences=250, errors=0,
        latency=LATENCY, predictions=PREDICTIONS, confidence=CONFIDENCE, worker_cpu_share=0.25, system=SYSTEM,
    )  # fmt: skip


def answers(desired: Desired) -> Iterator[tuple[Literal["reported", "event"], Message]]:
    """What a device says once it has a document, in the order of a real agent."""
    (wanted,) = desired.slots
    order = {"epoch": desired.epoch, "generation": desired.generation}
    trying = SlotReport(slot="main", phase="probation", candidate=wanted.ref)
    outcome = Outcome(ref=wanted.ref, result="committed", phase="probation", **order)
    done = SlotReport(slot="main", phase="running", serving=wanted.ref, outcome=outcome)
    told = {"boot_id": "b1", "at_s": 1.7e9, "slot": "main", "ref": wanted.ref}
    number = 2 * desired.generation
    yield "reported", Reported(slots=(trying,), **order)
    yield "event", Event(seq=number, kind="transition", from_phase="switch", to_phase="probation", **told)
    yield "event", Event(seq=number + 1, kind="committed", **told)
    yield "reported", Reported(slots=(done,), **order)


class Devices:
    def __init__(self, port: int, first: int, count: int) -> None:
        self._names = [f"device-{number:05}" for number in range(first, first + count)]
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"devices-{first}", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.max_inflight_messages_set(100)
        self._client.on_socket_open = _no_delay
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._client.publish(READY, b"", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)

    def run(self) -> None:
        self._client.loop_forever()

    def _connected(self, *_: Any) -> None:
        filters = [f"{topics.ROOT}/{fleet}/d/+/down/desired" for fleet in (BARE, REAL)]
        self._client.subscribe([(name, 1) for name in [*filters, GO]])

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == GO:
            self._obey(msgspec.json.decode(message.payload, type=Order))
        elif message.payload:
            self._answer(message)

    def _answer(self, message: mqtt.MQTTMessage) -> None:
        topic, desired = topics.parse(message.topic), decode_down("desired", message.payload)
        assert isinstance(topic, topics.DeviceTopic)
        assert isinstance(desired, Desired)
        if topic.device not in self._names or not desired.slots:
            return
        for kind, answer in answers(desired):
            self._say(topic.fleet, topic.device, kind, answer, retain=kind == "reported")

    def _obey(self, order: Order) -> None:
        for device in self._names if order.ref is None else ():
            self._say(order.fleet, device, "status", Status(presence="online", session=1), retain=True)
            self._say(order.fleet, device, "birth", make_birth(LITERT), retain=True)
            empty = Reported(epoch=0, generation=0, slots=(SlotReport(slot="main", phase="empty"),))
            self._say(order.fleet, device, "reported", empty, retain=True)
        for number in range(order.first, order.first + order.windows):
            for device in self._names if order.ref is not None else ():
                self._say(order.fleet, device, "telemetry", window(order.ref, number))

    def _say(self, fleet: str, device: str, kind: topics.Up, message: Message, *, retain: bool = False) -> None:
        self._client.publish(topics.up(fleet, device, kind), encode(message), qos=1, retain=retain)


def _no_delay(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    Devices(*map(int, sys.argv[1:])).run()
