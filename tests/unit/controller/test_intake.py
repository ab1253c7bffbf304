"""What of a batch the devices get a receipt for."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError

from wherry.controller import intake
from wherry.controller.adapters.broker_session import Heard
from wherry.controller.intake import Intake, receipts
from wherry.controller.ledger import Ledger
from wherry.controller.store.database import Database, open_database
from wherry.controller.store.tables import EventRow
from wherry.protocol.codec import LIMIT_BYTES, encode
from wherry.protocol.down.receipt import MAX_SEQS, Receipt
from wherry.protocol.errors import ProtocolError
from wherry.protocol.types import MAX_COUNT
from wherry.protocol.up import Event, Status

Told = Sequence[tuple[str, Event]]


def _numbers(told: Told) -> list[int]:
    return [event.seq for _, event in told]


def _event(seq: int) -> Heard:
    return Heard(device="boat-1", message=Event(boot_id="b1", seq=seq, at_s=1.0, kind="started"))


def _told(tmp_path: Path, batch: list[Heard]) -> dict[str, tuple[int, ...]]:
    """The numbers in the receipts, by device."""
    ledger = Ledger(open_database(tmp_path / "wherry.db"))
    settled = asyncio.run(Intake(ledger).take(batch, 1.0))
    ledger.close()
    return {device: receipt.seqs for device, receipt in receipts(settled)}


def test_every_event_that_was_written_down_has_a_receipt_and_nothing_else(tmp_path: Path) -> None:
    status = Heard(device="boat-1", message=Status(presence="online", session=1))
    assert _told(tmp_path, [_event(1), status, _event(2), _event(1)]) == {"boat-1": (1, 2, 1)}


@pytest.mark.parametrize(("error", "told"), [(ZeroDivisionError("a bug"), (1, 3)), (ProtocolError("no"), (1, 2, 3))])
def test_only_an_event_that_met_a_bug_of_ours_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: tuple[int, ...]
) -> None:
    """The board keeps it, for a controller that is mended. What is refused for good is not wanted again."""
    keep = intake._TOGETHER[Event]

    def faulty(db: Database, told: Told, *, now_s: float) -> object:
        if 2 in _numbers(told):
            raise error
        return keep(db, told, now_s=now_s)

    monkeypatch.setitem(intake._TOGETHER, Event, faulty)
    assert _told(tmp_path, [_event(1), _event(2), _event(3)]) == {"boat-1": told}


def test_the_largest_receipt_fits_into_its_message() -> None:
    message = encode(Receipt(boot_id="b" * 64, seqs=(MAX_COUNT,) * MAX_SEQS))
    assert len(message) <= LIMIT_BYTES["receipt"]


def test_a_message_that_spoils_its_transaction_spoils_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written half of what it had to, and then the database itself refuses a row."""
    keep = intake._TOGETHER[Event]

    def faulty(db: Database, told: Told, *, now_s: float) -> object:
        with db.write() as session:
            done = keep(db, told, now_s=now_s)
            if 2 in _numbers(told):
                session.execute(insert(EventRow).values(device="nobody", boot_id="b", seq=1, kind="started"))
        return done

    monkeypatch.setitem(intake._TOGETHER, Event, faulty)
    db = open_database(tmp_path / "wherry.db")
    ledger = Ledger(db)
    settled = asyncio.run(Intake(ledger).take([_event(1), _event(2), _event(3)], 1.0))
    assert [heard.message.seq for heard in settled if isinstance(heard.message, Event)] == [1, 3]
    with db.read() as session:
        assert session.scalars(select(EventRow.seq).order_by(EventRow.seq)).all() == [1, 3]
    ledger.close()


def test_nothing_is_settled_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database fails at the last message of a batch, once: all of the batch is written again, and settled once."""
    monkeypatch.setattr(intake, "RETRY_PAUSE_S", 0.0)
    keep = intake._TOGETHER[Event]
    tried: list[int] = []

    def failing(db: Database, told: Told, *, now_s: float) -> object:
        done = keep(db, told, now_s=now_s)
        tried.extend(_numbers(told))
        if tried == [1, 2, 3]:
            raise OperationalError("INSERT", {}, Exception("the disk is full"))
        return done

    monkeypatch.setitem(intake._TOGETHER, Event, failing)
    assert _told(tmp_path, [_event(1), _event(2), _event(3)]) == {"boat-1": (1, 2, 3)}
    assert tried == [1, 2, 3, 1, 2, 3]


def test_each_of_many_is_tried_alone_only_around_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 events one is bad: its half, quarter and so on fail with it, and every other is written down with many."""
    keep, calls = intake._TOGETHER[Event], []

    def faulty(db: Database, told: Told, *, now_s: float) -> object:
        calls.append(len(told))
        if 40 in _numbers(told):
            raise ZeroDivisionError("a bug")
        return keep(db, told, now_s=now_s)

    monkeypatch.setitem(intake._TOGETHER, Event, faulty)
    told = _told(tmp_path, [_event(seq) for seq in range(64)])
    assert told == {"boat-1": tuple(seq for seq in range(64) if seq != 40)}
    assert sorted(calls, reverse=True) == [64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


def test_a_counter_beyond_the_limit_is_refused_alone(tmp_path: Path) -> None:
    ledger = Ledger(open_database(tmp_path / "wherry.db"))
    taking = Intake(ledger)
    batch = [_event(1), _event(2**40 + 1), _event(2)]
    assert asyncio.run(taking.take(batch, 1.0)) == batch, "refused for good is settled, too"
    assert taking.failed == 1
    ledger.close()
