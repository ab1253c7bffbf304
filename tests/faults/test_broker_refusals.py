"""Brokers that refuse, babble, stall or never answer: each is left within its limit, and tried again after a wait with
full jitter that grows."""

import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support import broker as brokers
from tests.support.rude_broker import saying
from tests.support.wait import wait_until
from wherry.agent.adapters import broker as adapter
from wherry.agent.adapters.broker import Broker, BrokerEvent, Connected, Disconnected, Will
from wherry.agent.config import BrokerConfig

pytestmark = pytest.mark.slow

LOCKED = "listener {port} 127.0.0.1\nallow_anonymous false\nlog_type error\n"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
PUBLISH = 0x30

# A row: what the broker answers to CONNECT, what it goes on with, and what is said of it.
ANSWERS = {
    "garbage": (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", ""),
    "silence": (b"", b"", "the broker did not accept the connection"),
    "half an answer": (CONNACK_5[:2], b"", "the broker did not accept the connection"),
    "an answer in drips": (b"\x20\x7f", b"\x00", "the broker did not accept the connection"),
    "an endless length": (b"\x20\xff\xff\xff\xff\xff\xff", b"", ""),
    "256 MiB announced": (CONNACK_5 + bytes([PUBLISH]) + b"\xff\xff\xff\x7f", bytes(1000), "the connection ended"),
    "a packet in drips": (CONNACK_5 + bytes([PUBLISH]) + b"\xff\x7f", b"\x00", "the connection ended"),
    "a topic that is no text": (CONNACK_5 + bytes([PUBLISH, 5, 0, 2, 0xFF, 0xFE, 0]), b"", ""),
    "a topic beyond its packet": (CONNACK_5 + bytes([PUBLISH, 4, 0xFF, 0xFF, 1, 1]), b"", ""),
    "an answer to nothing": (CONNACK_5 + b"\x40\x02\x00\x07\xf0\x00", b"", ""),
}


@contextmanager
def _calling(port: int, limit_s: float, protocol: str = "5") -> Iterator["queue.SimpleQueue[BrokerEvent]"]:
    got: queue.SimpleQueue[BrokerEvent] = queue.SimpleQueue()
    config = BrokerConfig(port=port, protocol=protocol, reconnect_limit_s=limit_s, keepalive_s=5)  # type: ignore[arg-type]
    session = Broker(config, "boat-1", Will("wherry/v1/test/d/boat-1/up/status", lambda _: b"{}"), 1, got.put)
    session.start()
    try:
        yield got
    finally:
        session.stop()


def _next_end(got: "queue.SimpleQueue[BrokerEvent]") -> Disconnected:
    while True:
        event = got.get(timeout=20)
        if isinstance(event, Disconnected):
            return event


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[int]:
    """The port of a mosquitto that wants a password, which the agent does not have."""
    program, port = brokers.require_mosquitto(), brokers.free_port()
    (tmp_path / "conf").write_text(LOCKED.format(port=port))
    process = subprocess.Popen([program, "-c", str(tmp_path / "conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: brokers.accepts(port), "mosquitto listens")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_a_refused_password_is_tried_again_after_waits_that_grow_to_their_limit(
    locked: int, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter.random, "random", lambda: 0.01)
    with _calling(locked, limit_s=8, protocol=protocol) as got:
        ends = [_next_end(got) for _ in range(7)]
    assert all("ot authori" in end.reason for end in ends), ends
    assert [round(end.retry_s, 3) for end in ends] == [0.01, 0.02, 0.04, 0.08, 0.08, 0.08, 0.08]


def test_the_waits_after_a_refusal_are_spread_over_all_of_it(locked: int, tried: Tried) -> None:
    limit_s = 0.05
    with _calling(locked, limit_s=limit_s) as got:
        waits_s = [_next_end(got).retry_s for _ in range(40)]
    assert all(0 <= wait_s <= limit_s for wait_s in waits_s)
    assert min(waits_s) < limit_s * 0.25
    assert max(waits_s) > limit_s * 0.75
    tried(f"{len(waits_s)} refusals by a real broker")


@pytest.mark.parametrize(("answer", "again", "reason"), ANSWERS.values(), ids=ANSWERS)
def test_a_broker_that_babbles_or_stalls_is_left_and_tried_again(
    answer: bytes, again: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "CONNECT_LIMIT_S", 0.4)
    monkeypatch.setattr(adapter, "SPEED_WINDOW_S", 0.4)
    with saying(answer, again=again) as port, _calling(port, limit_s=0.02) as got:
        for _ in range(2):
            assert reason in _next_end(got).reason


def test_a_broker_that_hangs_up_is_tried_again() -> None:
    with saying(b"", hangs_up=True) as port, _calling(port, limit_s=0.02) as got:
        assert all(_next_end(got).reason for _ in range(3))


def test_a_good_one_is_found_after_all_of_that(tmp_path: Path) -> None:
    port = brokers.free_port()
    with _calling(port, limit_s=0.02) as got:
        _next_end(got)
        with brokers.running("mosquitto", tmp_path, port):
            wait_until(lambda: isinstance(got.get(timeout=20), Connected), "connected")


def test_negative_control_a_client_without_limits_is_held_by_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """As paho is: a byte now and then keeps the connection, and nothing else ever comes."""
    monkeypatch.setattr(adapter._WaryClient, "_weigh", lambda *_: None)
    monkeypatch.setattr(adapter, "SPEED_WINDOW_S", 0.2)
    answer, _, _ = ANSWERS["a packet in drips"]
    with saying(answer, again=b"\x00") as port, _calling(port, limit_s=0.02) as got:
        assert isinstance(got.get(timeout=20), Connected)
        with pytest.raises(queue.Empty):
            got.get(timeout=1.5)
