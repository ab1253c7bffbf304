"""Desired documents: published, published again until the device has accepted them, and never outrun."""

import pytest

from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from wherry.controller.core.plan import FULL_FLEET
from wherry.controller.operations import desired, devices, ingest, rollouts
from wherry.protocol.codec import encode
from wherry.protocol.down.desired import Desired
from wherry.protocol.up import Reported


def pending(depot: Depot, **more: float) -> list[tuple[str, int]]:
    found = desired.pending_publications(depot.db, now_s=depot.now_s, **more)
    return [(entry.device, entry.desired.generation) for entry in found]


@pytest.fixture
def board(depot: Depot) -> Depot:
    """One board and two versions."""
    depot.version("a")
    depot.version("b")
    depot.device("pi-1")
    return depot


def start(depot: Depot, version: int = 1, **more: object) -> None:
    plan = make_plan(version, waves=FULL_FLEET, **more)
    rollouts.start(depot.db, plan, now_s=depot.now_s, actor="ann")


def finish(depot: Depot) -> None:
    """The board does as it is told, and the rollout ends."""
    depot.commit("pi-1")
    rollouts.tick(depot.db, now_s=depot.now_s)


def standing(depot: Depot, rollout: int = 1) -> str:
    rollouts.tick(depot.db, now_s=depot.now_s)
    return rollouts.get_rollout(depot.db, rollout).devices[0].standing


def mark(depot: Depot, generation: int) -> None:
    document = Desired(epoch=1, generation=generation)
    desired.mark_published(depot.db, [("pi-1", document)], now_s=depot.now_s)


def state(depot: Depot, rollout: int = 1) -> str:
    rollouts.tick(depot.db, now_s=depot.now_s)
    return rollouts.get_rollout(depot.db, rollout).state


def test_the_reconcile_loop_repeats_until_the_device_has_accepted(board: Depot) -> None:
    start(board)
    assert pending(board) == [("pi-1", 1)]
    mark(board, 1)
    assert pending(board) == []
    assert pending(board, republish_after_s=0) == [("pi-1", 1)]
    board.now_s += 31
    assert pending(board) == [("pi-1", 1)]
    board.commit("pi-1")
    assert pending(board) == []
    assert devices.list_devices(board.db)[0].in_step


def test_a_new_generation_is_due_at_once(board: Depot) -> None:
    start(board)
    mark(board, 1)
    finish(board)
    start(board, 2)
    assert pending(board) == [("pi-1", 2)]
    mark(board, 2)
    mark(board, 1)
    assert pending(board) == []


def test_the_document_is_a_message_with_the_url_of_the_moment(board: Depot) -> None:
    start(board)
    (publication,) = desired.all_publications(board.db, artifacts_url="http://127.0.0.1:1/api/v1/artifacts")
    assert b'"artifacts_url":"http://127.0.0.1:1/api/v1/artifacts"' in encode(publication.desired)


@pytest.mark.parametrize("accepted", [(1, 50), (3, 2), (3, 2**40)])
def test_a_board_that_has_obeyed_another_controller_is_ordered_something_newer(
    board: Depot, accepted: tuple[int, int]
) -> None:
    board.report("pi-1", *accepted)
    start(board)
    ordered = board.desired("pi-1")
    assert (ordered.epoch, ordered.generation) > accepted
    assert pending(board) == [("pi-1", accepted[1] % 2**40 + 1)]
    assert standing(board) == "sent"
    finish(board)
    assert state(board) == "completed"


@pytest.mark.parametrize("accepted", [(1, 50), (3, 1), (3, 2**40)])
def test_a_rollout_goes_on_although_its_board_is_found_ahead_of_the_order(
    board: Depot, accepted: tuple[int, int]
) -> None:
    start(board)
    mark(board, 1)
    board.report("pi-1", *accepted)
    assert standing(board) == "sent", "what it has accepted is not what was sent"
    assert pending(board) == [("pi-1", accepted[1] % 2**40 + 1)]
    board.report("pi-1", *accepted)
    assert pending(board) == [("pi-1", accepted[1] % 2**40 + 1)], "saying it again changes nothing"
    board.commit("pi-1")
    assert (standing(board), state(board), pending(board)) == ("committed", "completed", [])


def test_a_commit_counts_although_somebody_forges_a_later_order(board: Depot) -> None:
    start(board, soak_s=50.0, device_deadline_s=100.0)
    board.commit("pi-1")
    assert standing(board) == "committed"
    (honest,) = devices.list_devices(board.db)[0].slots
    board.now_s += 200
    forged = Reported(epoch=1, generation=2**40, slots=(honest,))
    ingest.apply_reported(board.db, "pi-1", forged, now_s=board.now_s)
    assert state(board) == "completed"
    assert pending(board) == [("pi-1", 1)], "in the next epoch"


def test_nothing_counts_as_taken_back_before_the_board_has_accepted_it(board: Depot) -> None:
    start(board)
    finish(board)
    start(board, 2)
    rollouts.abort(board.db, 2, restore="revert", now_s=board.now_s, actor="ann")
    board.report("pi-1", 1, 50)
    assert state(board, 2) == "reverting"
    assert pending(board) == [("pi-1", 51)]
    board.commit("pi-1")
    assert state(board, 2) == "aborted"


def test_a_board_that_is_ahead_at_rest_is_ordered_the_same_again(board: Depot) -> None:
    start(board)
    finish(board)
    board.report("pi-1", 1, 7)
    assert pending(board) == [("pi-1", 8)]
    assert str(board.wanted("pi-1").ref) == "digits:1"  # type: ignore[union-attr]
    finish(board)
    assert pending(board) == []
