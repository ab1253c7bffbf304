"""A broker session without a broker: keeps what is retained, and fails when a test says so."""

import asyncio
from collections.abc import Callable, Iterable

import aiomqtt

from wherry.controller.errors import Unavailable
from wherry.protocol import codec, topics
from wherry.protocol.down import Action, Desired


class Shelf:
    """`retained` by topic, as a broker keeps it; `said` are the topics in the order of publishing."""

    def __init__(self, fleet: str) -> None:
        self.connections = 1
        self.connected = True
        self.received = self.refused = 0
        self.protocol = aiomqtt.ProtocolVersion.V5
        self.retained: dict[str, bytes] = {}
        self.said: list[str] = []
        self.asked: list[str] = []
        """Devices whose reports were asked for."""
        self.before_each: Callable[[str], None] = lambda _topic: None
        self.room: int | None = None
        """How many messages more are taken before the connection breaks."""
        self._fleet = fleet

    def lose_everything(self) -> None:
        """The broker dies with all that it retained, and the session finds another one."""
        self.retained.clear()
        self.said.clear()
        self.connections += 1
        self.room = None

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        await asyncio.sleep(0)
        self.before_each(topic)
        if self.room is not None:
            if self.room == 0:
                raise Unavailable("the connection broke")
            self.room -= 1
        self.said.append(topic)
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)

    async def publish_retained(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for topic, payload in messages:
            await self.publish(topic, payload, retain=True)

    async def publish_desired(self, documents: Iterable[tuple[str, Desired]]) -> None:
        await self.publish_retained(
            (topics.down(self._fleet, device, "desired"), codec.encode(desired)) for device, desired in documents
        )

    async def publish_action(self, device: str, action: Action) -> None:
        await self.publish(topics.down(self._fleet, device, "action"), codec.encode(action), retain=False)

    async def ask_for_reports(self, devices: Iterable[str]) -> None:
        await asyncio.sleep(0)
        self.asked += devices
