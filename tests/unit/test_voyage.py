"""The voyage says so when a step does not come out as told: otherwise its word would be worth nothing."""

import json
from pathlib import Path

import pytest

from examples.voyage.__main__ import sail
from examples.voyage.harbour import Harbour
from examples.voyage.story import Step, Voyage
from examples.voyage.waiting import NotAsTold, require, wait_for
from wherry.controller.errors import Conflict


class NoShipyard:
    """A voyage that ends before anything is built."""


def refuse(_voyage: Voyage) -> str:
    raise NotAsTold("the canary sank")


def conflict(_voyage: Voyage) -> str:
    raise Conflict("not now", "wait")


def stumble(_voyage: Voyage) -> str:
    raise IndexError("list index out of range")


def fine(_voyage: Voyage) -> str:
    return "seen"


def take(directory: Path, *story: Step) -> tuple[bool, dict[str, object]]:
    voyage = Voyage(NoShipyard(), Harbour(directory / "controller", lambda _command: None), [])  # type: ignore[arg-type]
    ok = sail(voyage, directory, story)
    return ok, json.loads((directory / "summary.json").read_text())


@pytest.mark.parametrize(
    ("step", "detail"),
    [(refuse, "the canary sank"), (conflict, "not now; wait"), (stumble, "IndexError: list index out of range")],
)
def test_a_step_that_fails_ends_the_voyage_and_is_in_the_summary(tmp_path: Path, step: Step, detail: str) -> None:
    ok, summary = take(tmp_path, ("a", fine), ("b", step), ("c", fine))  # type: ignore[arg-type]
    assert ok is False
    assert summary["ok"] is False
    assert [(one["name"], one["ok"], one["detail"]) for one in summary["steps"]] == [  # type: ignore[attr-defined]
        ("a", True, "seen"),
        ("b", False, detail),
    ]


def test_a_voyage_of_good_steps_is_ok(tmp_path: Path) -> None:
    ok, summary = take(tmp_path, ("a", fine), ("b", fine))
    assert (ok, summary["ok"], summary["devices"]) == (True, True, [])


def test_waiting_ends_with_what_was_waited_for() -> None:
    with pytest.raises(NotAsTold, match="not within 0 s: rain"):
        wait_for(lambda: None, "rain", limit_s=0)
    assert wait_for(lambda: 7, "seven") == 7
    with pytest.raises(NotAsTold, match="no"):
        require([], "no")
