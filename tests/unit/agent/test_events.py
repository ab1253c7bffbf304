"""Events leave the disk when the controller has them, not when the broker says that it does."""

import errno
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.cargo_hold import DEVICE, FLEET
from tests.support.rig import Rig
from wherry.agent.adapters.store import spool
from wherry.agent.core.announce import Notice
from wherry.agent.outbox import SEND_AGAIN_S
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.down import Receipt
from wherry.protocol.up import Event

RECEIPT = topics.down(FLEET, DEVICE, "receipt")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Booted offline, with one event on disk, and a controller that is away."""
    rig = Rig(tmp_path).boot(online=False)
    rig.link.gives_receipts = False
    return rig


def sent(rig: Rig) -> list[int]:
    return [event.seq for event in rig.sent(Event)]


def test_what_only_the_broker_has_is_kept_and_sent_again_at_the_next_connection(rig: Rig) -> None:
    rig.link.connect()
    rig.settle()
    assert (sent(rig), len(rig.store.events)) == ([0], 1)
    rig.link.disconnect()
    rig.link.connect()
    rig.settle()
    assert (sent(rig), len(rig.store.events)) == ([0, 0], 1)


def test_a_receipt_lets_go_of_what_it_names_and_of_nothing_else(rig: Rig) -> None:
    rig.link.connect()
    rig.settle()
    rig.deliver(RECEIPT, encode(Receipt(boot_id="another", seqs=(0,))))
    rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(7,))))
    assert len(rig.store.events) == 1
    rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(0, 0))))
    assert len(rig.store.events) == 0
    rig.link.disconnect()
    rig.link.connect()
    rig.settle()
    assert sent(rig) == [0]


def test_without_a_receipt_an_event_is_sent_again_after_a_while(rig: Rig) -> None:
    rig.link.connect()
    rig.wait(SEND_AGAIN_S - 10)
    assert sent(rig) == [0]
    rig.wait(20)
    assert sent(rig) == [0, 0]
    rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(0,))))
    rig.wait(2 * SEND_AGAIN_S)
    assert sent(rig) == [0, 0]


def test_while_nobody_confirms_the_waits_grow_and_a_receipt_ends_that(rig: Rig) -> None:
    rig.link.connect()
    rig.wait(24 * 3600, windows=False)
    assert 10 <= len(sent(rig)) <= 18
    rig.supervisor._outbox.note(Notice(kind="error"))
    rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(1,))))
    before = sent(rig).count(0)
    rig.wait(2 * SEND_AGAIN_S + 10)
    assert sent(rig).count(0) == before + 1, "whoever confirms one soon gets the others"


def test_a_new_connection_ends_the_long_waits(rig: Rig) -> None:
    """What went before may have been delivered to nobody: the controller was not back yet."""
    rig.link.connect()
    rig.wait(3600, windows=False)
    rig.link.disconnect()
    rig.link.connect()
    rig.settle()
    before = len(sent(rig))
    rig.wait(2 * SEND_AGAIN_S)
    assert len(sent(rig)) == before + 1


def test_others_that_are_confirmed_meanwhile_hold_up_no_event_that_is_not(rig: Rig) -> None:
    rig.link.connect()
    rig.settle()
    for seq in range(1, 20):
        rig.supervisor._outbox.note(Notice(kind="error"))
        rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(seq,))))
        rig.wait(SEND_AGAIN_S / 5)
    assert sent(rig).count(0) == 1 + 3


def test_boards_that_lost_their_controller_together_do_not_send_together(tmp_path: Path) -> None:
    times = set()
    for chance in (0.0, 0.3, 0.6, 0.9):
        rig = Rig(tmp_path / str(chance))
        rig.chance = lambda chance=chance: chance
        rig.boot().link.gives_receipts = False
        rig.supervisor._outbox.note(Notice(kind="error"))
        start_s, count = rig.clock.at_s, len(sent(rig))
        while len(sent(rig)) < count + 3:
            rig.clock.at_s += 4
            rig.settle()
        times.add(rig.clock.at_s - start_s)
        rig.cut()
    assert len(times) >= 3


def test_events_of_an_earlier_start_are_let_go_of_by_its_name(rig: Rig) -> None:
    rig.cut().boot(online=False)
    rig.link.gives_receipts = False
    rig.link.connect()
    rig.settle()
    assert [(event.boot_id, event.seq) for event in rig.sent(Event)] == [("boot-1", 0), ("boot-2", 0)]
    rig.deliver(RECEIPT, encode(Receipt(boot_id="boot-1", seqs=(0,))))
    assert len(rig.store.events) == 1


@pytest.mark.slow
def test_an_event_with_any_bit_turned_is_dropped_or_one_that_the_controller_reads(rig: Rig, tried: Tried) -> None:
    path = next((rig.store.directory / "events").iterdir())
    whole = path.read_bytes()
    rig.troubles = []
    dropped = 0
    for bit in range(8 * len(whole)):
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        path.write_bytes(turned)
        rig.cut().boot(online=False)
        rig.link.gives_receipts = False
        before = len(rig.troubles)
        rig.link.connect()  # what is sent is decoded there, as the controller does
        rig.settle()
        dropped += len(rig.troubles) > before
        for left in (rig.store.directory / "events").iterdir():
            left.unlink()
    tried(f"{8 * len(whole)} bits, {dropped} dropped")
    assert 0 < dropped < 8 * len(whole)


def test_an_event_that_the_disk_does_not_take_goes_up_once_where_the_broker_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _data: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    rig.troubles = []
    monkeypatch.setattr(spool, "write_new", refuse)
    rig.supervisor._outbox.note(Notice(kind="error", reason="while nobody is there"))
    rig.link.connect()
    rig.settle()
    rig.supervisor._outbox.note(Notice(kind="error", reason="told"))
    rig.settle()
    assert [event.reason for event in rig.events("error")] == ["told"]
    assert set(rig.troubles) == {"keeping an event: Input/output error"}


def test_a_damaged_event_is_told_of_and_holds_nothing_up(rig: Rig) -> None:
    next((rig.store.directory / "events").iterdir()).write_bytes(b"rot")
    rig.troubles = []
    rig.cut().boot()
    assert any("an event on disk is damaged" in trouble for trouble in rig.troubles)
    assert [(event.boot_id, event.seq) for event in rig.sent(Event)] == [("boot-2", 0)]
    assert len(rig.store.events) == 0
