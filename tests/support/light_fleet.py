"""A fleet of light agents round a real controller and a real broker, both to be killed at any moment.

`Storm` holds the three. `what_is_wrong` is the verdict once all is calm: it compares what every agent wrote down for
itself with what is in the controller's database.
"""

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support import broker
from tests.support.aftermath import told_on_failure
from tests.support.cargo_hold import FLEET, Version, make_version
from tests.support.controller_process import ControllerProcess
from tests.support.flotilla import Flotilla
from tests.support.light_agent import TOLD, Setting, Temper
from tests.support.wait import wait_until
from wherry.agent.adapters.store import Store
from wherry.agent.core.record import SlotRecord
from wherry.controller.adapters import mosquitto
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Event

AGENTS_PER_PROCESS = 50
LIMITS = HealthLimits(
    min_inferences=100, probation_s=1.0, deadline_s=60, p95_ratio=1000, worker_growth_bytes=None, prediction_psi=None,
    confidence_shift=None,
)  # fmt: skip
ARTIFACT_BYTES = 100_000
"""Two blocks."""

START_LIMIT_S = 120.0


def version(number: int, temper: Temper) -> Version:
    """Of a model whose workers behave as `temper` says. Each number is another artifact."""
    body = msgspec.json.encode(temper)
    return make_version(number, artifact=body + b" " * number + b"\0" * (ARTIFACT_BYTES - len(body)), health=LIMITS)


class LightFleet:
    """Processes of agents, all on one broker."""

    def __init__(self, directory: Path, count: int, port: int, **setting: Any) -> None:
        self.directory = directory
        self.devices = tuple(f"boat-{number:04}" for number in range(1, count + 1))
        self.processes = [
            self._start(self.devices[first : first + AGENTS_PER_PROCESS], port, setting)
            for first in range(0, count, AGENTS_PER_PROCESS)
        ]

    def _start(self, devices: tuple[str, ...], port: int, more: dict[str, Any]) -> "subprocess.Popen[bytes]":
        setting = Setting(devices=devices, directory=str(self.directory), fleet=FLEET, port=port, **more)
        for device in devices:
            (self.directory / device).mkdir(parents=True)
        path = self.directory / f"{devices[0]}.json"
        path.write_bytes(msgspec.json.encode(setting))
        with (self.directory / "agents.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "tests.support.light_agent", str(path)], stderr=log)

    def told(self) -> dict[tuple[str, str, int], Event]:
        """Every event that an agent ever had to tell, by device, boot id and number."""
        found = {}
        for device in self.devices:
            path = self.directory / device / TOLD
            for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
                event = msgspec.json.decode(line, type=Event)
                found[(device, event.boot_id, event.seq)] = event
        return found

    def told_bytes(self) -> int:
        """How far the fleet is: this grows with everything that happens anywhere."""
        paths = (self.directory / device / TOLD for device in self.devices)
        return sum(path.stat().st_size for path in paths if path.exists())

    def leave(self) -> None:
        """Let every agent leave in good order, so that its directory may be looked at."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(START_LIMIT_S)

    def explain(self) -> None:
        """Have every process write into the log what its threads are at, or that it has ended."""
        for process in self.processes:
            status = process.poll()
            process.send_signal(signal.SIGUSR1)
            with (self.directory / "agents.log").open("a") as log:
                log.write(f"process {process.pid}: {'at work' if status is None else f'ended with {status}'}\n")

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def slots(self) -> dict[str, SlotRecord]:
        """What each agent has on its own disk, once it has left."""
        found = {}
        for device in self.devices:
            store = Store(self.directory / device / "state")
            found[device] = store.record.slot("main")
            store.close()
        return found


class Storm:
    """`flotilla` speaks to the controller; `fleet` are the agents; `mqtt_port` stays that of the broker."""

    def __init__(self, directory: Path, stack: ExitStack, count: int, **setting: Any) -> None:
        self._directory, self._stack = directory, stack
        self.mqtt_port = broker.free_port()
        self._broker = ExitStack()
        stack.callback(lambda: self._broker.close())
        self.start_broker()
        self.controller = ControllerProcess(
            directory, broker="external", mqtt_port=self.mqtt_port, republish_after_s=5.0, tick_s=0.2
        )
        stack.callback(lambda: self.controller.process.poll() is None and self.controller.kill())
        self.flotilla = Flotilla(directory, self.controller)
        stack.callback(self.flotilla.client.close)
        self.fleet = LightFleet(directory / "fleet", count, self.mqtt_port, **setting)
        stack.callback(self.fleet.kill)
        wait_until(lambda: self._born() == count, f"{count} agents are known", START_LIMIT_S)

    def start_broker(self) -> None:
        """As the controller would start it, but keeping nothing on disk: a killed one has lost all of it."""
        told = mosquitto.configuration(broker.HOST, self.mqtt_port).replace("persistence true", "persistence false")
        path = self._directory / "storm.conf"
        path.write_text(told.replace("log_type notice\n", ""))
        process = subprocess.Popen(
            [broker.require_mosquitto(), "-c", str(path)], cwd=self._directory, stderr=subprocess.DEVNULL
        )
        self._broker.callback(process.wait)
        self._broker.callback(process.kill)
        wait_until(lambda: broker.accepts(self.mqtt_port), "mosquitto listens")

    def kill_broker(self) -> None:
        self._broker.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """From the controller's database, whether or not a controller runs."""
        with closing(sqlite3.connect(f"file:{self.controller.data_dir / 'controller.db'}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()

    def change(self, statement: str) -> None:
        """Damage the database of a controller that does not run."""
        with closing(sqlite3.connect(self.controller.data_dir / "controller.db")) as db, db:
            db.execute(statement)

    def _born(self) -> int:
        return int(self.rows("SELECT count(*) FROM devices WHERE birth IS NOT NULL AND reported IS NOT NULL")[0][0])

    def state(self, rollout: int) -> str:
        return str(self.rows("SELECT state FROM rollouts WHERE id = ?", rollout)[0][0])

    def events(self) -> dict[tuple[str, str, int], Event]:
        """What the controller has taken in."""
        rows = self.rows("SELECT device, boot_id, seq, body FROM events")
        return {(device, boot, seq): msgspec.json.decode(body, type=Event) for device, boot, seq, body in rows}

    def lost(self) -> int:
        """How many events some agent has told that the controller does not have, or not as they were told."""
        told, kept = self.fleet.told(), self.events()
        return sum(kept.get(key) != event for key, event in told.items())

    def lagging(self) -> int:
        """How many devices have not accepted what is wanted of them, or are on their way."""
        behind = """SELECT count(*) FROM desired d JOIN devices v ON v.id = d.device
            WHERE (v.reported_epoch, v.reported_generation) < (d.epoch, d.generation) OR v.presence != 'online'"""
        return int(self.rows(behind)[0][0])


@contextmanager
def storm(directory: Path, count: int, **setting: Any) -> Iterator[Storm]:
    """`setting` is that of the agents. Skips the test where mosquitto is missing."""
    broker.require_mosquitto()
    with ExitStack() as stack, told_on_failure(directory):
        at = Storm(directory, stack, count, **setting)
        try:
            yield at
        except Exception:
            at.fleet.explain()
            raise


def what_is_wrong(storm: Storm, rollouts: dict[int, str], serving: int) -> list[str]:
    """Everything that is not as it must be once all is calm; the fleet has left.

    `rollouts` are those that were begun, with the state that each must have ended in; `serving` is the version that
    every device must be on.
    """
    found = [f"{storm.lost()} events were told and are not kept"] if storm.lost() else []
    invented = storm.events().keys() - storm.fleet.told().keys()
    found += [f"{len(invented)} events are kept that nobody told"] if invented else []
    for device, slot in storm.fleet.slots().items():
        if slot.incumbent is None or slot.incumbent.version != serving or slot.state != "running":
            found.append(f"{device} has {slot.incumbent} in state {slot.state}, not version {serving}")
    for rollout, state in rollouts.items():
        if storm.state(rollout) != state:
            found.append(f"rollout {rollout} is {storm.state(rollout)}, not {state}")
        found += _doubled(storm, rollout, state)
    return found + _unaccounted(storm)


def _doubled(storm: Storm, rollout: int, state: str) -> list[str]:
    """Steps of a rollout that the audit has not exactly once."""
    rows = storm.rows("SELECT action, detail FROM audit WHERE subject = ? ORDER BY id", f"rollout {rollout}")
    told = Counter(action for action, _ in rows if action != "rollout-promoted")
    must = Counter(
        {"rollout-started": 1, f"rollout-{state}": 1} | ({"rollout-reverting": 1} if state == "reverted" else {})
    )
    waves = [msgspec.json.decode(detail)["wave"] for action, detail in rows if action == "rollout-promoted"]
    found = [] if told == must else [f"rollout {rollout}: the audit has {dict(told)}"]
    reached = storm.rows("SELECT wave FROM rollouts WHERE id = ?", rollout)[0][0]
    return found if waves == list(range(2, reached + 1)) else [*found, f"rollout {rollout}: waves {waves} were opened"]


def _unaccounted(storm: Storm) -> list[str]:
    """Devices whose document was renewed more or less often than rollouts have sent and taken back."""
    rows = storm.rows("""
        SELECT d.device, d.generation, count(r.sent_s) + count(r.restored_s) FROM desired d
        JOIN rollout_devices r ON r.device = d.device GROUP BY d.device, d.generation""")
    return [f"{device}: {steps} steps and generation {made}" for device, made, steps in rows if made != steps]
