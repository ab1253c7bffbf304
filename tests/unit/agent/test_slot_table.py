"""The slot's tables: complete, reachable, always with a way out, and in step with the documentation."""

from pathlib import Path
from typing import get_args

import pytest

from wherry.agent.core import diagram
from wherry.agent.core.record import REST, SlotRecord
from wherry.agent.core.recovery import RECOVERY
from wherry.agent.core.slot import TABLE, Impossible, SlotEvent, step
from wherry.protocol.up.reported import Phase

STATES = get_args(Phase)
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "slot-state-machine.md"


def _next(state: str) -> set[str]:
    found: set[str] = set()
    for (origin, _), row in {**TABLE, **RECOVERY}.items():
        if origin == state:
            found |= set(REST) if row.to == "home" else {row.to}
    return found


def _reachable(start: str) -> set[str]:
    seen, open_states = {start}, [start]
    while open_states:
        for state in _next(open_states.pop()) - seen:
            seen.add(state)
            open_states.append(state)
    return seen


def test_every_state_is_reachable_from_an_empty_slot() -> None:
    assert _reachable("empty") == set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_come_to_rest(state: str) -> None:
    assert _reachable(state) & {"running", "safe-mode", "empty"}


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_row_for_a_power_cut(state: str) -> None:
    assert [origin for origin, _ in RECOVERY].count(state) >= 1


@pytest.mark.parametrize("state", ["preflight", "download", "verify", "self-test", "switch", "probation"])
def test_every_state_of_an_attempt_leaves_on_failure(state: str) -> None:
    failures = {"unfit", "unfetchable", "corrupt", "unrunnable", "self-test-failed", "candidate-failed", "breach"}
    left = [row.to for (origin, event), row in TABLE.items() if origin == state and event in failures]
    assert left
    assert state not in left


def test_a_pair_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(Impossible, match="healthy in state empty"):
        step(SlotRecord(), SlotEvent("healthy"))


def test_the_documented_diagram_is_the_table() -> None:
    assert PAGE.read_text() == diagram.page(), "run: python -m wherry.agent.core.diagram > docs/reference/" + PAGE.name
