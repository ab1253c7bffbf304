"""The devices in a list: by what they are, what they serve, page by page; in service, out of it, and back."""

import pytest
from sqlalchemy import event as on

from tests.support.controller_values import make_plan
from tests.support.depot import FLEET, SYSTEM, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, devices, ingest, rollouts
from wherry.controller.operations.aliases import set_alias
from wherry.controller.operations.desired import all_publications, pending_publications
from wherry.controller.operations.fleet import aim
from wherry.controller.operations.rollback import rollback
from wherry.protocol.up import Log, Status
from wherry.protocol.up.log import LogLine


def ids(depot: Depot, **filters: object) -> list[str]:
    return [device.id for device in devices.list_devices(depot.db, **filters)]  # type: ignore[arg-type]


def out(depot: Depot, device: str = "pi-2") -> devices.DeviceView:
    return devices.decommission(depot.db, device, reason="sold", now_s=depot.now_s, actor="ann")


def back(depot: Depot, device: str = "pi-2") -> devices.DeviceView:
    return devices.recommission(depot.db, device, now_s=depot.now_s, actor="ann")


def test_devices_are_listed_by_presence_and_by_what_they_serve(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2, target=Target(devices=("pi-1",)))
    fleet.commit("pi-1")
    set_alias(fleet.db, "digits", "stable", 1, now_s=1.0, actor="ann")
    ingest.apply_status(fleet.db, "pi-3", Status(presence="lost", session=1), now_s=fleet.now_s)
    assert ids(fleet, serving="digits") == list(FLEET)
    assert ids(fleet, serving="digits:2") == ["pi-1"]
    assert ids(fleet, serving="digits@stable") == ["pi-2", "pi-3", "pi-4"]
    assert ids(fleet, presence="lost") == ["pi-3"]
    assert ids(fleet, presence="online", serving="digits@stable") == ["pi-2", "pi-4"]
    assert ids(fleet, serving="doors") == []
    for text, error in (("digits@old", NotFound), ("digits:x", Invalid)):
        with pytest.raises(error):
            ids(fleet, serving=text)


def test_a_list_comes_in_pages(fleet: Depot) -> None:
    assert ids(fleet, limit=3) == ["pi-1", "pi-2", "pi-3"]
    assert ids(fleet, after="pi-3", limit=3) == ["pi-4"]
    assert ids(fleet, target=Target(query="device!=pi-2"), limit=2) == ["pi-1", "pi-3"], "of those that are meant"


def test_a_list_asks_the_database_once_however_many_there_are(fleet: Depot) -> None:
    """Negative control: two statements would be counted as two."""
    complete(fleet, 1)
    asked: list[str] = []
    with fleet.db.read() as session:
        engine = session.connection().engine
    on.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
    for plan in (None, Target(query="cpu_count>=1")):
        asked.clear()
        assert len(devices.list_devices(fleet.db, plan)) == 4
        assert len([statement for statement in asked if statement.startswith("SELECT")]) == 1
    asked.clear()
    with fleet.db.read() as session:
        assert len(aim(session, Target())) == 4
        aim(session, Target())
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 2


def test_one_out_of_service_is_meant_by_nothing_and_asked_for_nothing(fleet: Depot) -> None:
    complete(fleet, 1)
    assert out(fleet).decommissioned_s == fleet.now_s
    assert (ids(fleet), ids(fleet, presence="decommissioned")) == (["pi-1", "pi-3", "pi-4"], ["pi-2"])
    assert "pi-2" not in [entry.device for entry in all_publications(fleet.db)]
    assert "pi-2" not in [entry.device for entry in pending_publications(fleet.db, now_s=fleet.now_s)]
    assert devices.get_device(fleet.db, "pi-2", now_s=fleet.now_s).device.desired == ()
    assert sum(start(fleet, 2, target=Target()).counts.values()) == 3
    with pytest.raises(Conflict, match="pi-2 is decommissioned"):
        rollouts.explain(fleet.db, make_plan(1, target=Target(devices=("pi-2",))))
    with pytest.raises(Conflict, match="pi-2 is decommissioned"):
        rollback(fleet.db, "digits", 1, target=Target(devices=("pi-2",)), now_s=fleet.now_s, actor="ann")


def test_it_stays_away_although_it_speaks_and_what_it_measures_is_not_kept(fleet: Depot) -> None:
    """Negative control: its neighbour says the same, and is heard."""
    complete(fleet, 1)
    out(fleet)
    fleet.now_s = 2000.0
    for device, kept in (("pi-2", False), ("pi-3", True)):
        ingest.apply_status(fleet.db, device, Status(presence="online", session=2), now_s=fleet.now_s)
        assert fleet.telemetry(device, fleet_ref(fleet)) is kept
        line = LogLine(at_s=1.0, level="info", event="hello")
        assert ingest.apply_log(fleet.db, device, Log(boot_id="b1", batch=1, lines=(line,)), now_s=2000.0) is kept
        assert fleet.event(device, 50, "worker-crashed"), "events are the record"
    assert ids(fleet) == ["pi-1", "pi-3", "pi-4"]
    detail = devices.get_device(fleet.db, "pi-2", now_s=2000.0)
    assert (detail.readings, detail.system, detail.device.last_seen_s) == ((), None, 2000.0)
    assert devices.get_device(fleet.db, "pi-3", now_s=2000.0).system == SYSTEM


def fleet_ref(depot: Depot):
    ref = depot.runs("pi-1")
    assert ref is not None
    return ref


def test_a_rollout_goes_on_without_it(fleet: Depot) -> None:
    start(fleet, 1, waves=FULL_FLEET)
    out(fleet)
    fleet.commit("pi-1", "pi-3", "pi-4")
    tick(fleet)
    tick(fleet)
    (rollout,) = rollouts.list_rollouts(fleet.db)
    assert (rollout.state, rollout.counts) == ("completed", {"committed": 3, "removed": 1})


def test_it_comes_back_without_what_was_asked_of_it_before(fleet: Depot) -> None:
    complete(fleet, 1)
    out(fleet)
    assert back(fleet).decommissioned_s is None
    assert ids(fleet) == list(FLEET)
    assert fleet.wanted("pi-2") is None
    start(fleet, 2, waves=FULL_FLEET)
    assert str(getattr(fleet.wanted("pi-2"), "ref", None)) == "digits:2"


def test_both_may_be_said_twice_and_are_on_record_once(fleet: Depot) -> None:
    first = out(fleet)
    fleet.now_s += 10
    assert out(fleet) == first
    back(fleet)
    back(fleet)
    rows = audit.list_audit(fleet.db, subject="pi-2")
    assert [row.action for row in rows] == ["device-recommissioned", "device-decommissioned"]
    assert rows[1].detail == {"reason": "sold"}
    with pytest.raises(NotFound):
        out(fleet, "pi-9")


def test_a_removed_one_that_speaks_again_is_still_out_of_service(fleet: Depot) -> None:
    out(fleet)
    devices.remove_device(fleet.db, "pi-2", now_s=1.0, actor="ann")
    ingest.apply_status(fleet.db, "pi-2", Status(presence="online", session=9), now_s=fleet.now_s)
    assert (ids(fleet), ids(fleet, presence="decommissioned")) == (["pi-1", "pi-3", "pi-4"], ["pi-2"])
