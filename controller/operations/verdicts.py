"""What the gates of a rollout said, and from which numbers: kept whenever it changed."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from wherry.controller.core.gates import GateResult
from wherry.controller.errors import NotFound
from wherry.controller.store.database import Database
from wherry.controller.store.tables import RolloutRow, VerdictRow
from wherry.protocol.types import Struct


class VerdictView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`results` are the gates' answers of one moment, of the wave that was open then."""

    id: int
    at_s: float
    wave: int
    results: tuple[GateResult, ...]


def differ(before: Sequence[GateResult], now: Sequence[GateResult]) -> bool:
    """Whether any gate answers otherwise than before; other words for the same are no difference."""
    return [(entry.gate, entry.verdict) for entry in before] != [(entry.gate, entry.verdict) for entry in now]


def keep(session: Session, row: RolloutRow, results: Sequence[GateResult], now_s: float) -> None:
    session.add(VerdictRow(rollout=row.id, at_s=now_s, wave=row.wave, results=msgspec.json.encode(results)))


def list_verdicts(
    db: Database, rollout: int, *, before_id: int | None = None, max_verdicts: int = 200
) -> list[VerdictView]:
    """The newest, newest first; those before an id. Raises NotFound."""
    with db.read() as session:
        if session.get(RolloutRow, rollout) is None:
            raise NotFound(f"no rollout {rollout}", "see `wherry rollout list`")
        wanted = select(VerdictRow).where(VerdictRow.rollout == rollout).order_by(VerdictRow.id.desc())
        if before_id is not None:
            wanted = wanted.where(VerdictRow.id < before_id)
        return [_view(row) for row in session.scalars(wanted.limit(max_verdicts))]


def _view(row: VerdictRow) -> VerdictView:
    results = msgspec.json.decode(row.results, type=tuple[GateResult, ...])
    return VerdictView(id=row.id, at_s=row.at_s, wave=row.wave, results=results)
