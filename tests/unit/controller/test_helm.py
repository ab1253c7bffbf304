"""The helm: the broker follows the database, in the right order, whatever devices say and brokers lose."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.shelf import Shelf
from wherry.controller import helm as helm_module
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_session import Heard
from wherry.controller.core.plan import FULL_FLEET
from wherry.controller.helm import Helm
from wherry.controller.ledger import Ledger
from wherry.controller.operations import ingest, rollouts
from wherry.controller.store.database import Database
from wherry.protocol import topics
from wherry.protocol.codec import decode_down
from wherry.protocol.down.desired import Desired
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Event, Reported
from wherry.protocol.up.reported import SlotReport

FLEET = "test"
URL = "http://here/artifacts"


class Bridge:
    """Two boards, one version whose blobs are stored, and the helm with a broker that can lose everything."""

    def __init__(self, directory: Path) -> None:
        self.depot = Depot(directory / "controller.db")
        self.depot.now_s = time.time()  # the helm has a clock of its own
        self.ledger = Ledger(self.depot.db)
        self.store = ArtifactStore(directory / "artifacts")
        for what in ("artifact", "golden"):
            self.store.put(f"{what} a int8".encode())
        self.depot.keep = self.store.put  # type: ignore[method-assign]  # manifests too
        self.depot.version("a")
        for device in ("pi-1", "pi-2"):
            self.depot.device(device)
        self.shelf = Shelf(FLEET)
        self.blocks = BlockPublisher(self.store, self.shelf, FLEET, directory / "published")  # type: ignore[arg-type]

    def helm(self, republish_after_s: float = 30.0, ask_after_s: float = 10.0) -> Helm:
        return Helm(
            self.ledger,
            self.shelf,  # type: ignore[arg-type]
            self.blocks,
            asyncio.Event(),
            artifacts_url=URL,
            tick_s=60.0,
            republish_after_s=republish_after_s,
            ask_after_s=ask_after_s,
        )

    def start(self) -> None:
        plan = make_plan(1, waves=FULL_FLEET)
        rollouts.start(self.depot.db, plan, now_s=self.depot.now_s, actor="ann")

    def desired(self, device: str) -> Desired | None:
        payload = self.shelf.retained.get(topics.down(FLEET, device, "desired"))
        found = decode_down("desired", payload) if payload else None
        assert found is None or isinstance(found, Desired)
        return found


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path)
    yield bridge
    bridge.ledger.close()


def _turn(helm: Helm, *more: Callable[[], Awaitable[None] | None]) -> None:
    async def turns() -> None:
        await helm.turn()
        for step in more:
            step()
            await helm.turn()

    asyncio.run(turns())


def _damaged(digest: str, block: int | None, **more: object) -> Heard:
    event = Event(boot_id="b", seq=1, at_s=1.0, kind="block-damaged", digest=digest, block=block, **more)
    return Heard(device="pi-1", message=event)


def test_blocks_go_out_before_the_documents_that_name_them(bridge: Bridge) -> None:
    bridge.start()
    _turn(bridge.helm())
    kinds = [topic.split("/")[3] for topic in bridge.shelf.said]
    assert kinds == ["b"] * 3 + ["d"] * 2
    found = bridge.desired("pi-1")
    assert found is not None
    assert (found.artifacts_url, [str(slot.ref) for slot in found.slots]) == (URL, ["digits:1"])


def test_nothing_is_said_twice_without_need(bridge: Bridge) -> None:
    bridge.start()
    _turn(bridge.helm(), lambda: None)
    assert len(bridge.shelf.said) == 5


def test_a_document_that_a_device_does_not_take_is_said_again_until_it_does(bridge: Bridge) -> None:
    bridge.start()
    _turn(bridge.helm(republish_after_s=0.0), bridge.shelf.retained.clear)
    assert bridge.desired("pi-1") is not None
    bridge.depot.commit("pi-1", "pi-2")
    bridge.shelf.said.clear()
    _turn(bridge.helm(republish_after_s=0.0))
    before = [topic for topic in bridge.shelf.said if "/b/" not in topic]
    assert len(before) == 2, "a new helm greets its connection once"


def test_a_broker_that_lost_everything_is_told_everything(bridge: Bridge) -> None:
    bridge.start()
    _turn(bridge.helm())
    kept = dict(bridge.shelf.retained)
    bridge.shelf.lose_everything()
    _turn(bridge.helm())
    assert bridge.shelf.retained == kept


@pytest.mark.parametrize("room", range(5))
def test_a_connection_that_breaks_anywhere_is_made_up_for_at_the_next(bridge: Bridge, room: int) -> None:
    bridge.start()
    helm = bridge.helm()

    async def cut_and_come_again() -> None:
        bridge.shelf.room = room
        with pytest.raises(Exception, match="the connection broke"):
            await helm.turn()
        bridge.shelf.lose_everything()
        await helm.turn()

    asyncio.run(cut_and_come_again())
    assert len(bridge.shelf.retained) == 5


def test_without_a_broker_rollouts_go_on_in_the_database(bridge: Bridge) -> None:
    bridge.shelf.connected = False
    bridge.start()
    bridge.depot.commit("pi-1", "pi-2")
    _turn(bridge.helm())
    assert rollouts.get_rollout(bridge.depot.db, 1).state == "completed"
    assert bridge.shelf.said == []


def test_what_was_published_is_cleared_after_the_rollout(bridge: Bridge) -> None:
    bridge.start()
    _turn(bridge.helm(), lambda: bridge.depot.commit("pi-1", "pi-2"))
    assert sorted(bridge.shelf.retained) == [topics.down(FLEET, device, "desired") for device in ("pi-1", "pi-2")]


@pytest.mark.parametrize("transport", ["", "mqtt"])
def test_a_block_that_a_device_found_damaged_is_published_again(bridge: Bridge, transport: str) -> None:
    bridge.start()
    helm = bridge.helm()
    _turn(helm)
    wanted = bridge.depot.wanted("pi-1")
    assert wanted is not None
    topic = topics.block(FLEET, wanted.artifact, 0)
    bridge.shelf.retained[topic] = b"damaged"
    helm.note([_damaged(wanted.artifact, 0, transport=transport)])
    _turn(helm)
    assert bridge.shelf.retained[topic] == b"artifact a int8"


def test_a_block_damaged_over_http_is_not_the_brokers_fault(bridge: Bridge) -> None:
    bridge.start()
    helm = bridge.helm()
    _turn(helm)
    wanted = bridge.depot.wanted("pi-1")
    assert wanted is not None
    before = len(bridge.shelf.said)
    helm.note([_damaged(wanted.artifact, 0, transport="http")])
    _turn(helm)
    assert len(bridge.shelf.said) == before


@pytest.mark.parametrize("block", [None, 5, 2**62, 2**70])
def test_a_damaged_block_that_cannot_be_holds_nothing_up(bridge: Bridge, block: int | None) -> None:
    bridge.start()
    helm = bridge.helm()
    wanted = bridge.depot.wanted("pi-1")
    assert wanted is not None
    bridge.depot.commit("pi-2")

    def lie() -> None:
        helm.note([_damaged(wanted.artifact, block), _damaged("", block), _damaged("0" * 64, block)])
        bridge.shelf.retained.pop(topics.down(FLEET, "pi-1", "desired"))
        bridge.shelf.connections += 1

    _turn(helm, lie)
    assert bridge.desired("pi-1") is not None


def test_a_damaged_list_of_hashes_is_published_again(bridge: Bridge) -> None:
    data = b"artifact a int8" * 10_000
    ref = bridge.store.put(data)
    asyncio.run(bridge.blocks.sync([ref]))
    topic = topics.hashes(FLEET, ref.digest)
    right, bridge.shelf.retained[topic] = bridge.shelf.retained[topic], b"damaged"
    helm = bridge.helm()
    helm.note([_damaged(ref.digest, None)])
    asyncio.run(helm._repair())
    assert bridge.shelf.retained[topic] == right


def test_a_board_that_says_it_runs_what_cannot_be_holds_nothing_up(bridge: Bridge) -> None:
    version = bridge.depot.version("b")
    lie = VersionRef(
        model="digits",
        version=1,
        variant="its-own",
        manifest=version.manifest_ref.digest,
        artifact=version.manifest.variants[0].artifact.digest,
    )
    report = Reported(epoch=0, generation=0, slots=(SlotReport(slot="main", phase="running", serving=lie),))
    ingest.apply_reported(bridge.depot.db, "pi-1", report, now_s=bridge.depot.now_s)
    bridge.start()
    _turn(bridge.helm())
    assert bridge.desired("pi-1") is not None
    assert bridge.desired("pi-2") is not None


def test_a_rollout_that_cannot_be_carried_on_does_not_hold_up_what_was_decided(bridge: Bridge) -> None:
    bridge.start()
    with bridge.depot.db.write() as session:
        session.connection().exec_driver_sql("UPDATE rollouts SET plan = 'damaged'")

    async def turn() -> None:
        with pytest.raises(Exception, match="malformed"):
            await bridge.helm().turn()

    asyncio.run(turn())
    assert bridge.desired("pi-1") is not None


def test_a_report_that_a_rollout_waits_for_is_asked_for_until_it_comes(bridge: Bridge) -> None:
    bridge.start()
    helm = bridge.helm(ask_after_s=0.0)
    _turn(helm, lambda: bridge.depot.commit("pi-1"))
    assert bridge.shelf.asked == ["pi-1", "pi-2", "pi-2"]
    bridge.depot.commit("pi-2")
    _turn(helm)
    assert len(bridge.shelf.asked) == 3


def test_no_report_is_asked_for_before_its_time_or_too_often(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.controller.helm.ASK_EVERY_S", 0.0)
    bridge.depot.now_s -= 50.0
    bridge.start()
    _turn(bridge.helm(ask_after_s=60.0), lambda: None)
    assert bridge.shelf.asked == []
    _turn(bridge.helm(ask_after_s=40.0), lambda: None, lambda: None)
    assert bridge.shelf.asked == ["pi-1", "pi-2"]


def test_no_more_reports_are_asked_for_at_once_than_fit_into_a_queue(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.controller.helm.ASK_EVERY_S", 0.0)
    monkeypatch.setattr("wherry.controller.helm.ASKED_TOGETHER", 1)
    bridge.depot.now_s -= 50.0
    bridge.start()
    helm = bridge.helm(ask_after_s=40.0)
    _turn(helm)
    assert bridge.shelf.asked == ["pi-1"]
    _turn(helm, lambda: None)
    assert bridge.shelf.asked == ["pi-1", "pi-2"]


def test_a_device_is_asked_until_it_has_given_the_version_back_and_is_at_rest(bridge: Bridge) -> None:
    bridge.start()
    bridge.depot.commit("pi-1", "pi-2")
    rollouts.tick(bridge.depot.db, now_s=bridge.depot.now_s)
    bridge.depot.version("b")
    second = rollouts.start(bridge.depot.db, make_plan(2, waves=FULL_FLEET), now_s=bridge.depot.now_s, actor="ann")
    bridge.depot.commit("pi-1", "pi-2")
    rollouts.abort(bridge.depot.db, second.id, restore="revert", now_s=bridge.depot.now_s, actor="ann")
    bridge.depot.commit("pi-1")
    bridge.depot.trying("pi-2", "switch")
    _turn(bridge.helm(ask_after_s=0.0))
    assert bridge.shelf.asked == ["pi-2"]
    bridge.depot.commit("pi-2")
    _turn(bridge.helm(ask_after_s=0.0))
    assert bridge.shelf.asked == ["pi-2"]


WORK_S = 0.02
TURNS = 15


@pytest.mark.slow
@pytest.mark.parametrize(("rest", "leaves_half"), [(1.0, True), (0.0, False)])
def test_the_ledger_is_left_to_others_half_of_the_time_whatever_happens(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, rest: float, leaves_half: bool
) -> None:
    """Something happens all the time. The second case is the negative control: no rest."""
    monkeypatch.setattr("wherry.controller.helm.REST_PER_WORK", rest)
    worked: list[float] = []

    def tick(_db: Database, *, now_s: float) -> tuple[str, ...]:
        started_s = time.perf_counter()
        while time.perf_counter() < started_s + WORK_S:
            pass
        worked.append(time.perf_counter() - started_s)
        return ()

    monkeypatch.setattr(rollouts, "tick", tick)
    shares = []
    for _ in range(1 if leaves_half else 5):  # on a busy machine others have the processor now and then
        worked.clear()
        took_s = asyncio.run(_run_for(bridge.helm(), TURNS, worked))
        shares.append(sum(worked) / took_s)
    assert (max(shares) <= 0.5) is leaves_half


async def _run_for(helm: Helm, turns: int, worked: list[float]) -> float:
    started_s = time.perf_counter()
    running = asyncio.create_task(helm.run())
    while len(worked) < turns:
        helm.wake()
        await asyncio.sleep(0)
    took_s = time.perf_counter() - started_s
    running.cancel()
    return took_s


def test_what_happens_during_a_turn_makes_one_more_turn(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []

    async def wake_in_the_first() -> None:
        helm = bridge.helm()
        loop, seen = asyncio.get_running_loop(), asyncio.Event()

        def tick(_db: Database, *, now_s: float) -> tuple[str, ...]:
            turns.append(now_s)
            if len(turns) == 1:
                loop.call_soon_threadsafe(helm.wake)
                loop.call_soon_threadsafe(helm.wake)
            else:
                loop.call_soon_threadsafe(seen.set)
            return ()

        monkeypatch.setattr(rollouts, "tick", tick)
        running = asyncio.create_task(helm.run())
        helm.wake()
        async with asyncio.timeout(20):  # the next regular turn comes later than that
            await seen.wait()
        running.cancel()

    asyncio.run(wake_in_the_first())
    assert len(turns) == 2


def test_a_turn_that_stood_still_for_an_hour_is_not_rested_from_for_another(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helm_module, "LONGEST_REST_S", 0.0)
    helm = bridge.helm()
    helm._worked_s = 3600.0
    asyncio.run(asyncio.wait_for(helm._rest(), 5))


def test_who_leads_again_does_not_rest_from_the_turn_in_which_it_lost_the_lead(bridge: Bridge) -> None:
    helm, turns = bridge.helm(), asyncio.Semaphore(0)
    helm._worked_s = 3600.0

    async def turn() -> None:
        turns.release()

    async def lead() -> None:
        running = asyncio.create_task(helm.run())
        async with asyncio.timeout(5):
            for _ in range(2):
                helm.wake()
                await turns.acquire()
        running.cancel()

    helm.turn = turn  # type: ignore[method-assign]
    asyncio.run(lead())
