"""What devices say, written down: the right operation for each kind of message.

Rules upheld here:
- A message that an operation refuses, or that shows a bug of ours, is logged and counted; the next
  one is not held up by it.
- An event has a receipt once it is written down, or refused for what it says. One that met a bug of ours has none: the
  device may hold the only copy, and keeps it for a controller that is mended.
- A batch is one transaction, since each waits for the disk; one message that fails undoes nothing of the others.
- Nothing is settled before that is committed. When the database itself cannot be written, the batch waits, and nothing
  is acknowledged meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import structlog
from sqlalchemy.exc import OperationalError

from wherry.controller.adapters.broker_session import Heard
from wherry.controller.errors import Deposed
from wherry.controller.ledger import Ledger
from wherry.controller.operations import facts, ingest, uploads
from wherry.controller.store.database import Database
from wherry.protocol.codec import kind_of
from wherry.protocol.down.receipt import MAX_SEQS, Receipt
from wherry.protocol.errors import ProtocolError
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry, Upload

RETRY_PAUSE_S = 1.0

_Answer = Literal["taken", "refused", "bug"]

_TOGETHER: dict[type, Callable[..., object]] = {
    Event: facts.keep_events,
    Telemetry: facts.keep_windows,
    Log: facts.keep_logs,
}
"""All of a batch at once, and before the others: in whatever order they come, they add up to the same."""

_OPERATIONS: dict[type, Callable[..., object]] = {
    Status: ingest.apply_status,
    Birth: ingest.apply_birth,
    Reported: ingest.apply_reported,
    Upload: uploads.take_block,
}

_log = structlog.get_logger(__name__)


def receipts(batch: Iterable[Heard]) -> Iterator[tuple[str, Receipt]]:
    """What to tell the devices of what `Intake.take` settled."""
    taken: dict[tuple[str, str], list[int]] = {}
    for heard in batch:
        if isinstance(heard.message, Event):
            taken.setdefault((heard.device, heard.message.boot_id), []).append(heard.message.seq)
    for (device, boot_id), seqs in taken.items():
        for start in range(0, len(seqs), MAX_SEQS):
            yield device, Receipt(boot_id=boot_id, seqs=tuple(seqs[start : start + MAX_SEQS]))


class Intake:
    """Writes batches of messages into the database."""

    def __init__(self, ledger: Ledger) -> None:
        self.failed = 0
        self._ledger = ledger

    async def take(self, batch: list[Heard], now_s: float) -> list[Heard]:
        """What of the batch is settled: durable, or refused for good."""
        while True:
            taken = await self._ledger.run(_apply, batch, now_s)
            if taken is not None:
                self.failed += len(batch) - taken.clean
                return taken.settled
            await asyncio.sleep(RETRY_PAUSE_S)


class _Taken(Struct, frozen=True, kw_only=True):
    """`clean` counts what was not refused for any reason."""

    settled: list[Heard]
    clean: int


def _apply(db: Database, batch: list[Heard], now_s: float) -> _Taken | None:
    """Write all of it down; None where the database does not work, and nothing was done."""
    try:
        with db.together() as transaction:
            answers = _apply_all(transaction, batch, now_s)
    except OperationalError as error:
        _log.error("the database cannot be written; trying again", error=str(error.orig))
        return None
    except Deposed as error:
        _log.warning("nothing is taken in", error=error.line)
        return None
    settled = [heard for heard, answer in zip(batch, answers, strict=True) if answer != "bug"]
    return _Taken(settled=settled, clean=answers.count("taken"))


def _apply_all(db: Database, batch: list[Heard], now_s: float) -> list[_Answer]:
    answers: dict[int, _Answer] = {}
    for kind, operation in _TOGETHER.items():
        part = [(place, heard) for place, heard in enumerate(batch) if isinstance(heard.message, kind)]
        answers |= _apply_several(db, operation, part, now_s)
    rest = [(place, heard) for place, heard in enumerate(batch) if place not in answers]
    with ingest.at_hand(db, {heard.device for _, heard in rest}):
        answers |= {place: _apply_one(db, heard, now_s) for place, heard in rest}
    return [answers[place] for place in range(len(batch))]


def _apply_several(
    db: Database, operation: Callable[..., object], part: list[tuple[int, Heard]], now_s: float
) -> dict[int, _Answer]:
    """The answers by place. Where all at once fail, each half is tried, until the one that is to blame is alone."""
    if not part:
        return {}
    try:
        operation(db, [(heard.device, heard.message) for _, heard in part], now_s=now_s)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - one device must not silence the others
        if len(part) == 1:
            return {part[0][0]: _answer_to(part[0][1], error)}
        middle = len(part) // 2
        first = _apply_several(db, operation, part[:middle], now_s)
        return first | _apply_several(db, operation, part[middle:], now_s)
    return {place: "taken" for place, _ in part}


def _apply_one(db: Database, heard: Heard, now_s: float) -> _Answer:
    try:
        _OPERATIONS[type(heard.message)](db, heard.device, heard.message, now_s=now_s)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - one device must not silence the others
        return _answer_to(heard, error)
    return "taken"


def _answer_to(heard: Heard, error: Exception) -> _Answer:
    if isinstance(error, ProtocolError):
        _refuse(heard, str(error))
        return "refused"
    _refuse(heard, "a bug of ours")
    _log.error("an operation failed", device=heard.device, exc_info=error)
    return "bug"


def _refuse(heard: Heard, reason: str) -> None:
    _log.warning("a message was refused", device=heard.device, kind=kind_of(heard.message), reason=reason)
