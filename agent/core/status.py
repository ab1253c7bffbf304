"""What the agent says of itself to the person at the board; the same from a running agent and from its disk."""

import msgspec

from wherry.agent.core.record import DeviceRecord, SlotRecord
from wherry.protocol.types import Reason
from wherry.protocol.up.reported import Phase, QuarantineEntry, Result


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Only a running agent knows these. Counts are since it started, `p95_ms` is of the last minute or so."""

    since_s: float
    pid: int | None = None
    rss_bytes: int = 0
    inferences: int = 0
    errors: int = 0
    p95_ms: float | None = None


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`result` and `reason` tell how the last attempt ended, of the version `attempted`."""

    slot: str
    phase: Phase
    serving: str = ""
    candidate: str = ""
    attempted: str = ""
    result: Result | None = None
    reason: Reason = ""
    quarantine: tuple[QuarantineEntry, ...] = ()
    worker: WorkerFacts | None = None
    sockets: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`connected` is None where no agent runs that could know. `order` is (epoch, generation) of what was accepted."""

    device: str
    fleet: str
    agent_version: str
    running: bool
    broker: str
    state_dir: str
    boots: int
    order: tuple[int, int]
    slots: tuple[SlotStatus, ...]
    connected: bool | None = None
    started_s: float | None = None
    events_waiting: int = 0
    damaged_copies: tuple[str, ...] = ()


def slot_status(
    name: str, slot: SlotRecord, *, worker: WorkerFacts | None = None, sockets: tuple[str, ...] = ()
) -> SlotStatus:
    outcome = slot.outcome
    return SlotStatus(
        slot=name,
        phase=slot.state,
        serving="" if slot.serving is None else f"{slot.serving} ({slot.serving.variant})",
        candidate="" if slot.attempt is None else f"{slot.attempt.ref} ({slot.attempt.ref.variant})",
        attempted="" if outcome is None else str(outcome.ref),
        result=None if outcome is None else outcome.result,
        reason="" if outcome is None else outcome.reason,
        quarantine=slot.quarantine,
        worker=worker,
        sockets=sockets,
    )


def status_text(connected: bool, record: DeviceRecord, names: tuple[str, ...]) -> str:  # noqa: FBT001  one fact of two words
    """One line for the service manager: `connected; main running digits:3`."""
    slots = [(name, record.slot(name)) for name in names]
    told = [f"{name} {slot.state}" + (f" {slot.serving}" if slot.serving else "") for name, slot in slots]
    return "; ".join(["connected" if connected else "no broker", *told])
