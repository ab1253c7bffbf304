"""The controller's session with brokers, real ones and rude ones."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from tests.support.broker import running
from tests.support.cargo_hold import FLEET
from tests.support.lookout import looking
from tests.support.rude_broker import hanging_up
from wherry.controller.adapters.broker_process import Address
from wherry.controller.adapters.broker_session import OLD_PROTOCOL, PROTOCOLS, BrokerSession, Heard
from wherry.controller.errors import Unavailable
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.down import Action
from wherry.protocol.up import Reported, Status

pytestmark = pytest.mark.slow

STATUS = topics.up(FLEET, "boat-1", "status")
PROMPT_S = 5.0
"""Far less than what a publish may take on a slow link."""


class Desk:
    """Takes what is heard; `jammed` until told otherwise, it never finishes with it."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.jammed = False
        self.changed = asyncio.Event()

    async def handle(self, batch: list[Heard]) -> None:
        self.heard += batch
        self.changed.set()
        if self.jammed:
            await asyncio.Event().wait()

    async def await_numbers(self, *numbers: int) -> None:
        """Until messages of these sessions of a device were heard."""
        async with asyncio.timeout(20):
            while not set(numbers) <= set(self.numbers):
                self.changed.clear()
                await self.changed.wait()

    async def await_reports(self, *generations: int) -> None:
        """Until reports of these generations were heard, in this order."""
        async with asyncio.timeout(20):
            while self.reports != list(generations):
                self.changed.clear()
                await self.changed.wait()

    @property
    def reports(self) -> list[int]:
        return [entry.message.generation for entry in self.heard if isinstance(entry.message, Reported)]

    @staticmethod
    def _number(entry: Heard) -> int:
        assert isinstance(entry.message, Status)
        return entry.message.session

    @property
    def numbers(self) -> list[int]:
        return [self._number(entry) for entry in self.heard if not isinstance(entry.message, Reported)]


@asynccontextmanager
async def _open(
    port: int, desk: Desk, protocols: tuple[aiomqtt.ProtocolVersion, ...] = PROTOCOLS
) -> AsyncIterator[BrokerSession]:
    """A session once it is connected."""
    connected = asyncio.Event()
    session = BrokerSession(
        Address(host="127.0.0.1", port=port), FLEET, desk.handle, connected.set, protocols=protocols
    )
    task = asyncio.create_task(session.run())
    try:
        async with asyncio.timeout(20):
            await connected.wait()
        yield session
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("protocol", ["V5", "V311"])
def test_what_was_not_handled_when_the_session_ended_is_heard_again_and_what_was_is_not(
    tmp_path: Path, protocol: str
) -> None:
    """1 is handled, 2 is heard and not handled, 3 is said while nobody listens."""
    protocols = (aiomqtt.ProtocolVersion[protocol],)

    async def twice(port: int) -> list[int]:
        first, second = Desk(), Desk()
        async with _open(port, first, protocols):
            await _say(port, 1)
            await first.await_numbers(1)
            first.jammed = True
            await _say(port, 2)
            await first.await_numbers(2)
        await _say(port, 3)
        async with _open(port, second, protocols):
            await second.await_numbers(2, 3)
        return second.numbers

    with running("mosquitto", tmp_path) as port:
        assert sorted(asyncio.run(twice(port))) == [2, 3]


async def _say(port: int, number: int) -> None:
    message = {STATUS: encode(Status(presence="online", session=number))}

    def publish() -> None:
        with looking(port) as lookout:
            lookout.publish(message, retain=False)

    await asyncio.to_thread(publish)


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    async def connect(port: int) -> str:
        async with _open(port, Desk()) as session:
            return session.protocol.name

    with running("amqtt", tmp_path) as port:
        assert asyncio.run(connect(port)) == "V311"


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_retained_report_comes_again_when_it_is_asked_for_and_later_ones_once(tmp_path: Path, kind: str) -> None:
    async def ask(port: int) -> list[int]:
        desk = Desk()
        await _report(port, 1)
        async with _open(port, desk) as session:
            await desk.await_reports(1)
            await session.ask_for_reports(["boat-1", "boat-9"])
            await desk.await_reports(1, 1)
            await _report(port, 2)
            await _say(port, 3)
            await desk.await_numbers(3)
        return desk.reports

    with running(kind, tmp_path) as port:
        assert asyncio.run(ask(port)) == [1, 1, 2]


async def _report(port: int, generation: int) -> None:
    topic = topics.up(FLEET, "boat-1", "reported")

    def publish() -> None:
        with looking(port) as lookout:
            lookout.publish({topic: encode(Reported(epoch=1, generation=generation, slots=()))}, retain=True)

    await asyncio.to_thread(publish)


@pytest.mark.parametrize("valid_s", [-5.0, 300.0, 1e12, 1e300])
def test_an_order_may_be_valid_for_however_long(tmp_path: Path, valid_s: float) -> None:
    order = Action(id="1", kind="collect-logs", not_after_s=time.time() + valid_s)

    async def send(port: int) -> None:
        async with _open(port, Desk()) as session:
            await session.publish_action("boat-1", order)

    with running("mosquitto", tmp_path) as port:
        asyncio.run(send(port))


@pytest.mark.parametrize("count", [1, 3, 300])
def test_a_connection_that_breaks_ends_what_waits_for_it_at_once(count: int) -> None:
    async def publish() -> list[dict[str, object]]:
        forgotten: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: forgotten.append(context))
        async with hanging_up(min(count, 40)) as port, _open(port, Desk(), OLD_PROTOCOL) as session:
            messages = [(topics.block(FLEET, "0" * 64, index), b"x" * 1000) for index in range(count)]
            with pytest.raises(Unavailable):
                async with asyncio.timeout(PROMPT_S):
                    await session.publish_retained(messages)
        gc.collect()
        return forgotten

    assert asyncio.run(publish()) == []


def test_a_publish_that_is_cancelled_is_not_taken_for_a_broken_connection() -> None:
    async def publish() -> None:
        async with hanging_up(5) as port, _open(port, Desk(), OLD_PROTOCOL) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await session.publish("x", b"x", retain=False)
            assert session.connected

    asyncio.run(publish())


def test_without_a_connection_nothing_is_published() -> None:
    async def publish() -> None:
        session = BrokerSession(Address(host="127.0.0.1", port=1), FLEET, Desk().handle, lambda: None)
        with pytest.raises(Unavailable, match="not connected to the broker"):
            await session.publish("x", b"x", retain=False)

    asyncio.run(publish())
