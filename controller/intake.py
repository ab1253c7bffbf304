"""What devices say, written down: the right operation for each kind of message.

Rules upheld here:
- A message that an operation refuses, or that shows a bug of ours, is logged and counted; the next
  one is not held up by it.
- An event has a receipt once it is written down, or refused for what it says. One that met a bug of ours has none: the
  device may hold the only copy, and keeps it for a controller that is mended.
- When the database itself cannot be written, the batch waits: nothing is acknowledged meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from wherry.controller.adapters.broker_session import Heard
from wherry.controller.ledger import Ledger
from wherry.controller.operations import ingest, uploads
from wherry.controller.store.database import Database
from wherry.protocol.codec import kind_of
from wherry.protocol.down.receipt import MAX_SEQS, Receipt
from wherry.protocol.errors import ProtocolError
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry, Upload

RETRY_PAUSE_S = 1.0

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
        pending, settled = batch, list[Heard]()
        while pending:
            pending = await self._ledger.run(self._apply, pending, now_s, settled)
            if pending:
                await asyncio.sleep(RETRY_PAUSE_S)
        return settled

    def _apply(self, db: Database, batch: list[Heard], now_s: float, settled: list[Heard]) -> list[Heard]:
        """What is left to do once the database works again; what is done is added to `settled`."""
        for index, heard in enumerate(batch):
            operation: Callable[..., Any] = _OPERATIONS[type(heard.message)]
            try:
                operation(db, heard.device, heard.message, now_s=now_s)
            except OperationalError as error:
                _log.error("the database cannot be written; trying again", error=str(error.orig))
                return batch[index:]
            except ProtocolError as error:
                self._refuse(heard, str(error))
            except Exception:  # noqa: BLE001 - one device must not silence the others
                self._refuse(heard, "a bug of ours")
                _log.exception("an operation failed", device=heard.device)
                continue
            settled.append(heard)
        return []

    def _refuse(self, heard: Heard, reason: str) -> None:
        self.failed += 1
        _log.warning("a message was refused", device=heard.device, kind=kind_of(heard.message), reason=reason)
