"""Who works for the fleet: the parts that may run only once run while this controller leads.

Rules upheld here:
- They are begun when the claim on the database is gained, and ended as soon as it is lost; the controller then stands
  by, and leads again when it can.
- What they would still write in between is refused by the database itself (`store.leader`).
- A clean end lets go at once, so that the one that stands by need not find out.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from wherry.controller.ledger import Ledger
from wherry.controller.store.database import Database
from wherry.controller.store.leader import LeaderDatabase

LOOK_EVERY_S = 0.5
"""How often one asks whether it still leads, or whether the lead is free: a part of the time of a takeover."""

ANSWER_LIMIT_S = 4.0
"""A database that does not answer for so long may have given the claim to another one."""

Begin = Callable[[AsyncExitStack], Coroutine[Any, Any, None]]

_log = structlog.get_logger(__name__)


class Lead:
    """`ledger` is for what the leading controller writes as such. `leads` is whether its parts run."""

    def __init__(self, db: Database, ledger: Ledger, url: str) -> None:
        self.leads = False
        self._db = db
        self._leader = LeaderDatabase(db)
        self.ledger = ledger.beside(self._leader)
        self.url = url

    @property
    def may(self) -> bool:
        """Whether it has the claim, as far as is known."""
        return self._db.claimed

    async def run(self, begin: Begin) -> None:
        """Lead whenever that can be, until cancelled. `begin` starts the parts, which end with the stack."""
        while True:
            await self._gain()
            try:
                async with AsyncExitStack() as parts:
                    await self._begin(begin, parts)
                    await self._lose()
            except Exception:  # noqa: BLE001 - one that stands by must go on doing so
                _log.exception("the lead could not be taken")
            finally:
                self.leads = False
            _log.warning("stands by: the claim on the database is lost")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _begin(self, begin: Begin, parts: AsyncExitStack) -> None:
        parts.callback(self._db.let_go)  # last of all, when every part has ended
        term = await self.ledger.run(lambda _db: self._leader.begin(self.url))
        await begin(parts)
        self.leads = True
        _log.info("leads", term=term)

    async def _gain(self) -> None:
        while not await _answer(self._db.claim):
            await asyncio.sleep(LOOK_EVERY_S)

    async def _lose(self) -> None:
        """On a database that nobody else can claim it is never lost, however slow its disk is."""
        if not self._db.contested:
            await asyncio.Event().wait()
        while await _answer(self._db.keeps_claim):
            await asyncio.sleep(LOOK_EVERY_S)


async def _answer(ask: Callable[[], bool]) -> bool:
    """False also where no answer comes in time."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(ask), ANSWER_LIMIT_S)
    except (TimeoutError, SQLAlchemyError):
        return False
