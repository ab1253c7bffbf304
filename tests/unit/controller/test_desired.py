"""Desired documents: assigned, published, published again until the device has accepted them."""

import pytest

from tests.support.controller_values import LITERT_ONLY, TFLITE, make_plan, make_variant
from tests.support.depot import Depot
from wherry.controller.errors import Conflict, NotFound
from wherry.controller.operations import audit, desired, devices, rollouts
from wherry.protocol.codec import encode


def pending(depot: Depot, **more: float) -> list[tuple[str, int]]:
    found = desired.pending_publications(depot.db, now_s=depot.now_s, **more)
    return [(entry.device, entry.desired.generation) for entry in found]


def assign(depot: Depot, device: str, version: str) -> None:
    desired.assign(depot.db, device, "main", version, now_s=depot.now_s, actor="ann")


def test_assigning_is_one_generation_and_one_audit_row(depot: Depot) -> None:
    depot.version("a")
    depot.device("pi-1")
    assign(depot, "pi-1", "digits:1")
    assign(depot, "pi-1", "digits")
    assert depot.desired("pi-1").generation == 1
    assert [row.action for row in audit.list_audit(depot.db)] == ["assigned", "version-created"]


def test_the_reconcile_loop_repeats_until_the_device_has_accepted(depot: Depot) -> None:
    depot.version("a")
    depot.device("pi-1")
    assign(depot, "pi-1", "digits:1")
    assert pending(depot) == [("pi-1", 1)]
    desired.mark_published(depot.db, "pi-1", epoch=1, generation=1, now_s=depot.now_s)
    assert pending(depot) == []
    assert pending(depot, republish_after_s=0) == [("pi-1", 1)]
    depot.now_s += 31
    assert pending(depot) == [("pi-1", 1)]
    depot.commit("pi-1")
    assert pending(depot) == []
    assert devices.list_devices(depot.db)[0].in_step


def test_a_new_generation_is_due_at_once(depot: Depot) -> None:
    depot.version("a")
    depot.version("b")
    depot.device("pi-1")
    assign(depot, "pi-1", "digits:1")
    desired.mark_published(depot.db, "pi-1", epoch=1, generation=1, now_s=depot.now_s)
    assign(depot, "pi-1", "digits:2")
    assert pending(depot) == [("pi-1", 2)]
    desired.mark_published(depot.db, "pi-1", epoch=1, generation=2, now_s=depot.now_s)
    desired.mark_published(depot.db, "pi-1", epoch=1, generation=1, now_s=depot.now_s)
    assert pending(depot) == []


def test_the_document_is_a_message_with_the_url_of_the_moment(depot: Depot) -> None:
    depot.version("a")
    depot.device("pi-1")
    assign(depot, "pi-1", "digits:1")
    (publication,) = desired.all_publications(depot.db, artifacts_url="http://127.0.0.1:1/api/v1/artifacts")
    assert b'"artifacts_url":"http://127.0.0.1:1/api/v1/artifacts"' in encode(publication.desired)


def test_what_does_not_fit_is_refused_with_the_reason(depot: Depot) -> None:
    depot.version("a", make_variant("a", floors=LITERT_ONLY))
    depot.device("pi-1", TFLITE)
    with pytest.raises(Conflict, match=r"needs litert >= 1\.0\.0"):
        assign(depot, "pi-1", "digits:1")
    with pytest.raises(NotFound, match="no device"):
        assign(depot, "pi-9", "digits:1")
    assert depot.desired("pi-1").generation == 0


def test_a_live_rollout_has_the_only_say(depot: Depot) -> None:
    depot.version("a")
    depot.device("pi-1")
    rollouts.start(depot.db, make_plan(1), now_s=depot.now_s, actor="ann")
    with pytest.raises(Conflict, match="rollout 1 of digits:1 is running on pi-1"):
        assign(depot, "pi-1", "digits:1")
