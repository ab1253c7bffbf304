"""Which events a step is worth to the controller."""

from typing import Literal

import msgspec

from wherry.agent.core.slot import Step
from wherry.protocol.types import VersionRef
from wherry.protocol.up.event import EventKind

_BY_RESULT: dict[str, EventKind] = {"committed": "committed", "rejected": "rejected", "reverted": "reverted"}


ALARMING: frozenset[EventKind] = frozenset(
    {"rejected", "reverted", "worker-crashed", "block-damaged", "safe-mode", "action-refused", "error"}
)
"""What somebody who watches for trouble wants to see."""


OUTCOMES: frozenset[EventKind] = frozenset(
    {"rejected", "committed", "reverted", "safe-mode", "action-done", "action-refused"}
)
"""How something ended; the others explain it, and are the first to go where there is no room."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An event without its number, time and slot; the fields are those of `protocol.up.event`."""

    kind: EventKind
    ref: VersionRef | None = None
    from_phase: str = ""
    to_phase: str = ""
    reason: str = ""
    digest: str | None = None
    block: int | None = None
    transport: Literal["", "mqtt", "http"] = ""
    action_id: str = ""


def notices(done: Step) -> tuple[Notice, ...]:
    """The transition, and how an attempt ended, in this order."""
    found: list[Notice] = []
    before, after = done.before, done.after

    def notice(kind: EventKind, ref: VersionRef | None, reason: str) -> None:
        found.append(Notice(kind=kind, ref=ref, reason=reason, from_phase=before.state, to_phase=after.state))

    attempt = after.attempt or before.attempt
    if before.state != after.state:
        notice("transition", after.incumbent if attempt is None else attempt.ref, done.event.reason)
    if after.outcome is not None and after.outcome != before.outcome and done.event.kind != "satisfied":
        notice(_BY_RESULT[after.outcome.result], after.outcome.ref, after.outcome.reason)
    entered = before.state in ("running", "rolling-back") or not before.incumbent_failed
    if after.state == "safe-mode" and before.state != "safe-mode" and entered:
        notice("safe-mode", after.incumbent, done.event.reason)
    return tuple(found)
