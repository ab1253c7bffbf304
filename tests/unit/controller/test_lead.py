"""Who leads, where nobody else can."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from wherry.controller import lead as lead_module
from wherry.controller.lead import Lead
from wherry.controller.ledger import Ledger
from wherry.controller.store.database import open_database

LOOKS = 100


async def _leads_without_answers(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it still leads after `LOOKS` questions of which none was answered in time."""
    monkeypatch.setattr(lead_module, "LOOK_EVERY_S", 0.0)
    db = open_database(db_path)
    ledger, begun = Ledger(db), asyncio.Event()
    lead = Lead(db, ledger, "http://here")

    async def begin(_parts: AsyncExitStack) -> None:
        monkeypatch.setattr(lead_module, "ANSWER_LIMIT_S", 0.0)
        begun.set()

    work = asyncio.create_task(lead.run(begin))
    await begun.wait()
    for _ in range(LOOKS):
        await ledger.run(lambda _db: None)
    leads = lead.leads
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    ledger.close()
    return leads


def test_the_lead_on_sqlite_is_kept_however_late_answers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(_leads_without_answers(tmp_path / "controller.db", monkeypatch))


def test_where_another_may_have_it_no_answer_means_that_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control, and the reason for asking on PostgreSQL."""
    monkeypatch.setattr("wherry.controller.store.database.Database.contested", True)
    assert not asyncio.run(_leads_without_answers(tmp_path / "controller.db", monkeypatch))
