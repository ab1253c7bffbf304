"""The state machine of a slot, as a table: (state, event) -> state, effects, actions.

Rules upheld here:
- A pair that is not in the table raises: it is a bug of ours, never the peer's.
- Until `probation` the incumbent serves; a failure before that never touches it.
- After `probation` has begun a failure goes back to the incumbent and isolates the candidate.
- The record is saved before the actions are carried out, so a power cut finds an intent, not a surprise.
- A version is isolated for what it did, never for what the board could not do.
- Every way through the table ends: tries are counted, and falling back happens once.
"""

from typing import Literal

import msgspec

from wherry.agent.core import effects
from wherry.agent.core.effects import Effect
from wherry.agent.core.record import BEFORE_SWITCH, REST, SlotRecord
from wherry.protocol.up.reported import Phase

EventKind = Literal[
    "assigned", "renewed", "satisfied", "refused", "restore",  # a wish arrived or came up for its turn
    "fits", "unfit", "fetched", "unfetchable", "verified", "corrupt", "unrunnable",
    "self-test-passed", "self-test-failed", "candidate-serving", "candidate-failed",
    "healthy", "breach", "unproven",
    "serving-up", "serving-down", "incumbent-exhausted", "nothing-left", "nothing-to-restore", "incumbent-damaged",
    "serving-prevented", "restart-asked", "trial-due", "power-cut", "power-cut-exhausted",
    "blame-attempt", "blame-incumbent", "blame-all",
]  # fmt: skip
"""`unrunnable` and `serving-prevented`: the board cannot run the version now, which is no fault of the version.
`trial-due`: it has been in safe mode for long, see `boots.py`.
The last three are starts of the agent in a crash loop, by what is given up for it."""

Action = Literal[
    "fetch-manifest", "fetch-blobs", "drop-download", "verify-blobs",
    "start-candidate", "serve-candidate", "resume-candidate", "watch-candidate", "stop-candidate",
    "start-serving", "restart-serving", "replace-serving", "stop-serving",
    "adopt-candidate", "collect-garbage",
]  # fmt: skip
"""What the supervisor is to do. `replace-serving` makes the candidate the one that serves and drains the other;
`adopt-candidate` ends the watch and keeps it."""

Target = Phase | Literal["home"]
"""`home` is where a slot rests: `running` with an incumbent that works, `safe-mode` with one that
does not, `empty` with none."""


class SlotEvent(msgspec.Struct, frozen=True):
    kind: EventKind
    reason: str = ""


class Row(msgspec.Struct, frozen=True):
    to: Target
    effects: tuple[Effect, ...] = ()
    actions: tuple[Action, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """The slot after an event, and what is to be done once it has been saved."""

    before: SlotRecord
    after: SlotRecord
    event: SlotEvent
    actions: tuple[Action, ...]


class Impossible(Exception):
    """An event that cannot happen in this state: a bug in the agent."""


Table = dict[tuple[Phase, EventKind], Row]


def _stay(states: tuple[Phase, ...], event: EventKind, *actions: Action, effect: Effect | None = None) -> Table:
    """Rows that keep the state, for an event that means the same in several."""
    return {(state, event): Row(state, () if effect is None else (effect,), actions) for state in states}


def _leave(states: tuple[Phase, ...], event: EventKind, row: Row) -> Table:
    return {(state, event): row for state in states}


DROP: tuple[Action, ...] = ("stop-candidate", "drop-download")
BACK: tuple[Action, ...] = ("stop-candidate", "start-serving")
FALL_BACK = Row("rolling-back", (effects.fall_back,), ("start-serving",))
FETCH_AGAIN = Row("rolling-back", (effects.forget_incumbent,), ("start-serving",))

# fmt: off
TABLE: Table = {
    # a wish
    **_leave(REST, "assigned", Row("preflight", (effects.begin,), ("fetch-manifest",))),
    ("empty", "restore"): Row("preflight", (effects.begin_again,), ("fetch-manifest",)),
    **_stay(REST, "satisfied", effect=effects.acknowledge),
    **_stay(REST, "refused", effect=effects.refuse),
    **_stay((*BEFORE_SWITCH, "probation"), "renewed", effect=effects.renew),
    **_leave(BEFORE_SWITCH, "assigned", Row("preflight", (effects.abandon, effects.begin), (*DROP, "fetch-manifest"))),
    **_leave(BEFORE_SWITCH, "satisfied", Row("home", (effects.abandon, effects.acknowledge), DROP)),
    **_leave(BEFORE_SWITCH, "refused", Row("home", (effects.abandon, effects.refuse), DROP)),
    **_leave(("probation",), "assigned", Row("rolling-back", (effects.abandon,), BACK)),
    **_leave(("probation",), "satisfied", Row("rolling-back", (effects.abandon,), BACK)),
    **_leave(("probation",), "refused", Row("rolling-back", (effects.abandon,), BACK)),

    # the way of an attempt
    ("preflight", "fits"): Row("download", (), ("fetch-blobs",)),
    ("preflight", "unfit"): Row("home", (effects.reject,), DROP),
    ("download", "fetched"): Row("verify", (), ("verify-blobs",)),
    ("verify", "verified"): Row("self-test", (effects.count_try,), ("start-candidate",)),
    ("self-test", "self-test-passed"): Row("switch", (), ("serve-candidate",)),
    ("switch", "candidate-serving"): Row("probation", (), ("replace-serving", "watch-candidate")),
    ("probation", "candidate-serving"): Row("probation", (), ("watch-candidate",)),
    ("probation", "healthy"): Row("running", (effects.commit,), ("adopt-candidate", "collect-garbage")),

    # its failures
    **_leave(("preflight", "download"), "unfetchable", Row("home", (effects.reject,), DROP)),
    **_leave(("verify", "self-test"), "corrupt", Row("home", (effects.reject,), DROP)),
    ("self-test", "unrunnable"): Row("home", (effects.reject,), DROP),
    **_leave(("probation",), "corrupt", Row("rolling-back", (effects.revert,), BACK)),
    **_leave(("probation",), "unrunnable", Row("rolling-back", (effects.revert,), BACK)),
    ("self-test", "self-test-failed"): Row("home", (effects.quarantine, effects.reject), DROP),
    **_leave(("self-test", "switch"), "candidate-failed", Row("home", (effects.quarantine, effects.reject), DROP)),
    **_leave(("probation",), "candidate-failed", Row("rolling-back", (effects.quarantine, effects.revert), BACK)),
    **_leave(("probation",), "breach", Row("rolling-back", (effects.quarantine, effects.revert), BACK)),
    ("probation", "unproven"): Row("rolling-back", (effects.revert,), BACK),

    # the incumbent's worker
    ("rolling-back", "serving-up"): Row("running", (), ("collect-garbage",)),
    **_stay(("running", *BEFORE_SWITCH), "serving-up"),
    **_stay(("running", "rolling-back", *BEFORE_SWITCH), "serving-down", "restart-serving"),
    **_stay(("running", *BEFORE_SWITCH), "serving-prevented", "restart-serving"),
    ("rolling-back", "serving-prevented"): Row("running", (), ("restart-serving", "collect-garbage")),
    **_leave(("running", "rolling-back"), "incumbent-exhausted", FALL_BACK),
    **_leave(("running", "rolling-back"), "nothing-left", Row("safe-mode", (effects.give_up,), ("stop-serving",))),
    ("rolling-back", "nothing-to-restore"): Row("home", (), ("collect-garbage",)),
    **_leave(("running", "rolling-back"), "incumbent-damaged", FETCH_AGAIN),
    **_stay(BEFORE_SWITCH, "incumbent-damaged", "start-serving", effect=effects.forget_incumbent),

    # the operator
    ("running", "restart-asked"): Row("running", (), ("stop-serving", "start-serving")),
    ("safe-mode", "restart-asked"): Row("rolling-back", (effects.trust_again,), ("start-serving",)),

    # time
    ("safe-mode", "trial-due"): Row("rolling-back", (effects.trust_again,), ("start-serving",)),
}
# fmt: on


def step(slot: SlotRecord, event: SlotEvent, table: Table | None = None) -> Step:
    """Apply one event. Raises Impossible for a pair that is not in the table."""
    row = (TABLE if table is None else table).get((slot.state, event.kind))
    if row is None:
        raise Impossible(f"{event.kind} in state {slot.state}")
    after = slot
    for effect in row.effects:
        after = effect(after, slot.state, event.reason)
    after = msgspec.structs.replace(after, state=home(after) if row.to == "home" else row.to)
    return Step(slot, after, event, row.actions)


def home(slot: SlotRecord) -> Phase:
    """Where the slot rests when nothing is attempted."""
    if slot.incumbent is None:
        return "empty"
    return "safe-mode" if slot.incumbent_failed else "running"


def knows(state: Phase, kind: EventKind) -> bool:
    """Whether an event has a row; for what may be asked at any time, such as a restart."""
    return (state, kind) in TABLE


def pursue(slot: SlotRecord) -> SlotEvent | None:
    """The event that the newest wish amounts to in this state; None where nothing is to be done now."""
    wish = slot.wish
    if wish is None or slot.settled or slot.state == "rolling-back":
        is_lost = slot.state == "empty" and slot.lost is not None and slot.quarantined(slot.lost.artifact) is None
        return SlotEvent("restore", "its files were damaged") if is_lost else None
    if slot.attempt is not None and slot.attempt.ref == wish.ref:
        return None if slot.attempt.wish == wish else SlotEvent("renewed")
    if slot.incumbent == wish.ref and not slot.incumbent_failed:
        return SlotEvent("satisfied")
    reason = slot.quarantined(wish.assignment.artifact)
    return SlotEvent("assigned") if reason is None else SlotEvent("refused", f"in quarantine: {reason}")


def exhausted(slot: SlotRecord, reason: str) -> SlotEvent:
    """The incumbent's worker failed too often: fall back once, then stop trying."""
    return SlotEvent("nothing-left" if slot.last_good is None else "incumbent-exhausted", reason)
