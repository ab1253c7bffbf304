"""Which events a step is worth to the controller."""

import msgspec

from wherry.agent.core.slot import Step
from wherry.protocol.types import VersionRef
from wherry.protocol.up.event import EventKind

_BY_RESULT: dict[str, EventKind] = {"committed": "committed", "rejected": "rejected", "reverted": "reverted"}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An event without its number and time."""

    kind: EventKind
    ref: VersionRef | None = None
    from_phase: str = ""
    to_phase: str = ""
    reason: str = ""


def notices(done: Step) -> tuple[Notice, ...]:
    """The transition, and how an attempt ended, in this order."""
    found = []
    before, after = done.before, done.after
    attempt = after.attempt or before.attempt
    phases = {"from_phase": before.state, "to_phase": after.state}
    if before.state != after.state:
        ref = attempt.ref if attempt is not None else after.incumbent
        found.append(Notice(kind="transition", ref=ref, reason=done.event.reason, **phases))
    if after.outcome is not None and after.outcome != before.outcome and done.event.kind != "satisfied":
        kind = _BY_RESULT[after.outcome.result]
        found.append(Notice(kind=kind, ref=after.outcome.ref, reason=after.outcome.reason, **phases))
    if after.state == "safe-mode" and before.state in ("running", "rolling-back"):
        found.append(Notice(kind="safe-mode", ref=after.incumbent, reason=done.event.reason, **phases))
    return tuple(found)
