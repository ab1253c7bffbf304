"""The feeder's own session with a broker on the board: samples come from a topic, and results go to one.

Rules upheld here:
- No call waits for the network. What cannot be sent now is dropped, and whoever wanted it is told so.
- A broker that refuses or goes away is tried again after a wait with full jitter, for ever.
- The broker fills no memory: neither with messages that wait for their turn nor with results that it does not take.
- A connection may end while a result is handed to it. What has not left it is its own, and ends with it.
"""

import random
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wherry.agent.core.backoff import delay_s

KEEPALIVE_S = 30
CONNECT_LIMIT_S = 10.0
RETRY_BASE_S = 0.5
RETRY_LIMIT_S = 30.0

MAX_UNSENT = 64
"""Results that were given to a connection and have not left it."""


class _Connection(NamedTuple):
    """`unsent` belongs to the thread that publishes: the session's own replaces the connection, and clears nothing."""

    client: mqtt.Client
    unsent: deque[mqtt.MQTTMessageInfo]


class Session:
    """`address` is `host:port`. `heard` is called in the session's thread with every payload that comes on `topic`.

    `trouble` says what ails the connection, and is empty where nothing does.
    """

    def __init__(self, address: str, topic: str | None, heard: Callable[[bytes], None] | None) -> None:
        host, _, port = address.partition(":")
        self._host, self._port = host, int(port or 1883)
        self._topic, self._heard = topic, heard
        self._connection: _Connection | None = None
        self._stopping = threading.Event()
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Whether it could be handed over."""
        connection = self._connection
        if connection is None:
            return False
        client, unsent = connection
        while unsent and unsent[0].is_published():
            unsent.popleft()
        if len(unsent) >= MAX_UNSENT:
            return False
        info = client.publish(topic, payload)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        unsent.append(info)
        return True

    def close(self) -> None:
        self._stopping.set()
        if (connection := self._connection) is not None:
            connection.client.disconnect()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            reached = threading.Event()
            reason = self._hold(reached)
            failures = 1 if reached.is_set() else failures + 1
            self.trouble = f"broker {self._host}:{self._port}: {reason}"
            self._stopping.wait(delay_s(failures, random.random(), base_s=RETRY_BASE_S, limit_s=RETRY_LIMIT_S))  # noqa: S311  jitter is no secret

    def _hold(self, reached: threading.Event) -> str:
        """Connect, and return when the connection is over, with the reason."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_LIMIT_S
        ended: list[str] = []

        def connected(_client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            if code.is_failure:
                ended.append(str(code))
                client.disconnect()
                return
            if self._topic is not None:
                client.subscribe(self._topic)
            self._connection, self.trouble = _Connection(client, deque()), ""
            reached.set()

        client.on_connect = connected
        client.on_socket_open = _no_delay
        if self._heard is not None:
            client.on_message = self._pass_on
        try:
            client.connect(self._host, self._port, KEEPALIVE_S)
            code = client.loop_forever()
        except (OSError, ValueError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  a broker's packet may make paho raise whatever it likes
            return f"{type(error).__name__}: {error}"
        finally:
            self._connection = None
        return ended[0] if ended else mqtt.error_string(code)

    def _pass_on(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if self._heard is not None:
            self._heard(bytes(message.payload))


def _no_delay(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Without it small packets wait for each other."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
