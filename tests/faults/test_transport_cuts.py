"""Downloads over links that are cut, changed and silenced at any byte: complete, right, and little is fetched twice.

The agent's own broker session, HTTP client and store, a real mosquitto and a real controller's HTTP; between them a
proxy that does the damage.
"""

import itertools
import queue
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.conftest import Tried
from tests.support import broker as brokers
from tests.support import http_desk
from tests.support.fault_proxy import FaultProxy, proxied
from tests.support.ferry import FLEET, WINDOW_BLOCKS, Ferry, hasten
from tests.support.soak import scaled
from wherry.agent.adapters.broker import Arrived, Broker, BrokerEvent, Connected, Disconnected, Will
from wherry.agent.adapters.store.parts import Part
from wherry.agent.config import BrokerConfig
from wherry.agent.fetch import Fetch
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef, describe, hash_list, split
from wherry.protocol.limits import BLOCK_BYTES

T = TypeVar("T")
pytestmark = pytest.mark.slow

BLOCKS = 24
ON_BOTH = random.Random(1).randbytes(BLOCKS * BLOCK_BYTES - 1000)
ON_HTTP = random.Random(2).randbytes(BLOCKS * BLOCK_BYTES - 1000)
"""The broker has the blocks of the first alone; the controller has both."""

CUTS_A_RUN = 4
OFFSETS = scaled(100, soak=4000)
OVERHEAD_BYTES = 8 * 1024
"""Of a new connection: what a broker and a server say first, heads of answers, and the list of hashes again."""


class Harbour(NamedTuple):
    mqtt: FaultProxy
    http: FaultProxy
    directory: Path

    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}/api/v1/artifacts"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of a broker and of a controller that have the blobs."""
    directory = tmp_path_factory.mktemp("harbour")
    (directory / "desk").mkdir()
    with (
        brokers.running("mosquitto", directory) as port,
        http_desk.serving(directory / "desk", max_artifact_bytes=1 << 24) as desk,
    ):
        _publish(port, ON_BOTH)
        for blob in (ON_BOTH, ON_HTTP):
            desk.client.put(f"/artifacts/{describe(blob).digest}", content=blob).raise_for_status()
        yield port, desk.port


@pytest.fixture
def harbour(servers: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harbour]:
    hasten(monkeypatch.setattr)
    with proxied(servers[0]) as broker, proxied(servers[1]) as http:
        yield Harbour(broker, http, tmp_path)


def _publish(port: int, blob: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    digest = describe(blob).digest
    messages = {topics.block(FLEET, digest, index): block for index, block in enumerate(split(blob))}
    messages[topics.hashes(FLEET, digest)] = hash_list(blob)
    for topic, payload in messages.items():
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


_devices = itertools.count()


def _ferry(harbour: Harbour, ref: BlobRef, *, http: bool) -> Ferry:
    number = next(_devices)
    directory = harbour.directory / f"state-{number}"
    url = harbour.url() if http else None
    return Ferry(directory, ref, broker_port=harbour.mqtt.port, url=url, device=f"boat-{number}")


class Voyage(NamedTuple):
    is_right: bool
    down_bytes: int
    cuts: int


def _voyage(harbour: Harbour, transport: str, cuts: list[int], *, with_power_cuts: bool) -> Voyage:
    """One download; bytes are those that came over `transport`, cut at these offsets of them."""
    proxy = harbour.mqtt if transport == "mqtt" else harbour.http
    proxy.down_bytes, proxy.cuts, proxy.cut_at = 0, 0, sorted(cuts)
    ferry = _ferry(harbour, describe(ON_BOTH if transport == "mqtt" else ON_HTTP), http=transport == "http")
    seen = 0

    def each_turn() -> None:
        nonlocal seen
        if with_power_cuts and proxy.cuts > seen:
            seen = proxy.cuts
            ferry.fetch.stop()
            ferry.begin()

    try:
        return Voyage(ferry.run(each_turn=each_turn), proxy.down_bytes, proxy.cuts)
    finally:
        ferry.close()


def _most_bytes(calm: Voyage, cuts: int) -> int:
    return calm.down_bytes + cuts * (WINDOW_BLOCKS * BLOCK_BYTES + OVERHEAD_BYTES)


def _plans(size_bytes: int) -> list[list[int]]:
    """All offsets, evenly over the stream, spread over runs so that the cuts of one run are far apart."""
    offsets = [index * size_bytes // OFFSETS for index in range(OFFSETS)]
    runs = OFFSETS // CUTS_A_RUN
    return [offsets[run::runs] for run in range(runs)]


@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_a_cut_at_any_byte_costs_no_more_than_the_window(harbour: Harbour, transport: str, tried: Tried) -> None:
    calm = _voyage(harbour, transport, [], with_power_cuts=False)
    assert calm.is_right
    plans, twice, cuts = _plans(calm.down_bytes), [0], 0
    for number, plan in enumerate(plans):
        found = _voyage(harbour, transport, plan, with_power_cuts=number % 4 == 3)
        assert found.is_right, f"cut at {plan}"
        assert found.down_bytes <= _most_bytes(calm, found.cuts), f"cut at {plan}"
        cuts += found.cuts
        twice.append((found.down_bytes - calm.down_bytes) // max(1, found.cuts))
    assert cuts >= OFFSETS * 0.95, "a cut past the end does not happen"
    tried(
        f"{cuts} cuts in {len(plans)} downloads of {len(ON_BOTH)} bytes, a fourth of them with power cuts too; "
        f"at most {max(twice)} bytes fetched again for a cut, the window is {WINDOW_BLOCKS * BLOCK_BYTES}"
    )


@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_negative_control_a_download_that_begins_anew_is_found(
    harbour: Harbour, transport: str, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    calm = _voyage(harbour, transport, [], with_power_cuts=False)
    monkeypatch.setattr(Part, "verified", lambda *_: 0)
    plan = [part * calm.down_bytes // 5 for part in (1, 2, 3, 4)]
    found = _voyage(harbour, transport, plan, with_power_cuts=True)
    assert found.down_bytes > _most_bytes(calm, found.cuts)
    tried(f"{found.cuts} cuts")


def _flipped(harbour: Harbour, transport: str, runs: int) -> tuple[int, int, list[str]]:
    """Changed bytes, how many downloads were not right, and what was said of damage."""
    proxy = harbour.mqtt if transport == "mqtt" else harbour.http
    chance, flips, wrong, told = random.Random(3), 0, 0, []
    for _ in range(runs):
        proxy.down_bytes, proxy.flips = 0, 0
        proxy.flip_at = sorted(chance.randrange(200, len(ON_BOTH)) for _ in range(4))
        ferry = _ferry(harbour, describe(ON_BOTH if transport == "mqtt" else ON_HTTP), http=transport == "http")
        wrong += not ferry.run()
        told += [notice.kind for notice in ferry.notices]
        ferry.close()
        flips += proxy.flips
    return flips, wrong, told


@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_changed_bytes_are_found_and_their_blocks_fetched_again(harbour: Harbour, transport: str, tried: Tried) -> None:
    flips, wrong, told = _flipped(harbour, transport, scaled(5, soak=200))
    assert wrong == 0
    assert "block-damaged" in told
    assert "block-repaired" in told
    tried(f"{flips} changed bytes, {told.count('block-repaired')} blocks repaired")


@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_negative_control_blocks_that_are_kept_unverified_are_found(
    harbour: Harbour, transport: str, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setattr(Fetch, "_matches", lambda self, index, block: len(block) == self.ref.block_size_bytes(index))
    flips, wrong, _ = _flipped(harbour, transport, 3)
    assert wrong > 0
    tried(f"{flips} changed bytes, {wrong} of 3 downloads wrong")


def _got(ferry: Ferry) -> int:
    transfer = ferry.fetch._transfer
    return 0 if transfer is None else transfer.have.bit_count()


def _alternating(harbour: Harbour, break_link: Callable[[FaultProxy, bool], None]) -> tuple[bool, list[str], bool]:
    """A download whose working transport is broken at each third of it, while the other one is mended."""
    ferry = _ferry(harbour, describe(ON_BOTH), http=True)
    have, broken, never_lost = 0, 0, True
    break_link(harbour.http, True)

    def each_turn() -> None:
        nonlocal have, broken, never_lost
        now = _got(ferry)
        never_lost = never_lost and now >= have
        have = max(have, now)
        if have >= (broken + 1) * BLOCKS // 5 and broken < 4:
            broken += 1
            break_link(harbour.mqtt, bool(broken % 2))
            break_link(harbour.http, not broken % 2)

    try:
        return ferry.run(each_turn=each_turn), ferry.turns, never_lost
    finally:
        ferry.close()


def _silence(proxy: FaultProxy, is_broken: bool) -> None:
    (proxy.mute.set if is_broken else proxy.mute.clear)()
    if not is_broken:
        proxy.hang_up()  # what was swallowed is lost with its connection


def _hang_up(proxy: FaultProxy, is_broken: bool) -> None:
    """A link that is cut at the next byte, again and again."""
    proxy.cut_at = [0] * 100_000 if is_broken else []
    proxy.hang_up()


@pytest.mark.parametrize("break_link", [_silence, _hang_up])
def test_either_transport_gives_way_to_the_other_again_and_again(
    harbour: Harbour, break_link: Callable[[FaultProxy, bool], None], tried: Tried
) -> None:
    is_right, turns, never_lost = _alternating(harbour, break_link)
    assert is_right
    assert never_lost, "verified blocks stay verified"
    assert len(turns) >= 4, turns
    tried(f"{' → '.join(turns)}")


@pytest.mark.parametrize("never", ["mqtt", "http"])
def test_one_transport_is_enough_where_the_other_never_says_anything(harbour: Harbour, never: str) -> None:
    (harbour.mqtt if never == "mqtt" else harbour.http).mute.set()
    ferry = _ferry(harbour, describe(ON_BOTH), http=True)
    try:
        assert ferry.run()
    finally:
        ferry.close()


def test_what_is_unsubscribed_offline_is_unsubscribed_at_the_next_connection(harbour: Harbour) -> None:
    """The broker keeps the session: blocks that are here would come again whenever somebody publishes them."""
    gone, kept = (topics.block(FLEET, describe(ON_BOTH).digest, index) for index in (0, 1))
    got: queue.SimpleQueue[BrokerEvent] = queue.SimpleQueue()
    config = BrokerConfig(port=harbour.mqtt.port, protocol="5", reconnect_limit_s=0.02, keepalive_s=5)
    session = Broker(config, "boat-back", Will("wherry/v1/test/d/boat-back/up/status", lambda _: b"{}"), 1, got.put)
    session.start()
    try:
        _await(got, Connected)
        session.subscribe([gone, kept])
        assert {_await(got, Arrived).topic for _ in range(2)} == {gone, kept}
        harbour.mqtt.refuse = True
        harbour.mqtt.hang_up()
        _await(got, Disconnected)
        session.unsubscribe([gone])
        harbour.mqtt.refuse = False
        _await(got, Connected)
        _publish(harbour.mqtt.behind, ON_BOTH)
        assert _await(got, Arrived).topic == kept
    finally:
        session.stop()


def _await(got: "queue.SimpleQueue[BrokerEvent]", kind: type[T]) -> T:
    while True:
        event = got.get(timeout=10)
        if isinstance(event, kind):
            return event


def test_a_broker_that_is_not_there_is_not_waited_for(harbour: Harbour) -> None:
    harbour.mqtt.close()
    ferry = _ferry(harbour, describe(ON_BOTH), http=True)
    try:
        assert ferry.run()
    finally:
        ferry.close()
