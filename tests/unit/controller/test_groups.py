"""Groups: queries with a name, looked up when they are used and never again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import Said, wherry
from tests.unit.controller.test_rollouts import complete
from wherry.controller.core.plan import Target
from wherry.controller.core.targeting import parse_target
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.operations import audit, devices, groups, rollouts
from wherry.controller.operations.rollback import rollback


def put(depot: Depot, query: str, name: str = "lab") -> groups.GroupView:
    return groups.put_group(depot.db, name, query, now_s=depot.now_s, actor="ann")


def test_a_group_is_saved_counted_moved_and_deleted(fleet: Depot) -> None:
    assert (put(fleet, "device=pi-1").devices, put(fleet, "device=pi-1").created) == (1, False)
    assert put(fleet, "device in (pi-1, pi-2)").devices == 2
    assert [(group.name, group.devices) for group in groups.list_groups(fleet.db)] == [("lab", 2)]
    groups.delete_group(fleet.db, "lab", now_s=1.0, actor="ann")
    with pytest.raises(NotFound, match="no group @lab"):
        groups.get_group(fleet.db, "lab")
    told = [row.action for row in audit.list_audit(fleet.db, subject="@lab")]
    assert told == ["group-deleted", "group-set", "group-set"], "the repetition changed nothing"


@pytest.mark.parametrize(
    ("name", "query", "words"),
    [
        ("Lab", "device=pi-1", "not a group: 'Lab'"),
        ("lab", "ram_mb>=big", "column 9 of the query"),
        ("lab", "device=pi-1 or @lab", "column 16 of the query: a group does not name groups, and this is @lab"),
        ("lab", "@other", "column 1 of the query: a group does not name groups"),
    ],
)
def test_what_is_no_group_is_refused(fleet: Depot, name: str, query: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        put(fleet, query, name)
    assert words in refused.value.message
    assert groups.list_groups(fleet.db) == []


def test_devices_are_listed_by_a_group_and_what_narrows_it(fleet: Depot) -> None:
    put(fleet, "device=pi-1 or device=pi-2")
    found = devices.list_devices(fleet.db, parse_target("@lab and not device=pi-1"))
    assert [device.id for device in found] == ["pi-2"]
    with pytest.raises(Invalid, match="column 12 of the query, at '@hall': no such group; there are @lab"):
        devices.list_devices(fleet.db, parse_target("line=7 and @hall"))


def test_a_rollout_keeps_what_the_group_meant_when_it_was_planned(fleet: Depot) -> None:
    put(fleet, "device in (pi-1, pi-2)")
    plan = make_plan(1, target=Target(query="@lab"), late_joiners="join")
    started = rollouts.start(fleet.db, plan, now_s=fleet.now_s, actor="ann")
    assert started.plan.target.query == "(device in (pi-1, pi-2))"
    put(fleet, "device=pi-4")
    rollouts.tick(fleet.db, now_s=fleet.now_s)
    assert sum(rollouts.get_rollout(fleet.db, started.id).counts.values()) == 2
    groups.delete_group(fleet.db, "lab", now_s=1.0, actor="ann")
    rollouts.tick(fleet.db, now_s=fleet.now_s)
    assert rollouts.get_rollout(fleet.db, started.id).state == "running"


def test_the_same_rollback_of_a_group_is_known_again(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    put(fleet, "device in (pi-1, pi-2)")

    def back() -> rollouts.RolloutView:
        return rollback(fleet.db, "digits", 1, target=Target(query="@lab"), now_s=fleet.now_s, actor="ann")

    first = back()
    assert (sum(first.counts.values()), back().id) == (2, first.id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.device("pi-1", labels={"site": "berlin"})
        depot.device("pi-2")
        depot.db.close()
        yield desk


def command(desk: HttpDesk, *arguments: str) -> Said:
    return wherry(*arguments, url=f"http://127.0.0.1:{desk.port}")


@pytest.mark.slow
def test_a_person_saves_uses_and_deletes_a_group(desk: HttpDesk) -> None:
    assert command(desk, "groups").out.startswith("no groups yet")
    assert command(desk, "groups", "set", "@lab", "site=berlin").out == "@lab means 1 devices now\n"
    assert command(desk, "groups", "set", "lab", "site=berlin", "--json").json["created"] is False
    assert "@lab" in command(desk, "groups").out
    listed = command(desk, "devices", "list", "--where", "@lab", "--json").json
    assert [device["id"] for device in listed] == ["pi-1"]
    wrong = command(desk, "groups", "set", "lab", "site=berlin and ram_mb>=big")
    assert (wrong.status, "column 25 of the query" in wrong.err) == (2, True)
    assert command(desk, "groups", "delete", "lab").status == 2, "nobody confirms"
    assert command(desk, "groups", "delete", "lab", "--yes").out == "@lab is deleted\n"
    assert command(desk, "groups", "delete", "lab", "--yes").status == 2


def test_a_program_saves_and_reads_a_group(desk: HttpDesk) -> None:
    statuses = [desk.client.put("/groups/lab", json={"query": "site=berlin"}).status_code for _ in range(2)]
    assert statuses == [201, 200]
    assert desk.client.get("/groups/lab").json()["devices"] == 1
    assert desk.client.get("/groups", params={"after": "lab"}).json() == []
    assert desk.client.put("/groups/La%20b", json={"query": "site=berlin"}).status_code == 422
    assert desk.client.put("/groups/lab", json={"query": 3}).status_code == 422
    assert desk.client.delete("/groups/none").status_code == 404
