"""The feeders of an agent, as its supervisor keeps them: started, heard, restarted, and ended with it."""

from pathlib import Path

import msgspec
import pytest

from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from wherry.agent.adapters.feeder_process import GRACE_S
from wherry.agent.config import FeedConfig, ResultsConfig, SlotConfig, WorkerConfig
from wherry.agent.feeders import REMARKS, REMARKS_WITHIN_S
from wherry.agent.trial import REMARK_HOLDS_S
from wherry.protocol.manifest import HealthLimits

FEED = FeedConfig(directory="/feed", rate_hz=20)
WORKER = WorkerConfig(silence_limit_s=10, restart_base_s=0.2, restart_limit_s=8, stable_s=30)
V1 = make_version(1, health=HealthLimits(probation_s=5, min_inferences=200, deadline_s=60))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    slots = {"main": SlotConfig(feed=FEED, results=ResultsConfig(log="/log")), "side": SlotConfig()}
    rig.config = msgspec.structs.replace(rig.config, slots=slots, worker=WORKER)
    return rig.boot()


def pulses(rig: Rig, seconds: float) -> None:
    """Time in which every feeder says something each second."""
    for _ in range(int(seconds)):
        rig.wait(1)
        for feeder in rig.feeding.up:
            feeder.say()
        rig.settle()


def test_a_slot_with_a_feed_has_a_feeder_from_the_start_and_others_have_none(rig: Rig) -> None:
    (feeder,) = rig.feeding.feeders
    assert (feeder.job.slot, feeder.job.feed, feeder.job.results.log) == ("main", FEED, "/log")


def test_a_feeder_that_speaks_stays(rig: Rig) -> None:
    pulses(rig, 60)
    assert len(rig.feeding.feeders) == 1


def test_a_feeder_that_ends_is_started_again_after_waits_that_grow_and_are_bounded(rig: Rig) -> None:
    waits_s = []
    for _ in range(10):
        began_s, count = rig.clock.at_s, len(rig.feeding.feeders)
        rig.feeding.feeders[-1].end("killed by signal 9 (SIGKILL)")
        rig.settle()
        while len(rig.feeding.feeders) == count:
            rig.wait(0.5)
            assert rig.clock.at_s - began_s < 10
        waits_s.append(rig.clock.at_s - began_s)
    assert waits_s[0] == 0.5
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] == 4.0, "half of the limit, as chance would have it"
    assert all(feeder.closed for feeder in rig.feeding.feeders[:-1])


def test_a_feeder_that_was_stable_starts_at_once_when_it_ends(rig: Rig) -> None:
    for _ in range(6):
        rig.feeding.feeders[-1].end("exited with status 1")
        rig.wait(8)
    pulses(rig, 40)
    count = len(rig.feeding.feeders)
    rig.feeding.feeders[-1].end("exited with status 1")
    rig.settle()
    rig.wait(0.5)
    assert len(rig.feeding.feeders) == count + 1


def test_a_feeder_that_says_nothing_hangs_and_is_replaced(rig: Rig) -> None:
    rig.wait(9.5)
    assert len(rig.feeding.feeders) == 1
    rig.wait(2)
    first, second = rig.feeding.feeders
    assert first.ended
    assert not second.ended


def test_feeders_leave_with_the_agent_and_are_not_started_again(rig: Rig) -> None:
    rig.supervisor.leave()
    assert [feeder.ended for feeder in rig.feeding.feeders] == [True]
    rig.wait(30)
    assert len(rig.feeding.feeders) == 1


def test_a_probation_without_evidence_says_what_ails_the_feed(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(inferences=0)
    rig.feeding.feeders[-1].say("an old story")
    rig.deploy(1, V1)
    assert rig.slot.state == "probation"
    rig.feeding.feeders[-1].say("b.npz: File is not a zip file", passed_over=50)
    pulses(rig, 60)
    assert rig.events("reverted")[0].reason == "0 of 200 inferences within 60 s; feed: b.npz: File is not a zip file"


def test_what_a_feed_remarked_before_the_probation_is_not_its_reason(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(inferences=0)
    rig.feeding.feeders[-1].say("an old story")
    rig.deploy(1, V1)
    pulses(rig, 60)
    assert rig.events("reverted")[0].reason == "0 of 200 inferences within 60 s"


def test_a_feed_that_has_recovered_is_not_the_reason(rig: Rig) -> None:
    patient = make_version(1, health=HealthLimits(probation_s=5, min_inferences=200, deadline_s=REMARK_HOLDS_S + 30))
    rig.conduct[patient.assignment.artifact] = Conduct(inferences=0)
    rig.deploy(1, patient)
    rig.feeding.feeders[-1].say("camera /dev/video0 cannot be opened")
    pulses(rig, REMARK_HOLDS_S + 30)
    assert rig.events("reverted")[0].reason == f"0 of 200 inferences within {REMARK_HOLDS_S + 30:g} s"


def test_a_feeder_that_cannot_start_is_the_reason_of_a_probation_without_evidence(rig: Rig) -> None:
    rig.conduct[V1.assignment.artifact] = Conduct(inferences=0)
    rig.deploy(1, V1)
    for _ in range(60):
        rig.feeding.feeders[-1].end("exited with status 1: a camera needs OpenCV")
        rig.wait(1)
    assert "; feed: the feeder ended: exited with status 1: a camera needs OpenCV" in rig.events("reverted")[0].reason


def test_a_remark_is_logged_once_with_its_count(rig: Rig) -> None:
    for _ in range(5):
        rig.feeding.feeders[-1].say("b.npz: damaged", passed_over=3)
        rig.settle()
    assert rig.told == [{"event": "feed", "slot": "main", "reason": "b.npz: damaged", "passed_over": 3}]


def test_ever_new_remarks_fill_no_disk_and_what_was_left_out_is_counted(rig: Rig) -> None:
    """As of a directory of many damaged files, or of somebody who publishes messages of ever another length."""
    minutes, said = 60, 0
    for _ in range(minutes):
        for number in range(10):
            rig.feeding.feeders[-1].say(f"message {said + number} cannot be read")
        said += 10
        rig.settle()
        pulses(rig, 60)
    told = [told for told in rig.told if told["event"] == "feed"]
    assert [one["reason"] for one in told[:REMARKS]] == [f"message {n} cannot be read" for n in range(REMARKS)]
    assert 2 * REMARKS <= len(told) <= REMARKS * (1 + minutes * 60 / REMARKS_WITHIN_S)
    left_out = sum(int(str(one.get("not_told", 0))) for one in told)
    assert said - REMARKS_WITHIN_S / 60 * 10 <= len(told) + left_out <= said, "but for those after the last line"


def test_a_remark_does_not_say_who_logs_in_to_the_camera(rig: Rig) -> None:
    remark = "camera rtsp://admin:hunter2@10.0.0.5/live cannot be opened"
    (feeder,) = rig.feeding.up
    feeder.say(remark)
    rig.settle()
    assert [told["reason"] for told in rig.told if told["event"] == "feed"] == [
        "camera rtsp://***@10.0.0.5/live cannot be opened"
    ]


def test_feeders_that_hang_have_one_grace_together_and_workers_are_told_before_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    slots = {f"slot-{number}": SlotConfig(feed=FEED) for number in range(8)}
    rig.config = msgspec.structs.replace(rig.config, slots={"main": SlotConfig(), **slots}, worker=WORKER)
    rig.boot()
    rig.deploy(1, V1)
    (worker,) = rig.yard.serving
    for feeder in rig.feeding.feeders:
        feeder.hangs = True
    told: list[bool] = []
    wait, began_s = rig.clock.wait, rig.clock.at_s
    for feeder in rig.feeding.feeders:
        feeder._wait = lambda seconds: (told.append(worker.ended), wait(seconds))[1]
    rig.supervisor.leave()
    assert [feeder.closed for feeder in rig.feeding.feeders] == [True] * 8
    assert rig.clock.at_s - began_s == pytest.approx(GRACE_S)
    assert all(told)
