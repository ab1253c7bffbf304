"""Two controllers on one PostgreSQL: one leads, and whatever happens to it, the other takes over within ten seconds.

The leader is killed with `kill -9`, each time at another moment of a rollout, or it sleeps while its claim is cut, so
that it wakes up in the belief that it still leads. After all of them:

- every rollout ended as its version deserved, and each of its steps is in the audit once;
- each device was ordered what the rollouts decided, and each decision was ordered once;
- every event that a device told is kept, none twice, and of its reports the last one;
- each device serves the last version that was completed, by its own record on disk.
"""

import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.support import broker
from tests.support.controller_pair import Moment, Pair
from tests.support.controller_process import ControllerProcess
from tests.support.fake_worker import Conduct
from tests.support.flotilla import LIMIT_S
from tests.support.light_agent import Temper
from tests.support.postgres import create_database
from tests.support.sleepy_controller import Moment as SleepyMoment
from tests.support.sleepy_controller import Part, SleepyController
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.controller.store.claim import CONTROLLER_LOCK

LONGEST_S = scaled(400, soak=14_400)
"""Each kill has a controller started again, for which busy machines take long."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

START: Moment = ("running", 1, "sent")
ACKNOWLEDGED: Moment = ("running", 1, "in-progress")
WAVE_OPEN: Moment = ("running", 2, "sent")
WAVE_ACKNOWLEDGED: Moment = ("running", 2, "in-progress")
REVERTING: Moment = ("reverting", 2, "committed")

GOOD = Temper()
BAD = Temper(sick=Conduct(errors=50), sick_percent=30)
"""The canary commits, and devices of the second wave fail: all are taken back."""

ROUNDS: tuple[tuple[Temper, Moment, str], ...] = (
    (GOOD, START, "killed"),
    (BAD, REVERTING, "killed"),
    (GOOD, ACKNOWLEDGED, "killed"),
    (BAD, WAVE_OPEN, "asleep"),
    (GOOD, WAVE_OPEN, "killed"),
    (GOOD, WAVE_ACKNOWLEDGED, "killed"),
)
"""What is rolled out, and what happens to the leader at which moment of that."""

TIMES = scaled(1, soak=6)

Tried = Callable[[str], None]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Pair]:
    broker.require_mosquitto()
    with ExitStack() as stack:
        yield Pair(tmp_path_factory.mktemp("pair"), create_database(postgres, f"wherry-{uuid.uuid4().hex}"), stack)


def test_a_leader_killed_or_asleep_in_a_rollout_is_replaced_and_no_step_is_lost_or_doubled(
    pair: Pair, tried: Tried
) -> None:
    left = list(ROUNDS * TIMES)
    while left:
        temper, moment, fault = left[0]
        rollout = pair.begin(temper, "completed" if temper is GOOD else "reverted")
        if FAULTS[fault](pair, rollout, moment):
            left.pop(0)
        wait_until(lambda rollout=rollout: pair.is_over(rollout), f"rollout {rollout} ends", LIMIT_S)
        assert len(pair.ends) < 2 * len(ROUNDS) * TIMES, "moments are missed again and again"
    assert pair.verdict() == []
    faults = Counter(fault for _, _, fault in ROUNDS * TIMES)
    ended, longest_s = list(pair.ends.values()), max(pair.took_s)
    tried(
        f"a leader {faults['killed']} times killed and {faults['asleep']} times asleep in {len(ended)} rollouts, "
        f"{ended.count('reverted')} of them reverted; the longest takeover took {longest_s:.1f} s"
    )


def _comes_to(pair: Pair, rollout: int, moment: Moment) -> None:
    """Wait for the moment, or for the end of a rollout that was there and past it between two looks."""
    wait_until(lambda: pair.is_at(rollout, moment) or pair.is_over(rollout), f"{moment} or the end", LIMIT_S)


def _killed(pair: Pair, rollout: int, moment: Moment) -> bool:
    """Kill the leader then; whether it was still that moment when it was dead. There is one to stand by on return."""
    found: list[bool] = []

    def kill_then(controller: ControllerProcess) -> None:
        _comes_to(pair, rollout, moment)
        controller.kill()
        found.append(pair.is_at(rollout, moment))

    pair.take_over(kill_then)
    pair.other(pair.controller).start()
    return found[0]


def _asleep(pair: Pair, rollout: int, moment: Moment) -> bool:
    """Let the leader sleep from then on, and wake up in the belief that it still leads when the rollout has ended."""
    found: list[bool] = []

    def put_to_sleep_then(controller: ControllerProcess) -> None:
        _comes_to(pair, rollout, moment)
        controller.process.send_signal(signal.SIGSTOP)
        found.append(pair.is_at(rollout, moment))
        pair.cut_claim()

    sleeper = pair.take_over(put_to_sleep_then)
    wait_until(lambda: pair.is_over(rollout), f"rollout {rollout} ends", LIMIT_S)
    sleeper.process.send_signal(signal.SIGCONT)
    pair.await_standing_by(sleeper)
    return found[0]


FAULTS = {"killed": _killed, "asleep": _asleep}


def test_a_leader_that_only_sleeps_is_not_replaced(pair: Pair) -> None:
    """The negative control: without a cut claim nobody takes over, so it is the claim that decides."""
    leader = pair.leader
    heir = pair.other(leader)
    leader.process.send_signal(signal.SIGSTOP)
    before = httpx.get(f"{heir.started.url}/api/v1/status", timeout=5).json()
    assert before["leads"] is False
    free = pair.rows("SELECT pg_try_advisory_lock(?)", CONTROLLER_LOCK)
    assert free == [(False,)]
    leader.process.send_signal(signal.SIGCONT)
    assert pair.status(leader)["leads"] is True


def test_a_leader_that_ends_in_good_order_is_replaced_and_the_other_answers_all_the_time(
    pair: Pair, tried: Tried
) -> None:
    heir = pair.other(pair.leader)
    assert pair.status(heir)["leader"] == pair.leader.started.url, "the one that stands by tells who leads"
    url = f"{heir.started.url}/api/v1/devices/{pair.fleet.devices[0]}/actions"
    refused = httpx.post(url, json={"kind": "self-test"}, timeout=20)
    assert (refused.status_code, pair.leader.started.url in refused.text) == (503, True), refused.text
    pair.take_over(lambda controller: controller.stop())
    tried(f"1 takeover after a clean end, {pair.took_s[-1]:.1f} s")


@pytest.fixture(scope="module")
def sleeper(pair: Pair) -> SleepyController:
    """In the place of one of the two."""
    return pair.replace_standby()


def _let_sleep(
    pair: Pair, sleeper: SleepyController, moment: SleepyMoment, without: tuple[Part, ...] = ()
) -> list[str]:
    """What is wrong after a leader fell asleep then, and woke up when the other one had led the rollout to its end."""
    pair.let_lead(sleeper)
    sleeper.sleep_at(moment, without)
    rollout = pair.begin(GOOD, "completed")
    sleeper.await_sleep()
    pair.take_over(lambda _: pair.cut_claim())
    wait_until(lambda: pair.is_over(rollout), f"rollout {rollout} ends", LIMIT_S)
    found = pair.verdict(at_last=sleeper.wake)
    sleeper.go_on()
    pair.await_standing_by(sleeper)
    return found


@pytest.mark.parametrize("moment", ["heard", "deciding"])
def test_a_leader_that_wakes_up_in_the_middle_of_a_step_does_not_end_it(
    pair: Pair, sleeper: SleepyController, tried: Tried, moment: SleepyMoment
) -> None:
    """One that sleeps in a transaction keeps the others from writing, until the server ends that."""
    assert _let_sleep(pair, sleeper, moment) == []
    tried(f"1 sleep when {moment}, the takeover took {pair.took_s[-1]:.1f} s")


@pytest.mark.parametrize(
    ("moment", "without", "found"),
    [
        ("heard", ("term",), "boat-0001 reported something else last than what is kept"),
        ("deciding", ("order", "limit"), "waves [2, 2] were opened"),
    ],
    ids=["heard", "deciding"],
)
def test_without_its_fence_it_ends_the_step_once_more(
    pair: Pair, sleeper: SleepyController, tried: Tried, moment: SleepyMoment, without: tuple[Part, ...], found: str
) -> None:
    """The negative control. In a transaction the term is no help: it was looked at when that began."""
    wrong = _let_sleep(pair, sleeper, moment, without)
    assert any(found in line for line in wrong), wrong
    tried(f"1 sleep when {moment}, without {' and '.join(without)}: {'; '.join(wrong)}")
