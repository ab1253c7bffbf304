"""The session with the broker, in a thread of its own; everything it hears goes into the inbox.

Rules upheld here:
- No call waits for the network. What cannot be sent now is dropped here: retained messages and
  spooled events are sent again at the next connection.
- Every connection is a new client with its own will, so nothing of an older one is left in flight.
- Any failure, a refusal too, is tried again after a wait with full jitter.
- A subscription that could not be taken back is taken back at the next connection: the session remembers it.
- A packet is given up that is longer than any of ours, or comes too slowly: a broker cannot fill the memory, nor hold
  a connection that brings nothing.
"""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from wherry.agent.config import BrokerConfig
from wherry.agent.core.backoff import delay_s
from wherry.protocol.limits import MAX_HASHES_BYTES

CONNECT_LIMIT_S = 20.0
"""For the TCP connection and for the answer to CONNECT, over a bad link."""

TRIAL_LIMIT_S = 5.0
"""For the answer to CONNECT while another protocol can be tried: amqtt never answers MQTT 5."""

MAX_PACKET_BYTES = MAX_HASHES_BYTES + 64 * 1024
"""The longest of ours is a list of hashes; MQTT allows 256 MiB."""

MIN_BYTES_PER_S = 512.0
SPEED_WINDOW_S = 30.0
"""Of a packet that has begun: what brings less in this time is given up. One that brings nothing ends by keepalive."""

OWED_AT_ONCE = 64
"""Topics of one UNSUBSCRIBE: brokers limit the length of a packet."""

STABLE_S = 10.0
"""A connection that held this long was a good one: the next failure is counted from one."""


class Connected(msgspec.Struct, frozen=True):
    """`session` is the number that the will of this connection carries."""

    session: int
    protocol: str


class Disconnected(msgspec.Struct, frozen=True):
    """`retry_s` until the next try."""

    reason: str
    retry_s: float


class Arrived(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes


class Taken(msgspec.Struct, frozen=True):
    """The broker has acknowledged the message that `publish` gave this token for."""

    token: tuple[int, int]


BrokerEvent = Connected | Disconnected | Arrived | Taken


class Will(msgspec.Struct, frozen=True):
    """What the broker says for us when we are lost; `payload` is of a session's number."""

    topic: str
    payload: Callable[[int], bytes]


class Broker:
    """Use `start`, then publish and subscribe from any thread; `stop` leaves in good order."""

    def __init__(
        self,
        config: BrokerConfig,
        client_id: str,
        will: Will,
        first_session: int,
        on_event: Callable[[BrokerEvent], None],
    ) -> None:
        self._config, self._client_id, self._will, self._on_event = config, client_id, will, on_event
        self._session = first_session - 1
        self._protocols = ["5", "3.1.1"] if config.protocol == "auto" else [config.protocol]
        self._client: mqtt.Client | None = None
        self._owed: set[str] = set()
        self._owing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, expiry_s: int | None = None
    ) -> tuple[int, int] | None:
        """Hand a message over; the token that `Taken` will carry, None where nothing is connected."""
        client = self._client
        if client is None:
            return None
        properties = None
        if expiry_s is not None and client.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
            properties.MessageExpiryInterval = expiry_s
        info = client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        return (self._session, info.mid) if info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def subscribe(self, topics: Iterable[str], *, qos: int = 0) -> None:
        """Subscribe; retained messages come again also for a topic that was subscribed before."""
        client, wanted = self._client, [(topic, qos) for topic in topics]
        with self._owing:
            self._owed.difference_update(topic for topic, _ in wanted)
        if client is not None and wanted:
            client.subscribe(wanted)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """Take subscriptions back: now, or at the next connection."""
        client, gone = self._client, list(topics)
        if (
            client is None
            or not client.is_connected()
            or (gone and client.unsubscribe(gone)[0] != mqtt.MQTT_ERR_SUCCESS)
        ):
            with self._owing:
                self._owed.update(gone)

    def _settle(self, client: mqtt.Client) -> None:
        """Take back what could not be taken back before, in packets of a bounded length."""
        with self._owing:
            owed, self._owed = sorted(self._owed), set()
        for start in range(0, len(owed), OWED_AT_ONCE):
            client.unsubscribe(owed[start : start + OWED_AT_ONCE])

    def stop(self, limit_s: float = 2.0) -> None:
        """Send what was handed over, disconnect without a will, end the thread; waits at most `limit_s`."""
        self._stopping.set()
        client = self._client
        if client is not None:
            client.disconnect()
        self._thread.join(limit_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._session += 1
            link = _Link(self._session, self._protocols[0], self._on_event, self._settle)
            try:
                reason = self._hold(link)
            except Exception as error:  # noqa: BLE001  no thread, descriptor or memory; without this one nobody would try
                reason = f"{type(error).__name__}: {error}"
            failures = 1 if link.held_s() >= STABLE_S else failures + 1
            wait_s = delay_s(failures, random.random(), base_s=1.0, limit_s=self._config.reconnect_limit_s)  # noqa: S311  jitter is no secret
            if link.unheard and len(self._protocols) > 1:
                self._protocols.reverse()
                wait_s = min(wait_s, 0.2) if failures == 1 else wait_s
            if not self._stopping.is_set():
                self._on_event(Disconnected(reason, wait_s))
                self._stopping.wait(wait_s)

    def _hold(self, link: "_Link") -> str:
        """Connect, and return when the connection is over, with the reason."""
        client = link.client(self._client_id, self._config, self._will)
        try:
            client.connect(self._config.host, self._config.port, self._config.keepalive_s, **link.options(self._config))
        except (OSError, ValueError) as error:
            return f"{self._config.host}:{self._config.port}: {error}"
        self._client = client
        try:
            client.loop_start()
            link.reached()
            limit_s = TRIAL_LIMIT_S if len(self._protocols) > 1 else CONNECT_LIMIT_S
            if self._stopping.is_set() or not link.answered.wait(limit_s):
                client.disconnect()
            link.over.wait()
        finally:
            self._client = None
        client.loop_stop()
        return link.reason


class _Link:
    """One connection. `unheard`: a broker took the connection and did not speak this protocol."""

    def __init__(
        self,
        session: int,
        protocol: str,
        on_event: Callable[[BrokerEvent], None],
        settle: Callable[[mqtt.Client], None],
    ) -> None:
        self._session, self._protocol, self._on_event, self._settle = session, protocol, on_event, settle
        self._since_s: float | None = None
        self._is_reached = False
        self._is_refused = False
        self.answered = threading.Event()
        self.over = threading.Event()
        self.reason = f"the broker did not accept the connection over MQTT {protocol}"

    @property
    def unheard(self) -> bool:
        return self._is_reached and self._since_s is None and not self._is_refused

    def held_s(self) -> float:
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s

    def reached(self) -> None:
        self._is_reached = True

    def options(self, config: BrokerConfig) -> dict[str, Any]:
        """What MQTT 5 wants said at CONNECT to keep the session."""
        if self._protocol != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        properties.SessionExpiryInterval = config.session_expiry_s
        return {"clean_start": False, "properties": properties}

    def client(self, client_id: str, config: BrokerConfig, will: Will) -> mqtt.Client:
        version = MQTTProtocolVersion.MQTTv5 if self._protocol == "5" else MQTTProtocolVersion.MQTTv311
        client = _WaryClient(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._protocol == "5" else False,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.connect_timeout = min(CONNECT_LIMIT_S, float(config.keepalive_s))
        client.will_set(will.topic, will.payload(self._session), qos=1, retain=True)
        client.on_socket_open = _no_delay
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        client.on_publish = self._taken
        client.on_broken = self._broken
        return client

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self.reason = f"the broker refused the connection: {code}"
            self._is_refused = "protocol version" not in str(code).lower()
            return
        self._since_s = time.monotonic()
        self.answered.set()
        self._settle(client)
        self._on_event(Connected(self._session, self._protocol))

    def _disconnected(self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if self._since_s is not None and code.value:
            self.reason = f"the connection ended: {code}"
        self.answered.set()
        self.over.set()

    def _broken(self, error: Exception) -> None:
        self.reason = f"the broker sent what cannot be read: {type(error).__name__}: {error}"
        self.answered.set()
        self.over.set()

    def _arrived(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._on_event(Arrived(message.topic, bytes(message.payload)))

    def _taken(self, _client: mqtt.Client, _data: Any, mid: int, _code: Any, _properties: Any) -> None:
        self._on_event(Taken((self._session, mid)))


class _WaryClient(mqtt.Client):
    """Ends a connection whose broker sends what no packet of ours is. paho itself takes 256 MiB, at any speed.

    paho reads the rest of a packet by asking for exactly what is missing of it, which is all that is relied on here.
    """

    on_broken: Callable[[Exception], None]
    _missing_bytes = 0
    _window_began_s = 0.0
    _window_bytes = 0

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # noqa: FBT001, FBT002  paho's
        """In paho's thread, which would end without a word where a packet makes paho raise."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:  # noqa: BLE001  struct.error, UnicodeDecodeError, KeyError … whatever a packet causes
            if (connection := self.socket()) is not None:
                connection.close()
            self.on_broken(error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:
            raise ConnectionAbortedError(f"a packet of {bufsize} bytes, the limit is {MAX_PACKET_BYTES}")
        data = super()._sock_recv(bufsize)
        self._weigh(bufsize, len(data))
        return data

    def _weigh(self, asked_bytes: int, got_bytes: int) -> None:
        """Note what came of a packet; raises where that was too little for its time."""
        now_s = time.monotonic()
        if asked_bytes != self._missing_bytes:
            self._window_began_s, self._window_bytes = now_s, 0  # another packet
        self._missing_bytes = asked_bytes - got_bytes
        self._window_bytes += got_bytes
        if now_s - self._window_began_s > SPEED_WINDOW_S:
            if self._window_bytes < MIN_BYTES_PER_S * SPEED_WINDOW_S:
                raise ConnectionAbortedError(f"{self._window_bytes} bytes of a packet in {SPEED_WINDOW_S:g} s")
            self._window_began_s, self._window_bytes = now_s, 0


def _no_delay(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Without it, the broker's and our own small packets wait for each other: 55 messages a second."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
