"""What gates of a real rollout said: counted once, kept with its numbers, and made again from them."""

from pathlib import Path

import pytest

from tests.support.depot import FLEET, Depot
from tests.support.http_desk import serving
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.gates import verdict_of
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import NotFound
from wherry.controller.operations import behaviours, facts, ingest, rollouts
from wherry.controller.operations.members import behaviour
from wherry.controller.operations.verdicts import VerdictView, list_verdicts
from wherry.controller.store.tables import BehaviourRow, RolloutDeviceRow
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Event, Status, Telemetry
from wherry.protocol.up.telemetry import SystemReading

SYSTEM = SystemReading(
    cpu_share=0.2, load_1min=0.5, ram_available_bytes=2**29, disk_free_bytes=2**33, supervisor_rss_bytes=2**25
)


def runs(depot: Depot, device: str) -> VersionRef:
    found = depot.runs(device)
    assert found is not None
    return found


def seen(depot: Depot, device: str, version: int) -> behaviours.Behaviour:
    """All that is known of how the version behaves there."""
    with depot.db.read() as session:
        row = session.get(BehaviourRow, (device, "main", "digits", version))
        return behaviour(row.body if row is not None else None)


def said(verdict: VerdictView, gate: str) -> str:
    return next(entry.verdict for entry in verdict.results if entry.gate == gate)


def tell_twice(depot: Depot, ref: VersionRef) -> tuple[list[bool], list[bool]]:
    """A window and a crash of the worker arrive, and after a restart of the controller once more."""
    window = Telemetry(
        boot_id="b9", window=1, window_s=10.0, slot="main", ref=ref, phase="running", inferences=7, errors=1,
        latency=LatencySketch(counts=(7,)), predictions={3: 7}, labelled=5, correct=4, system=SYSTEM,
    )  # fmt: skip
    crash = Event(boot_id="b9", seq=1, at_s=5.0, kind="worker-crashed", slot="main", ref=ref)
    windows, crashes = [], []
    for _ in range(2):
        windows.append(ingest.apply_telemetry(depot.db, "pi-1", window, now_s=depot.now_s))
        crashes.append(ingest.apply_event(depot.db, "pi-1", crash, now_s=depot.now_s))
        depot.reopen()
    return windows, crashes


def test_windows_and_crashes_are_added_once_over_repeats_and_restarts(fleet: Depot) -> None:
    complete(fleet, 1)
    assert tell_twice(fleet, runs(fleet, "pi-1")) == ([True, False], [True, False])
    found = seen(fleet, "pi-1", 1)
    assert (found.inferences, found.errors, found.labelled, found.correct, found.crashes) == (7, 1, 5, 4, 1)
    assert (found.latency.count, found.predictions) == (7, {3: 7})


def test_without_the_unique_rows_they_would_be_added_twice(fleet: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what arrived is taken for new whether its row was there or not."""
    complete(fleet, 1)
    insert = facts._insert_new
    monkeypatch.setattr(facts, "_insert_new", lambda *values: [new or True for new in insert(*values)])
    tell_twice(fleet, runs(fleet, "pi-1"))
    found = seen(fleet, "pi-1", 1)
    assert (found.inferences, found.crashes) == (14, 2)


def test_what_is_counted_is_written_with_what_was_told_or_not_at_all(
    fleet: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(fleet, 1)
    ref = runs(fleet, "pi-1")

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(behaviours, "add", die)
        with pytest.raises(RuntimeError):
            tell_twice(fleet, ref)
    assert tell_twice(fleet, ref)[0] == [True, False], "the window of before was not written down without its sums"
    assert seen(fleet, "pi-1", 1).inferences == 7


def test_a_version_begins_anew_when_it_is_sent_and_its_predecessor_is_remembered(fleet: Depot) -> None:
    complete(fleet, 1)
    old = runs(fleet, "pi-1")
    fleet.telemetry("pi-1", old, latencies_ms=[5.0] * 30)
    rollout = start(fleet, 2)
    with fleet.db.read() as session:
        row = session.get_one(RolloutDeviceRow, (rollout.id, "pi-1"))
        assert behaviour(row.before).inferences == 30
    fleet.commit("pi-1")
    fleet.telemetry("pi-1", runs(fleet, "pi-1"), latencies_ms=[1.0] * 20)
    rollouts.abort(fleet.db, rollout.id, restore="revert", now_s=fleet.now_s, actor="ann")
    fleet.commit("pi-1")
    tick(fleet)
    assert (seen(fleet, "pi-1", 1).inferences, seen(fleet, "pi-1", 2).inferences) == (30, 20)
    start(fleet, 2)
    assert seen(fleet, "pi-1", 2).inferences == 0


def test_a_verdict_is_kept_when_it_changes_at_promotions_and_at_the_breach(fleet: Depot) -> None:
    complete(fleet, 1)
    rollout = start(fleet, 2, soak_s=30.0, min_inferences=10)
    fleet.commit("pi-1")
    for _ in range(5):
        tick(fleet)
    waiting = list_verdicts(fleet.db, rollout.id)
    assert said(waiting[0], "inferences") == "wait"
    assert [said(entry, "settled") for entry in waiting] == ["ok", "wait"], "five ticks that said the same are one row"
    fleet.telemetry("pi-1", runs(fleet, "pi-1"), latencies_ms=[1.0] * 10)
    assert tick(fleet, 31.0) == ("pi-2",)
    promoted = next(entry for entry in list_verdicts(fleet.db, rollout.id) if entry.wave == 1)
    assert {entry.verdict for entry in promoted.results} == {"ok"}
    fleet.refuse("pi-2", "reverted", "p95 90 ms, limit 20 ms")
    tick(fleet)
    newest = list_verdicts(fleet.db, rollout.id)[0]
    assert (newest.wave, said(newest, "failures")) == (2, "breach")
    with pytest.raises(NotFound):
        list_verdicts(fleet.db, 99)


def test_every_stored_verdict_follows_from_its_stored_numbers(fleet: Depot) -> None:
    complete(fleet, 1)
    for device in ("pi-1", "pi-2"):
        fleet.telemetry(device, runs(fleet, device), latencies_ms=[5.0] * 100, correct=95)
    rollout = start(fleet, 2, soak_s=5.0, min_inferences=10, max_p95_ratio=2.0, min_accuracy=0.9)
    fleet.commit("pi-1")
    tick(fleet)
    fleet.telemetry("pi-1", runs(fleet, "pi-1"), latencies_ms=[6.0] * 80, correct=79)
    assert tick(fleet, 6.0) == ("pi-2",)
    fleet.commit("pi-2")
    fleet.telemetry("pi-2", runs(fleet, "pi-2"), latencies_ms=[30.0] * 80, errors=9, correct=20)
    tick(fleet, 6.0)
    kept = [result for verdict in list_verdicts(fleet.db, rollout.id) for result in verdict.results]
    assert {result.verdict for result in kept} == {"ok", "wait", "breach"}
    assert {result.gate for result in kept if result.verdict == "breach"} == {"errors", "latency", "accuracy"}
    assert [verdict_of(result.gate, result.evidence) for result in kept] == [result.verdict for result in kept]


def test_a_canary_whose_worker_crashes_after_the_commit_stops_the_rollout(fleet: Depot) -> None:
    complete(fleet, 1)
    rollout = start(fleet, 2, soak_s=60.0)
    fleet.commit("pi-1")
    tick(fleet)
    fleet.event("pi-1", 7, "worker-crashed", runs(fleet, "pi-1"))
    assert tick(fleet) == ("pi-1",)
    assert "crashes: 1 of 1 devices had a worker that crashed" in rollouts.get_rollout(fleet.db, rollout.id).reason


def test_each_device_is_compared_with_what_itself_ran_before_though_it_ran_the_others_version_once(
    fleet: Depot,
) -> None:
    complete(fleet, 1)
    for device, count in (("pi-1", 30), ("pi-2", 40)):
        fleet.telemetry(device, runs(fleet, device), latencies_ms=[5.0] * count)
    partly = start(fleet, 2, target=Target(devices=("pi-1",)))
    fleet.commit("pi-1")
    fleet.telemetry("pi-1", runs(fleet, "pi-1"), latencies_ms=[5.0] * 7)
    rollouts.abort(fleet.db, partly.id, restore="keep", now_s=fleet.now_s, actor="ann")
    everywhere = start(fleet, 3, waves=FULL_FLEET)
    with fleet.db.read() as session:
        rows = [session.get_one(RolloutDeviceRow, (everywhere.id, device)) for device in ("pi-1", "pi-2")]
        assert [behaviour(row.before).inferences for row in rows] == [7, 40]


def test_a_crash_of_the_version_before_is_not_held_against_the_new_one(fleet: Depot) -> None:
    complete(fleet, 1)
    old = runs(fleet, "pi-1")
    rollout = start(fleet, 2, soak_s=60.0)
    fleet.event("pi-1", 7, "worker-crashed", old)
    fleet.commit("pi-1")
    assert tick(fleet) == ()
    assert rollouts.get_rollout(fleet.db, rollout.id).state == "running"


def test_a_canary_that_is_lost_after_the_switch_stops_the_rollout(fleet: Depot) -> None:
    complete(fleet, 1)
    rollout = start(fleet, 2, soak_s=60.0)
    fleet.commit("pi-1")
    tick(fleet)
    ingest.apply_status(fleet.db, "pi-1", Status(presence="lost", session=1), now_s=fleet.now_s)
    assert tick(fleet, 100.0) == (), "it may come back, and nothing goes on until that is known"
    assert tick(fleet, 30.0) == ("pi-1",)
    assert "lost their connection for 120 s or more" in rollouts.get_rollout(fleet.db, rollout.id).reason


def test_a_device_that_comes_back_in_time_is_not_held_against_the_version(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    fleet.commit("pi-1")
    ingest.apply_status(fleet.db, "pi-1", Status(presence="lost", session=1), now_s=fleet.now_s)
    assert tick(fleet, 100.0) == ()
    ingest.apply_status(fleet.db, "pi-1", Status(presence="online", session=2), now_s=fleet.now_s)
    assert tick(fleet) == ("pi-2",)


def test_verdicts_are_read_over_http(tmp_path: Path) -> None:
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        for device in FLEET:
            depot.device(device)
        depot.version("a")
        start(depot)
        depot.db.close()
        (kept,) = desk.client.get("/rollouts/1/verdicts").json()
        assert {entry["gate"]: entry["evidence"] for entry in kept["results"]}["settled"] == {"pending": 1, "able": 1}
        assert desk.client.get("/rollouts/9/verdicts").status_code == 404
        assert desk.client.get("/rollouts/1/verdicts?max_verdicts=0").status_code == 422
