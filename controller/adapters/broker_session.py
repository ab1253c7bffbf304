"""The controller's session with the broker: takes in what devices say, publishes what is wanted.

Rules upheld here:
- A message is acknowledged only after it was handled, so a killed controller gets it again.
- A message that cannot be decoded is logged, counted and acknowledged; it never ends the session.
- Who speaks is told by the topic, never by the payload.
- What waits for the broker's answer ends with the connection: the answer will never come.
- MQTT 5 first, then 3.1.1 where the broker refuses it; nothing relies on what only MQTT 5 has.
"""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

import aiomqtt
import structlog
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wherry.controller.adapters.broker_process import Address
from wherry.controller.errors import Unavailable
from wherry.protocol import codec, topics
from wherry.protocol.down import Action, Desired, Receipt
from wherry.protocol.errors import ProtocolError
from wherry.protocol.types import Struct
from wherry.protocol.up import UpMessage

MAX_BATCH = 100
MAX_INFLIGHT = 64
SESSION_EXPIRY_S = 14 * 24 * 3600
KEEPALIVE_S = 30
TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 3.0
"""Some brokers of 3.1.1 neither answer nor refuse a client of 5."""

MAX_EXPIRY_S = 2**32 - 1
"""What the property of MQTT 5 holds: longer than anybody waits."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

OLD_PROTOCOL = (aiomqtt.ProtocolVersion.V311,)
PROTOCOLS = (aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311)

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Heard(Struct, frozen=True, kw_only=True):
    """A message of a device, as the broker handed it over."""

    device: str
    message: UpMessage


Handle = Callable[[list[Heard]], Awaitable[None]]
OnConnect = Callable[[], None]


class AckingClient(aiomqtt.Client):
    """aiomqtt acknowledges on arrival; this one when told. And it lets go of a connection that came to nothing."""

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            self._connected = asyncio.Future()  # cancelled with us, and asked while the socket is closed
            self._client.disconnect()
            raise

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; MqttError as soon as the connection is gone, since no answer will come then."""
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._disconnected}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise aiomqtt.MqttError("the connection is gone")
            return task.result()
        finally:
            task.cancel()

    def hold_acknowledgements(self) -> None:
        self.pending_calls_threshold = MAX_INFLIGHT
        self._client.manual_ack_set(on=True)

    def acknowledge(self, message: aiomqtt.Message) -> None:
        if message.qos:
            self._client.ack(message.mid, message.qos)


class BrokerSession:
    """One persistent session, kept up by `run`. `handle` gets messages in order, in batches.

    `handle` must not raise for a single bad message. `on_connect` is called at each connection,
    when the subscription stands.
    """

    def __init__(
        self,
        address: Address,
        fleet: str,
        handle: Handle,
        on_connect: OnConnect,
        *,
        protocols: tuple[aiomqtt.ProtocolVersion, ...] = PROTOCOLS,
    ) -> None:
        self.received = 0
        self.refused = 0
        self.connections = 0
        self.protocol = protocols[0]
        self._protocols = protocols
        self._address = address
        self._fleet = fleet
        self._handle = handle
        self._on_connect = on_connect
        self._client: AckingClient | None = None

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            before = self.connections
            try:
                await self._session()
            except aiomqtt.MqttError as error:
                _log.warning("not connected to the broker", error=str(error), protocol=self.protocol.name)
                if self.connections == before:
                    self._try_other_protocol(error)
            pause_s = FIRST_PAUSE_S if self.connections > before else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter

    def _try_other_protocol(self, error: aiomqtt.MqttError) -> None:
        """Take the next one, unless nobody was there to refuse this one."""
        if not isinstance(error.__context__, ConnectionError | socket.gaierror):
            self.protocol = self._protocols[(self._protocols.index(self.protocol) + 1) % len(self._protocols)]

    async def _session(self) -> None:
        async with self._make_client() as client:
            client.timeout = TIMEOUT_S
            self._client = client
            self.connections += 1
            try:
                await client.unless_gone(client.subscribe(topics.all_up(self._fleet), qos=1))
                self._on_connect()
                await self._receive(client)
            finally:
                self._client = None

    def _make_client(self) -> AckingClient:
        modern = self.protocol == aiomqtt.ProtocolVersion.V5
        name = f"wherry-controller-{self._fleet}"
        client = AckingClient(
            self._address.host,
            self._address.port,
            identifier=name,
            username=name,
            protocol=self.protocol,
            clean_session=None if modern else False,
            clean_start=False if modern else MQTT_CLEAN_START_FIRST_ONLY,
            properties=connect_properties() if modern else None,
            keepalive=KEEPALIVE_S,
            timeout=CONNECT_TIMEOUT_S,
            max_inflight_messages=MAX_INFLIGHT,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        client.hold_acknowledgements()
        return client

    async def _receive(self, client: AckingClient) -> None:
        async for first in client.messages:
            batch = [first]
            while len(client.messages) and len(batch) < MAX_BATCH:
                batch.append(await anext(client.messages))
            heard = [item for message in batch if (item := self._decode(message)) is not None]
            if heard:
                await self._handle(heard)
            for message in batch:
                client.acknowledge(message)

    def _decode(self, message: aiomqtt.Message) -> Heard | None:
        self.received += 1
        try:
            topic = topics.parse(message.topic.value)
            if not isinstance(topic, topics.DeviceTopic) or (topic.fleet, topic.direction) != (self._fleet, "up"):
                return None  # amqtt sends what others have subscribed to
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if not payload:
                return None  # a retained message was cleared
            decoded = codec.decode_up(topic.kind, payload)
        except ProtocolError as error:
            self.refused += 1
            _log.warning("a message was refused", topic=message.topic.value, error=str(error)[:300])
            return None
        return Heard(device=topic.device, message=decoded)

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int = 1, expiry_s: float | None = None
    ) -> None:
        """Return when the broker has taken it. Raises Unavailable while there is no connection."""
        client = self._client
        if client is None:
            raise Unavailable("not connected to the broker")
        properties = None
        if expiry_s is not None and self.protocol == aiomqtt.ProtocolVersion.V5:
            properties = publish_properties(expiry_s)
        try:
            await client.unless_gone(client.publish(topic, payload, qos=qos, retain=retain, properties=properties))
        except aiomqtt.MqttError as error:
            raise Unavailable(f"the broker did not take {topic}: {error}") from error

    async def publish_retained(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish many, several at a time. Raises Unavailable as soon as one fails."""
        pending: set[asyncio.Task[None]] = set()
        try:
            for topic, payload in messages:
                pending.add(asyncio.create_task(self.publish(topic, payload, retain=True)))
                if len(pending) >= MAX_INFLIGHT:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    raise_first(done)
            if pending:
                done, pending = await asyncio.wait(pending)
                raise_first(done)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def publish_desired(self, documents: Iterable[tuple[str, Desired]]) -> None:
        """Publish the documents of devices, several at a time. Raises Unavailable as soon as one fails."""
        await self.publish_retained(
            (topics.down(self._fleet, device, "desired"), codec.encode(desired)) for device, desired in documents
        )

    async def ask_for_reports(self, devices: Iterable[str]) -> None:
        """Have the broker send again what it retains of these devices' reports. Raises Unavailable.

        A broker drops what does not fit into a session's queue, and a device says each report once. Subscribing is what
        makes a broker send retained messages; by device and not for all, or the answer would not fit into the queue
        either. `all_up` stays subscribed; what is said between the two requests may come twice.
        """
        names = [topics.up(self._fleet, device, "reported") for device in devices]
        client = self._client
        if client is None:
            raise Unavailable("not connected to the broker")
        try:
            await client.unless_gone(client.subscribe([(name, 1) for name in names]))
            await client.unless_gone(client.unsubscribe(names))
        except aiomqtt.MqttError as error:
            raise Unavailable(f"the broker was not asked for reports: {error}") from error

    async def publish_receipt(self, device: str, receipt: Receipt) -> None:
        """At most once: what is lost is asked for by the device's sending the events again."""
        await self.publish(topics.down(self._fleet, device, "receipt"), codec.encode(receipt), retain=False, qos=0)

    async def publish_action(self, device: str, action: Action) -> None:
        expiry_s = max(action.not_after_s - time.time(), 1.0)
        topic = topics.down(self._fleet, device, "action")
        await self.publish(topic, codec.encode(action), retain=False, expiry_s=expiry_s)


def raise_first(done: Iterable[asyncio.Task[None]]) -> None:
    """Look at the errors of all, and raise one of them."""
    errors = [error for task in done if (error := task.exception()) is not None]
    if errors:
        raise errors[0]


def connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return properties


def publish_properties(expiry_s: float) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = int(min(expiry_s, MAX_EXPIRY_S))
    return properties
