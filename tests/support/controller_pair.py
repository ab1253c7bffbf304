"""Two controllers on one PostgreSQL, of which one leads, and what is wrong once all is calm.

`Pair` is a `Storm` whose database is a server's and whose broker nobody kills, so the verdict is the same.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psycopg

from tests.support import broker
from tests.support.cargo_hold import FLEET
from tests.support.controller_process import ControllerProcess
from tests.support.flotilla import LIMIT_S, Flotilla
from tests.support.light_agent import Temper
from tests.support.light_fleet import LightFleet, Storm, version, what_is_wrong
from tests.support.lookout import looking
from tests.support.sleepy_controller import SleepyController
from tests.support.wait import wait_until
from wherry.controller.core.plan import Target, WaveStep
from wherry.controller.store.claim import CONTROLLER_LOCK
from wherry.protocol import topics
from wherry.protocol.codec import decode_up
from wherry.protocol.up import Reported

AGENTS = 4
TAKEOVER_LIMIT_S = 10.0
WAVES = (WaveStep(amount=1), WaveStep(amount=100, percent=True))
CUT = """SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()
    AND l.classid = ? AND l.objid = ?"""
"""End the session that holds the claim, whichever else hold the writers' lock."""

STANDINGS = """SELECT r.state, r.wave, d.standing FROM rollouts r JOIN rollout_devices d ON d.rollout = r.id
    WHERE r.id = ?"""

Moment = tuple[str, int, str]
"""State and open wave of a rollout, and a standing that one of its devices has."""

Act = Callable[[ControllerProcess], object]
C = TypeVar("C", bound=ControllerProcess)


class ReturningFleet(LightFleet):
    """One that goes on, on the same disks, after it has left."""

    def come_back(self) -> None:
        settings = sorted(self.directory.glob("*.json"))
        with (self.directory / "agents.log").open("ab") as log:
            self.processes = [
                subprocess.Popen([sys.executable, "-m", "tests.support.light_agent", str(path)], stderr=log)
                for path in settings
            ]


class Pair(Storm):
    """`ends` are the rollouts that were begun, with the states that they must end in; `serving` is what must serve."""

    def __init__(self, directory: Path, database: str, stack: ExitStack) -> None:
        self.mqtt_port = stack.enter_context(broker.running("mosquitto", directory))
        self._directory, self._stack, self._database = directory, stack, database
        self._asked = stack.enter_context(psycopg.connect(database, autocommit=True))
        self.controllers = [self._start(ControllerProcess, name) for name in ("one", "two")]
        self.controller = self.controllers[0]
        self.flotilla = Flotilla(directory, self.controller)
        stack.callback(self.flotilla.client.close)
        self.fleet: ReturningFleet = ReturningFleet(directory / "fleet", AGENTS, self.mqtt_port)
        stack.callback(lambda: self.fleet.kill())
        self.ends: dict[int, str] = {}
        self.serving = self.newest = 0
        self.took_s: list[float] = []
        wait_until(lambda: self._born() == AGENTS, f"{AGENTS} agents are known", LIMIT_S)

    def _start(self, kind: type[C], name: str) -> C:
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        controller = kind(
            directory, broker="external", mqtt_port=self.mqtt_port, database=self._database, republish_after_s=5.0,
            shared_dir=str(self._directory / "shared"),
        )  # fmt: skip
        self._stack.callback(lambda: controller.process.poll() is None and controller.kill())
        return controller

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._asked.execute(query.replace("?", "%s").encode(), values or None).fetchall()

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

    def take_over(self, after: Act) -> ControllerProcess:
        """Do it to the leader, and wait until the other one leads, which is asked from now on; the one before."""
        before = self.controller
        heir = self.other(before)
        after(before)
        since_s = time.monotonic()
        wait_until(lambda: self.status(heir).get("leads"), "the other one leads", LIMIT_S)
        self.took_s.append(time.monotonic() - since_s)
        self.controller = self.flotilla.controller = heir
        assert self.took_s[-1] < TAKEOVER_LIMIT_S
        return before

    def await_standing_by(self, controller: ControllerProcess) -> None:
        wait_until(lambda: self.status(controller).get("leads") is False, "it stands by", LIMIT_S)

    def cut_claim(self) -> None:
        """End the server's session that holds the claim."""
        self.rows(CUT, CONTROLLER_LOCK >> 32, CONTROLLER_LOCK & 0xFFFF_FFFF)

    def replace_standby(self) -> SleepyController:
        """By one that falls asleep when it is told to."""
        before = self.other(self.leader)
        if before.process.poll() is None:
            before.kill()
        sleeper = self._start(SleepyController, before.data_dir.parent.name)
        self.controllers[self.controllers.index(before)] = sleeper
        return sleeper

    def let_lead(self, heir: ControllerProcess) -> None:
        """The other one may be the first to claim anew, since it is not asleep: then its claim is cut again."""
        while self.leader is not heir:
            self.cut_claim()
            wait_until(lambda: not self.status(self.other(heir)).get("leads"), "the claim is lost", LIMIT_S)
        self.controller = self.flotilla.controller = heir

    def begin(self, temper: Temper, end: str) -> int:
        """A rollout to all devices in the order of their names, of a version of its own, which is to end so."""
        self.newest += 1
        target = Target(devices=self.fleet.devices)
        name = self.flotilla.upload(version(self.newest, temper))
        rollout = self.flotilla.begin(name, waves=WAVES, target=target)
        self.ends[rollout] = end
        self.serving = self.newest if end == "completed" else self.serving
        return rollout

    def is_at(self, rollout: int, moment: Moment) -> bool:
        return moment in self.rows(STANDINGS, rollout)

    def is_over(self, rollout: int) -> bool:
        return self.rows("SELECT ended_s FROM rollouts WHERE id = ?", rollout) != [(None,)]

    def verdict(self, at_last: Callable[[], object] = lambda: None) -> list[str]:
        """What is wrong when all is calm and the fleet has left, and `at_last` was done; then the fleet comes back."""
        wait_until(lambda: self.lagging() == 0 and self.lost() == 0, "every device follows and is heard", LIMIT_S)
        self.fleet.leave()
        online = "SELECT id FROM devices WHERE presence = 'online'"
        wait_until(lambda: not self.rows(online), "all that was said before a farewell is taken in", LIMIT_S)
        at_last()
        found = what_is_wrong(self, self.ends, self.serving) + self._misreported()
        self.fleet.come_back()
        return found

    def _misreported(self) -> list[str]:
        """Devices of which something else is kept than what they reported last: the broker retains that."""
        kept = dict(self.rows("SELECT id, reported FROM devices"))
        with looking(self.mqtt_port) as lookout:
            said = lookout.retained(topics.up(FLEET, "+", "reported"))
        return [
            f"{device} reported something else last than what is kept"
            for device, body in sorted(kept.items())
            if msgspec.json.decode(body, type=Reported)
            != decode_up("reported", said[topics.up(FLEET, device, "reported")])
        ]
