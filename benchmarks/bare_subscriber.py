"""A bare subscriber: `python -m benchmarks.bare_subscriber NAME PORT PROTOCOL [DIRECTORY]`.

Waits for the order `KIND TOPIC_FILTER BLOCKS` on the topic `bench/go`, where KIND is the first part of its
name, receives every block under the filter with paho alone, and says how many bytes that were. With
DIRECTORY it also does what cannot be left out of a verified download, in the cheapest way: one hash over
all, one write, one fsync.
"""

import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

GO, DONE, READY = "bench/go", "bench/done/", b"0"


class Receiver:
    def __init__(self, client: mqtt.Client, name: str, directory: Path | None) -> None:
        self._client, self._name, self._directory = client, name, directory
        self._blocks: dict[str, bytes] = {}
        self._expected = 0
        self._filter = ""
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def _on_connect(self, *_: Any) -> None:
        self._client.subscribe(GO, qos=1)

    def _on_subscribe(self, *_: Any) -> None:
        if not self._expected:
            self._client.publish(DONE + self._name, READY, qos=1)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == GO:
            self._begin(message.payload.decode())
        elif self._expected and message.topic.rsplit("/", 1)[1].isdigit():
            self._blocks[message.topic] = bytes(message.payload)
            if len(self._blocks) == self._expected:
                self._finish()

    def _begin(self, order: str) -> None:
        kind, self._filter, blocks = order.split()
        if kind != self._name.split("-")[0]:
            return
        self._expected = int(blocks)
        self._client.subscribe(self._filter, qos=0)

    def _finish(self) -> None:
        if self._directory is not None:
            self._keep(self._directory)
        size_bytes = sum(map(len, self._blocks.values()))
        self._client.publish(DONE + self._name, str(size_bytes).encode(), qos=1)
        self._client.unsubscribe(self._filter)
        self._blocks, self._expected = {}, 0

    def _keep(self, directory: Path) -> None:
        data = b"".join(self._blocks[topic] for topic in sorted(self._blocks, key=_index))
        handle = os.open(directory / hashlib.sha256(data).hexdigest(), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(handle, data)
        os.fsync(handle)
        os.close(handle)


def _index(topic: str) -> int:
    return int(topic.rsplit("/", 1)[1])


def _no_delay(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the agent does


def main(name: str, port: str, protocol: str, directory: str | None = None) -> None:
    version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=version)
    Receiver(client, name, None if directory is None else Path(directory))
    client.on_socket_open = _no_delay
    client.connect("127.0.0.1", int(port))
    client.loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
