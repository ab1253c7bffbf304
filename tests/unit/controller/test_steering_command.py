"""What an operator does with a rollout that is under way, and pins: as a person gives the commands."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import Said, wherry
from wherry.controller.operations import rollouts

pytestmark = pytest.mark.slow

WHY = ("--reason", "looked at it by hand")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    """Two boards run version 1; version 2 is committed on the first and waits for inferences."""
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.now_s = time.time()
        depot.version("a")
        depot.version("b")
        for device in ("pi-1", "pi-2"):
            depot.device(device)
        plan = make_plan(2, min_inferences=10)
        rollouts.start(depot.db, plan, now_s=depot.now_s, actor="ann")
        first = next(device for device in ("pi-1", "pi-2") if depot.wanted(device) is not None)
        depot.commit(first)
        rollouts.tick(depot.db, now_s=depot.now_s)
        depot.db.close()
        yield desk


def rollout(desk: HttpDesk, *arguments: str) -> Said:
    return wherry("rollout", *arguments, url=f"http://127.0.0.1:{desk.port}")


def devices(desk: HttpDesk, *arguments: str) -> Said:
    return wherry("devices", *arguments, url=f"http://127.0.0.1:{desk.port}")


def test_the_next_wave_is_opened_by_hand(desk: HttpDesk) -> None:
    said = rollout(desk, "promote", "1", "--yes", *WHY)
    assert (said.status, "wave 2 of 2" in said.out) == (0, True)
    assert rollout(desk, "promote", "1", "--wave", "2", "--yes", "--json").json["wave"] == 2
    beyond = rollout(desk, "promote", "1", "--yes")
    assert beyond.status == 2


def test_nothing_dangerous_is_done_where_nobody_can_be_asked(desk: HttpDesk) -> None:
    for order in (("promote", "1"), ("hold", "1"), ("override", "1", "inferences", *WHY)):
        said = rollout(desk, *order)
        assert (said.status, said.err) == (2, "wherry: nobody is there to confirm; add --yes to do it without asking\n")


def test_a_rollout_is_held(desk: HttpDesk) -> None:
    said = rollout(desk, "hold", "1", "--yes", *WHY)
    assert (said.status, " held" in said.out, "looked at it by hand" in said.out) == (0, True, True)


def test_a_gate_is_overruled_and_judges_again(desk: HttpDesk) -> None:
    found = rollout(desk, "override", "1", "inferences", "--yes", "--json", *WHY).json
    assert [entry["gate"] for entry in found["overrides"]] == ["inferences"]
    assert rollout(desk, "withdraw", "1", "inferences", "--json").json["overrides"] == []
    said = rollout(desk, "override", "1", "luck", "--yes", *WHY)
    assert said.status == 2
    assert "inferences" in said.err


def test_a_retry_names_who_is_sent_it_again(desk: HttpDesk) -> None:
    said = rollout(desk, "retry", "1")
    assert (said.status, said.out.splitlines()[0]) == (0, "sent again to 0 devices")


def test_verdicts_show_what_was_not_ok(desk: HttpDesk) -> None:
    said = rollout(desk, "verdicts", "1")
    assert (said.status, "inferences" in said.out, "0 of 10 needed inferences seen" in said.out) == (0, True, True)
    newest = rollout(desk, "verdicts", "1", "--last", "1", "--json").json
    assert len(newest) == 1
    told = {entry["gate"]: entry for entry in newest[0]["results"]}
    assert told["inferences"]["evidence"]["value"] == 0


def test_a_slot_is_pinned_and_unpinned(desk: HttpDesk) -> None:
    assert devices(desk, "pins").out == "nothing is pinned\n"
    assert devices(desk, "pin", "pi-1", "--reason", "the lab's reference").status == 0
    assert [entry["reason"] for entry in devices(desk, "pins", "--json").json] == ["the lab's reference"]
    assert devices(desk, "unpin", "pi-1").out == "slot main of pi-1 is pinned no more\n"
    assert devices(desk, "unpin", "pi-1").out == "slot main of pi-1 was not pinned\n"


def test_what_is_not_there_is_said_in_one_line(desk: HttpDesk) -> None:
    said = rollout(desk, "hold", "9", "--yes")
    assert said.status == 2
    assert said.err.startswith("wherry: no rollout 9")
    assert devices(desk, "pin", "pi-9", *WHY).err.startswith("wherry: no device 'pi-9'")
