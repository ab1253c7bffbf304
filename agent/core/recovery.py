"""What a slot does when the agent starts again: one row for every state that can be on disk.

A restart and a power cut look the same. The candidate's starts are counted before each one, so a
version that takes the board down is given up after `TRY_LIMIT` starts. What failed in safe mode is tried
once more: the start may come of the operator's having mended what it failed of.
"""

from wherry.agent.core import effects
from wherry.agent.core.record import SlotRecord
from wherry.agent.core.slot import Row, SlotEvent, Step, Table, step

TRY_LIMIT = 3
"""Starts of one candidate, the first included, before it is held to be what stops the board."""

GIVE_UP = Row("home", (effects.quarantine, effects.reject), ("start-serving", "drop-download"))

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
}
# fmt: on


def recover(slot: SlotRecord) -> Step:
    """The step that takes a slot from what was on disk to where it goes on."""
    attempt = slot.attempt
    if slot.state in ("self-test", "switch", "probation") and attempt is not None and attempt.tries >= TRY_LIMIT:
        reason = f"the agent or the board stopped {attempt.tries} times in {slot.state}, limit {TRY_LIMIT}"
        return step(slot, SlotEvent("power-cut-exhausted", reason), RECOVERY)
    return step(slot, SlotEvent("power-cut", "the agent started"), RECOVERY)
