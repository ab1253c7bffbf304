"""After an upgrade the windows that are kept are what versions are compared with: once, and no window twice."""

from sqlalchemy import delete

from tests.support.controller_values import make_plan
from tests.support.depot import FLEET, Depot
from wherry.controller.core.plan import FULL_FLEET, Target
from wherry.controller.operations import rollouts
from wherry.controller.operations.kept_windows import fold_in
from wherry.controller.store.tables import BehaviourRow


def put_on(fleet: Depot, version: int, **limits: object) -> int:
    plan = make_plan(version, target=Target(devices=FLEET), waves=FULL_FLEET, **limits)
    begun = rollouts.start(fleet.db, plan, now_s=fleet.now_s, actor="ann")
    fleet.commit(*FLEET)
    return begun.id


def tick(fleet: Depot) -> None:
    fleet.now_s += 1.0
    rollouts.tick(fleet.db, now_s=fleet.now_s)


def answer(fleet: Depot, latency_ms: float) -> None:
    for device in FLEET:
        ref = fleet.runs(device)
        assert ref is not None
        fleet.telemetry(device, ref, latencies_ms=[latency_ms] * 500)


def forget_sums(fleet: Depot) -> None:
    """As the migration leaves the database."""
    with fleet.db.write() as session:
        session.execute(delete(BehaviourRow))


def bodies(fleet: Depot) -> dict[tuple[str, int], bytes]:
    with fleet.db.read() as session:
        return {(row.device, row.version): row.body for row in session.query(BehaviourRow)}


def upgraded(fleet: Depot) -> None:
    put_on(fleet, 1)
    tick(fleet)
    answer(fleet, 5.0)
    answer(fleet, 6.0)


def state_of_a_slow_version(fleet: Depot) -> str:
    begun = put_on(fleet, 2, max_p95_ratio=1.5, min_inferences=200)
    answer(fleet, 500.0)
    tick(fleet)
    return rollouts.get_rollout(fleet.db, begun).state


def test_the_sums_are_those_that_would_have_been_kept(fleet: Depot) -> None:
    upgraded(fleet)
    kept = bodies(fleet)
    forget_sums(fleet)
    assert fold_in(fleet.db, now_s=fleet.now_s) == len(FLEET)
    assert bodies(fleet) == kept


def test_they_are_made_once(fleet: Depot) -> None:
    upgraded(fleet)
    kept = bodies(fleet)
    assert fold_in(fleet.db, now_s=fleet.now_s) == 0, "what has a sum is left as it is"
    assert bodies(fleet) == kept
    forget_sums(fleet)
    assert fold_in(fleet.db, now_s=fleet.now_s) == 0
    assert bodies(fleet) == {}


def test_the_first_rollout_after_an_upgrade_is_compared(fleet: Depot) -> None:
    upgraded(fleet)
    forget_sums(fleet)
    fold_in(fleet.db, now_s=fleet.now_s)
    assert state_of_a_slow_version(fleet) == "reverting"


def test_without_them_it_has_nothing_to_compare_with(fleet: Depot) -> None:
    """The negative control."""
    upgraded(fleet)
    forget_sums(fleet)
    assert state_of_a_slow_version(fleet) == "completed"


def test_of_a_version_under_way_only_what_came_after_it_was_sent_counts(fleet: Depot) -> None:
    upgraded(fleet)
    begun = put_on(fleet, 2, min_inferences=9000)
    answer(fleet, 7.0)
    fleet.now_s += 50.0
    rollouts.abort(fleet.db, begun, restore="revert", now_s=fleet.now_s, actor="ann")
    fleet.commit(*FLEET)
    tick(fleet)
    put_on(fleet, 2, min_inferences=9000)
    answer(fleet, 8.0)
    kept = bodies(fleet)
    forget_sums(fleet)
    fold_in(fleet.db, now_s=fleet.now_s)
    assert {key: body for key, body in bodies(fleet).items() if key[1] == 2} == {
        key: body for key, body in kept.items() if key[1] == 2
    }
