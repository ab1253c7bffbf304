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
from typing import Any, Literal

import structlog
from sqlalchemy.exc import OperationalError

from wherry.controller.adapters.broker_session import Heard
from wherry.controller.errors import Deposed
from wherry.controller.ledger import Ledger
from wherry.controller.operations import ingest, uploads
from wherry.controller.store.database import Database
from wherry.protocol.codec import kind_of
from wherry.protocol.down.receipt import MAX_SEQS, Receipt
from wherry.protocol.errors import ProtocolError
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry, Upload

RETRY_PAUSE_S = 1.0

_Answer = Literal["taken", "refused", "bug"]

_OPERATIONS: dict[type, Callable[..., object]] = {
    Status: ingest.apply_status,
    Birth: ingest.apply_birth,
    Reported: ingest.apply_reported,
    Event: ingest.apply_event,
    Telemetry: ingest.apply_telemetry,
    Log: ingest.apply_log,
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
    answers: list[_Answer] = []
    try:
        with db.together() as transaction:
            answers += [_apply_one(transaction, heard, now_s) for heard in batch]
    except OperationalError as error:
        _log.error("the database cannot be written; trying again", error=str(error.orig))
        return None
    except Deposed as error:
        _log.warning("nothing is taken in", error=error.line)
        return None
    settled = [heard for heard, answer in zip(batch, answers, strict=True) if answer != "bug"]
    return _Taken(settled=settled, clean=answers.count("taken"))


def _apply_one(db: Database, heard: Heard, now_s: float) -> _Answer:
    operation: Callable[..., Any] = _OPERATIONS[type(heard.message)]
    try:
        operation(db, heard.device, heard.message, now_s=now_s)
    except OperationalError:
        raise
    except ProtocolError as error:
        _refuse(heard, str(error))
        return "refused"
    except Exception:  # noqa: BLE001 - one device must not silence the others
        _refuse(heard, "a bug of ours")
        _log.exception("an operation failed", device=heard.device)
        return "bug"
    return "taken"


def _refuse(heard: Heard, reason: str) -> None:
    _log.warning("a message was refused", device=heard.device, kind=kind_of(heard.message), reason=reason)
