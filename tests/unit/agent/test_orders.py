"""A whole supervisor on the rig: one-shot orders, each done at most once."""

import gzip

import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.protocol.up import Upload

V1, V2, V3 = make_version(1), make_version(2), make_version(3)

V1, V2 = make_version(1), make_version(2)


def _serving_version(rig: Rig) -> int | None:
    serving = rig.reported().slots[0].serving
    return None if serving is None else serving.version


def test_a_restart_is_done_once_by_its_id(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.order("r1", "restart-slot")
    rig.order("r1", "restart-slot")
    assert len(rig.yard.workers) == 2
    assert len(rig.yard.serving) == 1
    assert [event.action_id for event in rig.events("action-done")] == ["r1"]


def test_an_order_is_not_repeated_after_a_restart_of_the_agent(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.order("r1", "restart-slot")
    rig.cut().boot()
    rig.order("r1", "restart-slot")
    assert len(rig.yard.workers) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "restart-slot", "not_after_s": 5.0}, "after its time, by this device's clock"),
        ({"kind": "restart-slot", "slot": "other"}, "this device has no slot other"),
        ({"kind": "restart-slot"}, "slot main is in empty"),
        ({"kind": "self-test"}, "slot main serves nothing"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_reason(
    rig: Rig, fields: dict[str, object], reason: str
) -> None:
    rig.order("a1", str(fields.pop("kind")), **fields)
    assert reason in rig.events("action-refused")[0].reason


def test_forgetting_a_quarantine_lets_the_version_be_tried_again(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.conduct[V2.assignment.artifact] = Conduct(errors=50)
    rig.deploy(2, V2)
    rig.conduct.clear()
    rig.order("f1", "forget-quarantine", artifact=V2.assignment.artifact)
    assert rig.reported().slots[0].quarantine == ()
    rig.want(3, V2)
    rig.wait(6)
    assert _serving_version(rig) == 2


def test_a_self_test_runs_beside_what_serves(rig: Rig) -> None:
    rig.deploy(1, V1)
    rig.order("t1", "self-test")
    assert [event.action_id for event in rig.events("action-done")] == ["t1"]
    assert [worker.role for worker in rig.yard.workers] == ["candidate", "check"]
    assert len(rig.yard.serving) == 1
    rig.conduct[V1.assignment.artifact] = Conduct(fails_test="1 of 1 out of tolerance")
    rig.order("t2", "self-test")
    assert rig.events("action-refused")[0].reason == "1 of 1 out of tolerance"


def test_self_tests_run_one_at_a_time(rig: Rig) -> None:
    """Each has a model in memory. An end of any kind makes room for the next."""
    rig.deploy(1, V1)
    rig.conduct[V1.assignment.artifact] = Conduct(silent_at="self-test")
    for number in range(20):
        rig.order(f"t{number}", "self-test")
    checks = [worker for worker in rig.yard.workers if worker.role == "check"]
    assert len(checks) == 1
    assert {event.reason for event in rig.events("action-refused")} == {"another self-test is under way"}
    assert len(rig.events("action-refused")) == 19
    checks[0].die(-9, "killed by signal 9 (SIGKILL)")
    rig.settle()
    assert rig.events("action-refused")[-1].action_id == "t0"
    rig.conduct.clear()
    for number in (20, 21):
        rig.order(f"t{number}", "self-test")
    assert [event.action_id for event in rig.events("action-done")] == ["t20", "t21"]


def test_logs_are_sent_when_asked_for(rig: Rig) -> None:
    rig.logs(None, "info", {"level": "info", "event": "hello", "at_s": 1.0, "slot": "main"})
    rig.order("l1", "collect-logs")
    assert b'"event":"hello"' in gzip.decompress(b"".join(block.data for block in rig.sent(Upload)))
    assert [event.action_id for event in rig.events("action-done")] == ["l1"]
