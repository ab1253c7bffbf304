"""A device's whole story: what was done to it, what it did, how each version behaved, by the controller's clock."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import wherry
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.plan import Target
from wherry.controller.errors import NotFound
from wherry.controller.operations import devices, pins
from wherry.controller.operations.actions import record_action
from wherry.controller.operations.story import Story, story
from wherry.protocol.down.action import Action

pytestmark = pytest.mark.slow


def lived(depot: Depot, device: str = "pi-1") -> Story:
    """Two rollouts, of which the second failed on the device; an order, a pin, and days without a connection."""
    for salt in "ab":
        depot.version(salt)
    depot.device(device)
    depot.now_s = 1100.0
    complete(depot, 1, target=Target(devices=(device,)))
    depot.telemetry(device, depot.runs(device), latencies_ms=[1.0] * 99 + [50.0], errors=2, correct=90)
    depot.now_s = 1200.0
    start(depot, 2, target=Target(devices=(device,)))
    wanted = depot.wanted(device)
    assert wanted is not None
    for seq, phases in enumerate((("running", "preflight"), ("preflight", "download"), ("download", "verify"))):
        depot.step(device, seq, wanted.ref, *phases)
    depot.now_s = 1300.0
    depot.refuse(device, "reverted", "p95 of 50 ms is over 20 ms")
    depot.event(device, 9, "reverted", wanted.ref, "p95 of 50 ms is over 20 ms")
    depot.agree(device, 93, 100)
    tick(depot)
    depot.now_s = 1400.0
    order = Action(id="a1", kind="self-test", not_after_s=2000.0)
    record_action(depot.db, device, order, now_s=1400.0, actor="bob")
    pins.pin(depot.db, device, "main", reason="on show", now_s=1500.0, actor="ann")
    return story(depot.db, device)


def test_everything_is_told_once_and_in_order(depot: Depot) -> None:
    told = lived(depot)
    kinds = [entry.kind for entry in told.happenings]
    assert kinds == [
        "first-seen", "online", "sent", "sent", "transition", "transition", "transition",
        "restored", "reverted", "action-sent", "device-pinned",
    ] or kinds == [
        "first-seen", "online", "sent", "sent", "transition", "transition", "transition",
        "reverted", "restored", "action-sent", "device-pinned",
    ]  # fmt: skip
    assert [entry.at_s for entry in told.happenings] == sorted(entry.at_s for entry in told.happenings)
    second = told.happenings[3]
    assert (second.text, second.actor) == ("digits:2 was sent by rollout 2, wave 1 of 1", "ann")
    by_kind = {entry.kind: entry for entry in told.happenings}
    assert by_kind["reverted"].reason == "p95 of 50 ms is over 20 ms"
    assert by_kind["restored"].text == "digits:2 was taken back by rollout 2, to digits:1"
    assert by_kind["reverted"].device_s == 5.0, "its clock was elsewhere"
    assert (by_kind["action-sent"].text, by_kind["action-sent"].actor) == ("asked to self-test (a1)", "bob")
    assert (by_kind["device-pinned"].text, by_kind["device-pinned"].reason) == ("pinned in slot main", "on show")
    assert [pin.reason for pin in told.pins] == ["on show"]


def test_each_version_is_told_with_its_figures(depot: Depot) -> None:
    (reading,) = lived(depot).readings
    assert (reading.version, reading.inferences, reading.errors, reading.labelled) == ("digits:1", 100, 2, 100)
    assert reading.accuracy == 0.9
    assert reading.p50_ms == pytest.approx(1.0, rel=0.05)
    assert (reading.confidence, reading.memory_bytes) == (None, None), "what was not measured is not known"


def test_one_that_is_out_of_service_or_removed_has_its_story_still(depot: Depot) -> None:
    lived(depot)
    devices.decommission(depot.db, "pi-1", reason="sold", now_s=1600.0, actor="ann")
    devices.remove_device(depot.db, "pi-1", now_s=1700.0, actor="ann")
    told = story(depot.db, "pi-1")
    assert [(entry.kind, entry.reason) for entry in told.happenings[-2:]] == [
        ("device-decommissioned", "sold"),
        ("device-removed", ""),
    ]
    assert (told.removed_s, told.device.decommissioned_s) == (1700.0, 1600.0)
    with pytest.raises(NotFound, match="no device 'pi-9'"):
        story(depot.db, "pi-9")


def test_a_story_without_end_is_cut_and_says_so(depot: Depot) -> None:
    depot.device("pi-1")
    for seq in range(12):
        depot.event("pi-1", seq, "worker-crashed", reason=f"crash {seq}")
    told = story(depot.db, "pi-1", max_events=10)
    crashes = [entry.reason for entry in told.happenings if entry.kind == "worker-crashed"]
    assert (crashes, told.cut) == ([f"crash {seq}" for seq in range(2, 12)], True), "the newest, oldest first"
    assert not story(depot.db, "pi-1", max_events=12).cut


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        lived(depot)
        depot.db.close()
        yield desk


def test_a_person_reads_one_line_a_happening(desk: HttpDesk) -> None:
    url = f"http://127.0.0.1:{desk.port}"
    lines = wherry("devices", "story", "pi-1", url=url).out.splitlines()
    assert "  gave the class of the version before to 93 of 100 inputs" in lines
    assert any("digits:2: running → preflight → download → verify" in line for line in lines), "steps are one line"
    assert any("digits:2 was sent by rollout 2, wave 1 of 1, started by ann" in line for line in lines)
    assert "slot main is pinned by ann: on show" in lines
    (row,) = [line.split() for line in lines if line.lstrip().startswith("digits:1  ")]
    assert (row[1:4], row[5]) == (["100", "2", "0"], "90.0"), "answers, errors, crashes, right"
    steps = wherry("devices", "story", "pi-1", "--transitions", url=url).out
    assert "digits:2: preflight → download" in steps
    assert wherry("devices", "story", "pi-9", url=url).status == 2


def test_a_program_reads_the_same(desk: HttpDesk) -> None:
    told = wherry("devices", "story", "pi-1", "--json", url=f"http://127.0.0.1:{desk.port}").json
    assert told == desk.client.get("/devices/pi-1/story").json()
    assert msgspec.convert(told, Story).happenings
