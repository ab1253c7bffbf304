"""A broker whose queue for the controller is full drops what devices report: the helm asks for it again.

Devices say each report once. The broker has it, retained, and the controller would wait until the deadline, and then
take a version back from devices that committed it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.broker import running
from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.lookout import looking
from tests.support.soak import scaled
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_process import Address
from wherry.controller.adapters.broker_session import PROTOCOLS, BrokerSession, Heard
from wherry.controller.core.plan import FULL_FLEET
from wherry.controller.helm import Helm
from wherry.controller.intake import Intake
from wherry.controller.ledger import Ledger
from wherry.controller.operations import rollouts
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.up import Reported, Status
from wherry.protocol.up.reported import Outcome, SlotReport

pytestmark = pytest.mark.slow

FLEET = "test"
DEVICES = [f"pi-{number:03}" for number in range(scaled(60, soak=300))]
SMALL_QUEUE = "max_inflight_messages 5\nmax_queued_messages 5\n"
DEADLINE_S = 100.0
LIMIT_S = 60.0


class Strait:
    """Devices that are played, a broker with room for ten messages, and a controller that can be held up."""

    def __init__(self, directory: Path, port: int, ask_after_s: float) -> None:
        self.port = port
        self.depot = Depot(directory / "controller.db")
        self.depot.now_s = time.time()
        store = ArtifactStore(directory / "artifacts")
        for what in ("artifact", "golden"):
            store.put(f"{what} a int8".encode())
        self.depot.keep = store.put  # type: ignore[method-assign]
        self.depot.version("a")
        for device in DEVICES:
            self.depot.device(device)
        self.ledger = Ledger(self.depot.db)
        self.free, self._connected, self._heard = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._mark = 0
        intake = Intake(self.ledger)

        async def handle(batch: list[Heard]) -> None:
            await self.free.wait()
            await intake.take(batch, time.time())
            if any(isinstance(heard.message, Status) and heard.message.session == self._mark for heard in batch):
                self._heard.set()

        self.session = BrokerSession(
            Address(host="127.0.0.1", port=port), FLEET, handle, self._connected.set, protocols=PROTOCOLS
        )
        blocks = BlockPublisher(store, self.session, FLEET, directory / "markers")
        self.helm = Helm(
            self.ledger, self.session, blocks, asyncio.Event(), artifacts_url="", tick_s=60.0, ask_after_s=ask_after_s
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.session.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._connected.wait()
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self.ledger.close()

    async def lose_reports(self) -> int:
        """All devices commit while the controller is busy; it then takes in all that the broker has kept for it.

        Returns how many of them it does not know of.
        """
        plan = make_plan(1, waves=FULL_FLEET, device_deadline_s=DEADLINE_S)
        rollouts.start(self.depot.db, plan, now_s=time.time(), actor="ann")
        await self._say({topics.up(FLEET, device, "reported"): self._committed(device) for device in DEVICES})
        self.free.set()
        await self._await_quiet()
        await self.ledger.run(rollouts.tick, now_s=time.time())
        return len(DEVICES) - self.committed

    def _committed(self, device: str) -> bytes:
        """What a device says at the end of an update."""
        desired = self.depot.desired(device)
        (wanted,) = desired.slots
        order = {"epoch": desired.epoch, "generation": desired.generation}
        outcome = Outcome(ref=wanted.ref, result="committed", phase="probation", **order)
        slot = SlotReport(slot="main", phase="running", serving=wanted.ref, outcome=outcome)
        return encode(Reported(slots=(slot,), **order))

    async def _await_quiet(self) -> None:
        """What comes after what the queue held has been heard."""
        self._heard.clear()
        async with asyncio.timeout(LIMIT_S):
            while not self._heard.is_set():
                self._mark += 1
                mark = encode(Status(presence="online", session=self._mark))
                await self._say({topics.up(FLEET, DEVICES[0], "status"): mark}, retain=False)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._heard.wait(), 1.0)

    async def _say(self, messages: Mapping[str, bytes], *, retain: bool = True) -> None:
        def publish() -> None:
            with looking(self.port) as lookout:
                lookout.publish(messages, retain=retain)

        await asyncio.to_thread(publish)

    async def turn_until_known(self) -> None:
        """Until the controller knows that all have committed."""
        async with asyncio.timeout(LIMIT_S):
            while self.state != "completed":
                await self.helm.turn()

    @property
    def state(self) -> str:
        return rollouts.get_rollout(self.depot.db, 1).state

    @property
    def committed(self) -> int:
        devices = rollouts.get_rollout(self.depot.db, 1).devices
        return sum(entry.standing == "committed" for entry in devices)

    def pass_the_deadline(self) -> None:
        rollouts.tick(self.depot.db, now_s=time.time() + DEADLINE_S)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with running("mosquitto", tmp_path, settings=SMALL_QUEUE) as port:
        yield port


def test_reports_that_a_full_queue_dropped_are_found_again(tmp_path: Path, port: int, tried: Tried) -> None:
    async def voyage() -> int:
        strait = Strait(tmp_path, port, ask_after_s=0.0)
        async with strait.connected():
            lost = await strait.lose_reports()
            await strait.turn_until_known()
            strait.pass_the_deadline()
            assert (strait.state, strait.committed) == ("completed", len(DEVICES))
        return lost

    lost = asyncio.run(voyage())
    assert lost > 0, "the queue was large enough, so nothing was shown"
    tried(f"{lost} of {len(DEVICES)} reports dropped, and found again")


def test_without_asking_a_version_that_all_have_committed_is_taken_back(tmp_path: Path, port: int) -> None:
    """The negative control."""

    async def voyage() -> None:
        strait = Strait(tmp_path, port, ask_after_s=math.inf)
        async with strait.connected():
            assert await strait.lose_reports() > 0
            await strait.helm.turn()
            await strait._await_quiet()
            strait.pass_the_deadline()
            assert strait.state == "reverting"

    asyncio.run(voyage())
