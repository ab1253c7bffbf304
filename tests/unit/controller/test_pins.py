"""Slots that stay as they are, whatever is rolled out."""

import pytest

from tests.support.depot import FLEET, Depot
from tests.unit.controller.test_rollouts import complete, start, tick
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, pins, rollouts
from wherry.controller.operations.pins import PinView
from wherry.controller.operations.rollback import rollback


def pin(depot: Depot, device: str = "pi-2", slot: str = "main", reason: str = "a customer looks at it") -> PinView:
    return pins.pin(depot.db, device, slot, reason=reason, now_s=depot.now_s, actor="ann")


def unpin(depot: Depot, device: str = "pi-2", slot: str = "main") -> bool:
    return pins.unpin(depot.db, device, slot, now_s=depot.now_s, actor="ann")


def asked(depot: Depot) -> list[str]:
    return [str(wanted.ref) if wanted else "-" for wanted in map(depot.wanted, FLEET)]


def test_a_pinned_slot_is_set_apart_with_who_pinned_it_and_why(fleet: Depot) -> None:
    pin(fleet)
    rollout = complete(fleet, 1)
    assert (rollout.state, rollout.counts) == ("completed", {"committed": 3, "released": 1})
    apart = rollout.devices[0]
    assert (apart.device, apart.wave, apart.reason) == ("pi-2", 0, "pinned by ann: a customer looks at it")
    assert asked(fleet) == ["digits:1", "-", "digits:1", "digits:1"]


def test_another_slot_of_the_device_is_moved(fleet: Depot) -> None:
    pin(fleet, slot="left")
    assert complete(fleet, 1).counts == {"committed": 4}


def test_a_rollback_moves_a_pinned_slot_only_where_it_says_so(fleet: Depot) -> None:
    complete(fleet, 1)
    complete(fleet, 2)
    pin(fleet)
    going = rollback(fleet.db, "digits", 1, now_s=fleet.now_s, actor="ann")
    assert going.counts == {"sent": 3, "released": 1}
    assert asked(fleet) == ["digits:1", "digits:2", "digits:1", "digits:1"]
    both = rollback(
        fleet.db, "digits", 1, target=Target(devices=("pi-2",)), pinned=True, now_s=fleet.now_s, actor="ann"
    )
    assert (both.counts, asked(fleet)) == ({"sent": 1}, ["digits:1"] * 4)


def test_a_rollout_of_pinned_devices_alone_is_refused(fleet: Depot) -> None:
    pin(fleet)
    with pytest.raises(
        Conflict, match="nobody is left to be sent digits:1: pi-2 pinned by ann: a customer looks at it"
    ):
        start(fleet, 1, target=Target(devices=("pi-2",)))


def test_a_rollout_that_is_under_way_goes_on(fleet: Depot) -> None:
    start(fleet, 1)
    pin(fleet)
    fleet.commit("pi-1")
    assert tick(fleet) == ("pi-2",)


def join(depot: Depot) -> None:
    """One tick to come in, and one to be sent the version."""
    rollouts.tick(depot.db, now_s=depot.now_s)
    tick(depot)


def test_late_joiners_are_not_pinned_ones(fleet: Depot) -> None:
    start(fleet, 1, target=Target(), waves=FULL_FLEET, late_joiners="join")
    for device in ("pi-5", "pi-6"):
        fleet.device(device)
    pin(fleet, "pi-5")
    join(fleet)
    assert fleet.wanted("pi-5") is None
    assert fleet.wanted("pi-6") is not None
    unpin(fleet, "pi-5")
    join(fleet)
    assert fleet.wanted("pi-5") is not None


def test_late_joiners_are_meant_by_the_target_and_in_no_other_rollout(fleet: Depot) -> None:
    target = Target(labels={"site": "lab"})
    for device in FLEET:
        fleet.device(device, labels={"site": "lab"})
    start(fleet, 1, target=target, waves=FULL_FLEET, late_joiners="join")
    fleet.device("pi-5", labels={"site": "lab"})
    fleet.device("pi-6", labels={"site": "sea"})
    fleet.device("pi-7", labels={"site": "lab"})
    start(fleet, 2, target=Target(devices=("pi-7",)))
    join(fleet)
    inside = [entry.device for entry in rollouts.get_rollout(fleet.db, 1).devices]
    assert inside == [*inside[:4], "pi-5"]


def test_pinning_and_unpinning_may_be_said_twice(fleet: Depot) -> None:
    first = pin(fleet)
    fleet.now_s += 5
    assert pin(fleet) == first
    changed = pin(fleet, reason="it is being measured")
    assert (changed.reason, changed.pinned_s) == ("it is being measured", fleet.now_s)
    assert pins.list_pins(fleet.db) == [changed]
    assert (unpin(fleet), unpin(fleet), pins.list_pins(fleet.db)) == (True, False, [])
    told = [(row.action, row.actor, row.detail) for row in audit.list_audit(fleet.db)[:3]]
    assert told == [
        ("device-unpinned", "ann", {"slot": "main"}),
        ("device-pinned", "ann", {"slot": "main", "reason": "it is being measured"}),
        ("device-pinned", "ann", {"slot": "main", "reason": "a customer looks at it"}),
    ]


def test_a_pin_needs_a_device_and_a_reason(fleet: Depot) -> None:
    with pytest.raises(NotFound, match="no device 'pi-9'"):
        pin(fleet, "pi-9")
    with pytest.raises(NotFound, match="no device 'pi-9'"):
        unpin(fleet, "pi-9")
    with pytest.raises(Invalid, match="a pin needs a reason"):
        pin(fleet, reason="  ")
