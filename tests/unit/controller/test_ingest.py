"""What devices say: in any order, any number of times, true or not."""

import pytest
import sqlalchemy

from tests.support.controller_values import TFLITE, make_birth, make_plan
from tests.support.depot import SYSTEM, Depot
from wherry.controller.core.plan import Target
from wherry.controller.errors import NotFound
from wherry.controller.operations import devices, ingest, retention, rollouts
from wherry.controller.operations.verdicts import list_verdicts
from wherry.controller.store.tables import BehaviourRow, VerdictRow
from wherry.protocol.errors import Malformed
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Event, Log, Reported, Status, Telemetry
from wherry.protocol.up.log import LogLine


def the_device(depot: Depot) -> devices.DeviceView:
    (found,) = devices.list_devices(depot.db)
    return found


def test_a_will_of_an_earlier_session_is_ignored(depot: Depot) -> None:
    assert ingest.apply_status(depot.db, "pi-1", Status(presence="online", session=8), now_s=1.0)
    assert not ingest.apply_status(depot.db, "pi-1", Status(presence="lost", session=7), now_s=2.0)
    assert the_device(depot).presence == "online"
    assert ingest.apply_status(depot.db, "pi-1", Status(presence="lost", session=8), now_s=3.0)
    assert (the_device(depot).presence, the_device(depot).last_seen_s) == ("lost", 1.0)


def test_a_board_with_a_new_disk_counts_its_sessions_anew(depot: Depot) -> None:
    ingest.apply_status(depot.db, "pi-1", Status(presence="online", session=8_000_001), now_s=1.0)
    ingest.apply_status(depot.db, "pi-1", Status(presence="lost", session=8_000_001), now_s=2.0)
    assert ingest.apply_status(depot.db, "pi-1", Status(presence="online", session=1), now_s=3.0)
    assert (the_device(depot).presence, the_device(depot).last_seen_s) == ("online", 3.0)
    assert ingest.apply_status(depot.db, "pi-1", Status(presence="lost", session=1), now_s=4.0)
    assert the_device(depot).presence == "lost"


def test_a_board_that_came_and_went_unseen_is_lost(depot: Depot) -> None:
    ingest.apply_status(depot.db, "pi-1", Status(presence="online", session=1), now_s=1.0)
    assert ingest.apply_status(depot.db, "pi-1", Status(presence="lost", session=2), now_s=2.0)
    assert the_device(depot).presence == "lost"


def test_any_message_makes_a_device_known(depot: Depot) -> None:
    assert depot.event("pi-1", 1, "started")
    assert the_device(depot).id == "pi-1"
    assert the_device(depot).birth is None


def test_a_repeated_retained_copy_is_no_sign_of_life(depot: Depot) -> None:
    ingest.apply_birth(depot.db, "pi-1", make_birth(), now_s=1.0)
    ingest.apply_birth(depot.db, "pi-1", make_birth(), now_s=50.0)
    assert the_device(depot).last_seen_s == 1.0
    ingest.apply_birth(depot.db, "pi-1", make_birth(TFLITE), now_s=60.0)
    assert the_device(depot).last_seen_s == 60.0


def test_an_event_counts_once_over_repeats_and_restarts(depot: Depot) -> None:
    assert depot.event("pi-1", 1, "started")
    depot.reopen()
    assert not depot.event("pi-1", 1, "started")
    assert depot.event("pi-1", 2, "started")
    assert depot.event("pi-2", 1, "started")
    assert len(devices.get_device(depot.db, "pi-1", now_s=depot.now_s).events) == 2


def test_a_telemetry_window_counts_once(depot: Depot) -> None:
    ref = _ref(depot)
    window = Telemetry(
        boot_id="b", window=3, window_s=1.0, slot="main", ref=ref, phase="running", inferences=7, errors=0,
        latency=LatencySketch(first_key=3, counts=(7,)), system=SYSTEM,
    )  # fmt: skip
    assert ingest.apply_telemetry(depot.db, "pi-1", window, now_s=1000.0)
    assert not ingest.apply_telemetry(depot.db, "pi-1", window, now_s=1001.0)
    (reading,) = devices.get_device(depot.db, "pi-1", now_s=1002.0).readings
    assert reading.inferences == 7


def test_logs_count_once_and_can_be_followed(depot: Depot) -> None:
    lines = tuple(
        LogLine(at_s=float(n), level="info" if n else "error", event=f"e{n}", fields={"n": str(n)}) for n in range(5)
    )
    batch = Log(boot_id="b", batch=1, lines=lines)
    assert ingest.apply_log(depot.db, "pi-1", batch, now_s=1.0)
    assert not ingest.apply_log(depot.db, "pi-1", batch, now_s=1.0)
    assert [line.event for line in devices.get_logs(depot.db, "pi-1")] == ["e0", "e1", "e2", "e3", "e4"]
    newest = devices.get_logs(depot.db, max_lines=2)
    assert [line.event for line in newest] == ["e3", "e4"]
    assert [line.event for line in devices.get_logs(depot.db, after_id=newest[0].id)] == ["e4"]
    assert [line.event for line in devices.get_logs(depot.db, after_id=0, max_lines=2)] == ["e0", "e1"]
    assert [line.event for line in devices.get_logs(depot.db, level="warning")] == ["e0"]
    with pytest.raises(NotFound, match="no device 'pi-9'"):
        devices.get_logs(depot.db, "pi-9")


@pytest.mark.parametrize("count", [2**40 + 1, 2**63, 2**64, 10**30])
def test_counters_that_would_overflow_are_refused(depot: Depot, count: int) -> None:
    with pytest.raises(Malformed, match="a counter of"):
        ingest.apply_status(depot.db, "pi-1", Status(presence="online", session=count), now_s=1.0)
    with pytest.raises(Malformed):
        ingest.apply_event(depot.db, "pi-1", Event(boot_id="b", seq=count, at_s=1.0, kind="started"), now_s=1.0)
    with pytest.raises(Malformed):
        ingest.apply_reported(depot.db, "pi-1", Reported(epoch=1, generation=count, slots=()), now_s=1.0)
    assert devices.list_devices(depot.db) == []


def test_readings_are_of_merged_sketches_and_labels(depot: Depot) -> None:
    ref = _ref(depot)
    depot.telemetry("pi-1", ref, latencies_ms=[1.0] * 90, correct=81)
    depot.now_s += 10
    depot.telemetry("pi-1", ref, latencies_ms=[100.0] * 10, correct=9)
    (reading,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).readings
    assert (reading.inferences, reading.accuracy) == (100, 0.9)
    assert reading.p50_ms == pytest.approx(1.0, rel=0.01)
    assert reading.p95_ms == pytest.approx(100.0, rel=0.01)
    (recent,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s, period_s=5.0).readings
    assert recent.inferences == 10


def test_readings_say_what_was_predicted_how_surely_and_what_it_took(depot: Depot) -> None:
    ref = _ref(depot)
    depot.telemetry("pi-1", ref)
    (silent,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).readings
    assert (silent.predictions, silent.confidence) == ((), None)
    window = Telemetry(
        boot_id="b2", window=1, window_s=10.0, slot="main", ref=ref, phase="running", inferences=20, errors=0,
        latency=LatencySketch(), predictions={3: 15, 7: 5}, confidence=(0, 0, 0, 0, 0, 5, 0, 0, 0, 15),
        worker_cpu_share=1.5, system=SYSTEM,
    )  # fmt: skip
    ingest.apply_telemetry(depot.db, "pi-1", window, now_s=depot.now_s)
    (reading,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).readings
    assert [(entry.top, entry.share) for entry in reading.predictions] == [(3, 0.75), (7, 0.25)]
    assert reading.confidence == pytest.approx((5 * 0.55 + 15 * 0.95) / 20)
    assert reading.worker_cpu_share == 1.5


def test_windows_from_before_confidence_was_kept_are_read(depot: Depot) -> None:
    ref = _ref(depot)
    depot.telemetry("pi-1", ref)
    with depot.db.write() as session:
        session.execute(sqlalchemy.text("UPDATE telemetry SET confidence = NULL, worker_cpu_share = NULL"))
    (reading,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).readings
    assert (reading.confidence, reading.worker_cpu_share) == (None, None)


def test_reverts_are_told_with_their_reasons(depot: Depot) -> None:
    ref = _ref(depot)
    depot.event("pi-1", 1, "reverted", ref, "p95 90 ms, limit 20 ms")
    depot.event("pi-1", 2, "committed", ref)
    (revert,) = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).reverts
    assert (revert.model, revert.version, revert.result, revert.reason) == (
        "digits",
        1,
        "reverted",
        "p95 90 ms, limit 20 ms",
    )


def test_only_the_newest_reverts_are_told_oldest_first(depot: Depot) -> None:
    ref = _ref(depot)
    for seq in range(devices.MAX_REVERTS + 5):
        depot.event("pi-1", seq, "reverted", ref, f"{seq}")
    reverts = devices.get_device(depot.db, "pi-1", now_s=depot.now_s).reverts
    assert [revert.reason for revert in reverts] == [f"{seq}" for seq in range(5, devices.MAX_REVERTS + 5)]


def test_a_removed_device_is_gone_until_it_speaks(depot: Depot) -> None:
    depot.device("pi-1")
    for _ in range(2):
        devices.remove_device(depot.db, "pi-1", now_s=5.0, actor="ann")
    assert devices.list_devices(depot.db) == []
    with pytest.raises(NotFound):
        devices.get_device(depot.db, "pi-1", now_s=5.0)
    depot.event("pi-1", 1, "started")
    assert the_device(depot).birth is not None


def test_old_windows_and_surplus_lines_are_dropped(depot: Depot) -> None:
    ref = _ref(depot)
    depot.telemetry("pi-1", ref)
    depot.now_s += 100
    depot.telemetry("pi-1", ref)
    for device in ("pi-1", "pi-2"):
        lines = tuple(LogLine(at_s=1.0, level="info", event=f"e{n}") for n in range(10))
        ingest.apply_log(depot.db, device, Log(boot_id="b", batch=1, lines=lines), now_s=1.0)
    pruned = retention.prune(depot.db, now_s=depot.now_s, telemetry_s=50.0, log_lines=4)
    assert (pruned.telemetry_windows, pruned.log_lines) == (1, 12)
    assert [line.event for line in devices.get_logs(depot.db, "pi-2")] == ["e6", "e7", "e8", "e9"]


def test_sums_of_versions_long_gone_and_surplus_verdicts_are_dropped(depot: Depot) -> None:
    ref = _ref(depot)
    depot.telemetry("pi-1", ref)
    depot.now_s += 100
    depot.telemetry("pi-2", ref)
    rollout = rollouts.start(depot.db, make_plan(target=Target(devices=("pi-1",))), now_s=depot.now_s, actor="ann").id
    with depot.db.write() as session:
        session.add_all(VerdictRow(rollout=rollout, at_s=float(n), wave=1, results=b"[]") for n in range(9))
    pruned = retention.prune(depot.db, now_s=depot.now_s, behaviour_s=50.0, verdicts=4)
    assert (pruned.behaviours, pruned.verdicts) == (1, 6)
    assert [entry.at_s for entry in list_verdicts(depot.db, rollout)] == [8.0, 7.0, 6.0, 5.0]
    with depot.db.read() as session:
        assert list(session.scalars(sqlalchemy.select(BehaviourRow.device))) == ["pi-2"]


def _ref(depot: Depot) -> VersionRef:
    view = depot.version("a")
    artifact = view.manifest.variants[0].artifact.digest
    return VersionRef(
        model="digits", version=view.number, variant="int8", manifest=view.manifest_ref.digest, artifact=artifact
    )
