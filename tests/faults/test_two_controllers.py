"""Two controllers on one PostgreSQL: one leads, and whatever happens to it, the other takes over within ten seconds.

The leader is killed with `kill -9`, or it sleeps while its claim is cut, so that it wakes up in the belief that it
still leads. After all of them:

- every rollout was completed, and each of its steps is in the audit once;
- every device was ordered once for each rollout, and committed each version once.
"""

import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.support import broker
from tests.support.controller_process import ControllerProcess
from tests.support.flotilla import LIMIT_S, Flotilla
from tests.support.light_agent import Temper
from tests.support.light_fleet import LightFleet, version
from tests.support.postgres import create_database
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.controller.core.plan import WaveStep

pytestmark = pytest.mark.slow

AGENTS = 4
ROLLOUTS = scaled(3, soak=30)
TAKEOVER_LIMIT_S = 10.0
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))

Tried = Callable[[str], None]


class Pair:
    """Two controllers, a broker that outlives both, and a fleet of light agents."""

    def __init__(self, directory: Path, database: str, stack: ExitStack) -> None:
        port = stack.enter_context(broker.running("mosquitto", directory))
        self.database = database
        self.controllers = [self._controller(directory / name, port, stack) for name in ("one", "two")]
        self.flotilla = Flotilla(directory, self.controllers[0])
        stack.callback(self.flotilla.client.close)
        self.fleet = LightFleet(directory / "fleet", AGENTS, port)
        stack.callback(self.fleet.kill)
        wait_until(lambda: len(self._born()) == AGENTS, f"{AGENTS} agents are known", LIMIT_S)

    def _controller(self, directory: Path, port: int, stack: ExitStack) -> ControllerProcess:
        directory.mkdir()
        controller = ControllerProcess(
            directory, broker="external", mqtt_port=port, database=self.database, republish_after_s=5.0,
            shared_dir=str(directory.parent / "shared"),
        )  # fmt: skip
        stack.callback(lambda: controller.process.poll() is None and controller.kill())
        return controller

    def _born(self) -> list[Any]:
        return [entry for entry in self.flotilla.get("/devices") if entry["birth"] and entry["slots"]]

    def status(self, controller: ControllerProcess) -> Any:
        """What it says of itself; nothing while it does not answer."""
        try:
            return httpx.get(f"{controller.started.url}/api/v1/status", timeout=2).json()
        except httpx.HTTPError:
            return {}

    @property
    def leader(self) -> ControllerProcess:
        return wait_until(self._leading, "one of them leads", LIMIT_S)

    def _leading(self) -> ControllerProcess | None:
        leading = [controller for controller in self.controllers if self.status(controller).get("leads")]
        return leading[0] if leading else None

    def other(self, controller: ControllerProcess) -> ControllerProcess:
        return self.controllers[1 - self.controllers.index(controller)]

    def take_over(self, after: Callable[[ControllerProcess], None]) -> float:
        """Do it to the leader; how long it takes until the other one leads, and is asked from now on."""
        before = self.leader
        heir = self.other(before)
        after(before)
        since_s = time.monotonic()
        wait_until(lambda: self.status(heir).get("leads"), "the other one leads", LIMIT_S)
        took_s = time.monotonic() - since_s
        self.flotilla.controller = heir
        assert took_s < TAKEOVER_LIMIT_S
        return took_s

    def cut_claim(self) -> None:
        """End the server's session that holds the claim."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
            )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Pair]:
    broker.require_mosquitto()
    with ExitStack() as stack:
        yield Pair(tmp_path_factory.mktemp("pair"), create_database(postgres, f"wherry-{uuid.uuid4().hex}"), stack)


def _kill(controller: ControllerProcess) -> None:
    controller.kill()


def test_a_leader_killed_or_asleep_in_a_rollout_is_replaced_and_no_step_is_lost_or_doubled(
    pair: Pair, tried: Tried
) -> None:
    took: list[float] = []
    for number in range(1, ROLLOUTS + 1):
        rollout = pair.flotilla.begin(pair.flotilla.upload(version(number, Temper())), waves=WAVES)
        took.append(pair.take_over(_kill))
        pair.other(pair.leader).start()
        wait_until(lambda rollout=rollout: pair.flotilla.rollout(rollout)["wave"] == 2, "the second wave", LIMIT_S)
        with _asleep_without_claim(pair, took) as sleeper:
            pair.flotilla.await_end(rollout, "completed")
        wait_until(lambda sleeper=sleeper: pair.status(sleeper).get("leads") is False, "it stands by", LIMIT_S)
    longest_s, count = max(took), len(took)
    tried(f"{count} takeovers in {ROLLOUTS} rollouts, the longest took {longest_s:.1f} s")
    _check_steps(pair)


@contextmanager
def _asleep_without_claim(pair: Pair, took: list[float]) -> Iterator[ControllerProcess]:
    """The leader sleeps from the middle of the rollout to its end, and wakes up when the other one has led it there."""
    sleeper = pair.leader

    def put_to_sleep(controller: ControllerProcess) -> None:
        controller.process.send_signal(signal.SIGSTOP)
        pair.cut_claim()

    took.append(pair.take_over(put_to_sleep))
    yield sleeper
    sleeper.process.send_signal(signal.SIGCONT)


def _check_steps(pair: Pair) -> None:
    told = Counter((row["subject"], row["action"]) for row in pair.flotilla.get("/audit"))
    for number in range(1, ROLLOUTS + 1):
        steps = {action: count for (subject, action), count in told.items() if subject == f"rollout {number}"}
        assert steps == {"rollout-started": 1, "rollout-promoted": 1, "rollout-completed": 1}
    with psycopg.connect(pair.database) as connection:
        orders = connection.execute("SELECT device, epoch, generation FROM desired ORDER BY device").fetchall()
    assert orders == [(device, 1, ROLLOUTS) for device in pair.fleet.devices]
    for device in pair.fleet.devices:
        wait_until(lambda device=device: _commits(pair, device) >= ROLLOUTS, f"{device} has told all", LIMIT_S)
        assert _commits(pair, device) == ROLLOUTS


def _commits(pair: Pair, device: str) -> int:
    return len(pair.flotilla.events(device, "committed"))


def test_a_leader_that_only_sleeps_is_not_replaced(pair: Pair) -> None:
    """The negative control: without a cut claim nobody takes over, so it is the claim that decides."""
    leader = pair.leader
    heir = pair.other(leader)
    leader.process.send_signal(signal.SIGSTOP)
    before = httpx.get(f"{heir.started.url}/api/v1/status", timeout=5).json()
    assert before["leads"] is False
    with psycopg.connect(pair.database, autocommit=True) as connection:
        free = connection.execute("SELECT pg_try_advisory_lock(%s)", (0x77_68_65_72_72_79_02,)).fetchone()
    assert free == (False,)
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
    took_s = pair.take_over(lambda controller: controller.stop())
    tried(f"1 takeover after a clean end, {took_s:.1f} s")
