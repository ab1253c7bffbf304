"""What is thrown away, so that telemetry, logs, verdicts and sums of behaviour stay bounded.

Events and audit rows are kept for good: they are the record, and they grow only with what happens.
"""

from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from wherry.controller.store.database import Database
from wherry.controller.store.tables import BehaviourRow, LogRow, TelemetryRow, VerdictRow
from wherry.protocol.types import Struct

TELEMETRY_S = 24 * 3600.0
LOG_LINES = 5000
"""A device."""

BEHAVIOUR_S = 90 * 24 * 3600.0
"""Of a version that has answered nothing for so long. Should it be sent once more, it begins anew in any case."""

VERDICTS = 1000
"""A rollout. A gate that goes to and fro, such as that of a connection that comes and goes, would fill the disk."""


class Pruned(Struct, frozen=True, kw_only=True, omit_defaults=False):
    telemetry_windows: int
    log_lines: int
    behaviours: int = 0
    verdicts: int = 0


def prune(
    db: Database,
    *,
    now_s: float,
    telemetry_s: float = TELEMETRY_S,
    log_lines: int = LOG_LINES,
    behaviour_s: float = BEHAVIOUR_S,
    verdicts: int = VERDICTS,
) -> Pruned:
    """Drop what is older than is kept, and of logs and verdicts all but the newest. Run once a minute."""
    old_windows = delete(TelemetryRow).where(TelemetryRow.received_s < now_s - telemetry_s)
    old_sums = delete(BehaviourRow).where(BehaviourRow.changed_s < now_s - behaviour_s)
    lines = delete(LogRow).where(LogRow.id.in_(_surplus(LogRow.id, LogRow.device, log_lines)))
    told = delete(VerdictRow).where(VerdictRow.id.in_(_surplus(VerdictRow.id, VerdictRow.rollout, verdicts)))
    with db.write() as session:
        dropped = [session.connection().execute(order).rowcount for order in (old_windows, lines, old_sums, told)]
    return Pruned(telemetry_windows=dropped[0], log_lines=dropped[1], behaviours=dropped[2], verdicts=dropped[3])


def _surplus(number: InstrumentedAttribute[int], owner: InstrumentedAttribute[Any], kept: int) -> Select[tuple[int]]:
    """All but the newest `kept` of each owner."""
    newest_first = func.row_number().over(partition_by=owner, order_by=number.desc())
    ranked = select(number.label("id"), newest_first.label("rank")).subquery()
    return select(ranked.c.id).where(ranked.c.rank > kept)
