"""What is thrown away, so that the database stays bounded. Events and audit rows are kept."""

from wherry.controller.store.database import Database
from wherry.protocol.types import Struct

TELEMETRY_S = 24 * 3600.0
LOG_LINES = 5000
"""A device."""


class Pruned(Struct, frozen=True, kw_only=True, omit_defaults=False):
    telemetry_windows: int
    log_lines: int


def prune(db: Database, *, now_s: float, telemetry_s: float = TELEMETRY_S, log_lines: int = LOG_LINES) -> Pruned:
    """Drop windows older than `telemetry_s`, and all but each device's newest `log_lines`. Run once a minute."""
    raise NotImplementedError
