"""What is thrown away, so that telemetry and logs stay bounded.

Events and audit rows are kept for good: they are the record, and they grow only with what happens.
"""

from sqlalchemy import delete, func, select

from wherry.controller.store.database import Database
from wherry.controller.store.tables import LogRow, TelemetryRow
from wherry.protocol.types import Struct

TELEMETRY_S = 24 * 3600.0
LOG_LINES = 5000
"""A device."""


class Pruned(Struct, frozen=True, kw_only=True, omit_defaults=False):
    telemetry_windows: int
    log_lines: int


def prune(db: Database, *, now_s: float, telemetry_s: float = TELEMETRY_S, log_lines: int = LOG_LINES) -> Pruned:
    """Drop windows older than `telemetry_s`, and all but each device's newest `log_lines`. Run once a minute."""
    newest_first = func.row_number().over(partition_by=LogRow.device, order_by=LogRow.id.desc())
    ranked = select(LogRow.id, newest_first.label("rank")).subquery()
    surplus = select(ranked.c.id).where(ranked.c.rank > log_lines)
    with db.write() as session:
        connection = session.connection()
        windows = connection.execute(delete(TelemetryRow).where(TelemetryRow.received_s < now_s - telemetry_s))
        lines = connection.execute(delete(LogRow).where(LogRow.id.in_(surplus)))
        return Pruned(telemetry_windows=windows.rowcount, log_lines=lines.rowcount)
