"""What devices say, taken in. Nothing here trusts order, and nothing counts twice.

A device that is not known is made at its first status, birth or reported document; what else it
sends before that makes it known too, so that nothing is lost. No audit rows: these are facts, not
decisions.
"""

from wherry.controller.store.database import Database
from wherry.protocol.up import Birth, Event, Log, Reported, Status, Telemetry


def apply_status(db: Database, device: str, status: Status, *, now_s: float) -> bool:
    """False where it is of an earlier session, a stale will, and was ignored."""
    raise NotImplementedError


def apply_birth(db: Database, device: str, birth: Birth, *, now_s: float) -> None:
    """Keep the newest probed capability."""
    raise NotImplementedError


def apply_reported(db: Database, device: str, reported: Reported, *, now_s: float) -> None:
    """Keep the newest report. The topic is retained and of one writer, so the last to arrive is the newest."""
    raise NotImplementedError


def apply_event(db: Database, device: str, event: Event, *, now_s: float) -> bool:
    """Exactly once: False where (device, boot id, seq) is known, and nothing was done."""
    raise NotImplementedError


def apply_telemetry(db: Database, device: str, telemetry: Telemetry, *, now_s: float) -> bool:
    """False where the window is known, and nothing was done."""
    raise NotImplementedError


def apply_log(db: Database, device: str, log: Log, *, now_s: float) -> bool:
    """False where the batch is known, and nothing was done."""
    raise NotImplementedError
