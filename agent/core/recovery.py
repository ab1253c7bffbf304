"""What a slot does when the agent starts again: one row for every state that can be on disk.

A restart and a power cut look the same. The candidate's starts are counted before each one, so a
version that takes the board down is given up after `TRY_LIMIT` starts. What failed in safe mode is tried
once more: the start may come of the operator's having mended what it failed of.

In a crash loop (`boots.py`) more is given up with each stage: what is attempted or wished, the incumbent, and
at last everything. What never ran is not isolated for it. A wish is answered at once in all stages, so that the next
document finds a slot that rests.
"""

from wherry.agent.core import effects
from wherry.agent.core.boots import BLAME_ALL_AT, Blame, because, blame
from wherry.agent.core.record import BEFORE_SWITCH, DeviceRecord, SlotRecord
from wherry.agent.core.slot import EventKind, Row, SlotEvent, Step, Table, step

TRY_LIMIT = 3
"""Starts of one candidate, the first included, before it is held to be what stops the board."""

GIVE_UP = Row("home", (effects.quarantine, effects.reject), ("start-serving", "drop-download"))
GIVE_UP_ALL = Row(
    "home", (effects.quarantine_if_tried, effects.reject, effects.decline, effects.distrust), ("drop-download",)
)
FALL_BACK = Row("rolling-back", (effects.trust_again, effects.fall_back), ("start-serving",))
RUN_NOTHING = Row("home", (effects.decline, effects.distrust))

# fmt: off
RECOVERY: Table = {
    ("empty", "power-cut"): Row("empty"),
    ("running", "power-cut"): Row("running", (), ("start-serving",)),
    ("preflight", "power-cut"): Row("preflight", (), ("start-serving", "fetch-manifest")),
    ("download", "power-cut"): Row("download", (), ("start-serving", "fetch-blobs")),
    ("verify", "power-cut"): Row("download", (), ("start-serving", "fetch-blobs")),
    ("self-test", "power-cut"): Row("self-test", (effects.count_try,), ("start-serving", "start-candidate")),
    ("self-test", "power-cut-exhausted"): GIVE_UP,
    ("switch", "power-cut"): Row("self-test", (effects.count_try,), ("start-serving", "start-candidate")),
    ("switch", "power-cut-exhausted"): GIVE_UP,
    ("probation", "power-cut"): Row("probation", (effects.count_try,), ("resume-candidate",)),
    ("probation", "power-cut-exhausted"): Row("rolling-back", (effects.quarantine, effects.revert), ("start-serving",)),
    ("rolling-back", "power-cut"): Row("rolling-back", (), ("start-serving",)),
    ("safe-mode", "power-cut"): Row("rolling-back", (effects.trust_again,), ("start-serving",)),

    # a crash loop
    ("empty", "blame-attempt"): Row("empty", (effects.decline,)),
    ("running", "blame-attempt"): Row("running", (effects.decline,), ("start-serving",)),
    **{
        (state, "blame-attempt"): Row(
            "home", (effects.quarantine_if_tried, effects.reject, effects.decline), ("start-serving", "drop-download")
        )
        for state in BEFORE_SWITCH
    },
    ("probation", "blame-attempt"): Row(
        "rolling-back", (effects.quarantine, effects.revert, effects.decline), ("start-serving",)
    ),
    ("rolling-back", "blame-attempt"): Row("rolling-back", (effects.decline,), ("start-serving",)),
    ("safe-mode", "blame-attempt"): Row("rolling-back", (effects.decline, effects.trust_again), ("start-serving",)),
    **{(state, "blame-incumbent"): FALL_BACK for state in ("running", "rolling-back", "safe-mode")},
    **{(state, "blame-all"): RUN_NOTHING for state in ("empty", "running", "rolling-back", "safe-mode")},
    **{(state, "blame-all"): GIVE_UP_ALL for state in BEFORE_SWITCH},
    ("probation", "blame-all"): Row(
        "home", (effects.quarantine, effects.revert, effects.decline, effects.distrust), ("drop-download",)
    ),
}
# fmt: on


def recover(slot: SlotRecord, unsteady_boots: int = 0, *, is_suspect: bool = True) -> Step:
    """The step that takes a slot from what was on disk to where it goes on, at such a start in a row."""
    has_turn = is_suspect or unsteady_boots >= BLAME_ALL_AT - 1
    if (blamed := _blamed(slot, blame(unsteady_boots), has_turn=has_turn)) is not None:
        return step(slot, SlotEvent(blamed, because(unsteady_boots)), RECOVERY)
    attempt = slot.attempt
    if slot.state in ("self-test", "switch", "probation") and attempt is not None and attempt.tries >= TRY_LIMIT:
        reason = f"the agent or the board stopped {attempt.tries} times in {slot.state}, limit {TRY_LIMIT}"
        return step(slot, SlotEvent("power-cut-exhausted", reason), RECOVERY)
    return step(slot, SlotEvent("power-cut", "the agent started"), RECOVERY)


def suspect(record: DeviceRecord) -> str | None:
    """The slot whose incumbent is blamed before those of other slots: the one that was committed last."""
    clear = [(slot.committed, name) for name, slot in record.slots.items() if _can_fall_back(slot)]
    return max(clear)[1] if clear else None


def _can_fall_back(slot: SlotRecord) -> bool:
    """Nothing is attempted or wished that would be blamed first, and something is there to fall back to."""
    return slot.attempt is None and slot.settled and slot.incumbent is not None and slot.last_good is not None


def _blamed(slot: SlotRecord, blamed: Blame, *, has_turn: bool) -> EventKind | None:
    if blamed == "nothing":
        return None
    if blamed == "all":
        return "blame-all"
    falls_back = blamed == "incumbent" and has_turn and _can_fall_back(slot)
    return "blame-incumbent" if falls_back else "blame-attempt"
