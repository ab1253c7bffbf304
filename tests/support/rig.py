"""A whole supervisor in one thread, with a clock that a test moves, a fake link and fake workers."""

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from tests.support.cargo_hold import DEVICE, FLEET, Version, desire
from tests.support.fake_feeder import Feeding
from tests.support.fake_link import FakeLink
from tests.support.fake_worker import Yard
from wherry.agent.adapters.broker import Arrived
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.logs import LogBuffer
from wherry.agent.adapters.service import ServiceManager
from wherry.agent.adapters.store import Store
from wherry.agent.config import ArtifactsConfig, Config
from wherry.agent.core.record import SlotRecord
from wherry.agent.outbox import Outbox
from wherry.agent.services import PutBundle, Services
from wherry.agent.supervisor import Inbox, Supervisor
from wherry.agent.timers import Timers
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef
from wherry.protocol.codec import encode
from wherry.protocol.down import Action
from wherry.protocol.runtime import Runtime
from wherry.protocol.types import Message
from wherry.protocol.up import Birth, Event, Reported
from wherry.protocol.up.telemetry import SystemReading

M = TypeVar("M", bound=Message)
RUNTIMES = (Runtime(family="litert", version="2.3.0"),)
GIB = 1 << 30


class HandClock(Clock):
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now_s(self) -> float:
        return self.at_s

    def wall_s(self) -> float:
        return 1.7e9 + self.at_s

    def is_kept_right(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self.at_s += seconds


class StillMetrics:
    def read(self, worker_pid: int | None) -> SystemReading:
        return SystemReading(
            cpu_share=0.1, load_1min=0.1, ram_available_bytes=GIB, disk_free_bytes=GIB, supervisor_rss_bytes=1
        )


class FakeHttp:
    """Remembers what waits for an answer, which a test puts into the inbox."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, BlobRef, int | None]] = []

    def ask(self, artifacts_url: str, ref: BlobRef, index: int | None) -> None:
        self.wanted.append((artifacts_url, ref, index))

    def forget(self, digest: str) -> None:
        self.wanted = [entry for entry in self.wanted if entry[1].digest != digest]


class Rig:
    """`boot` starts an agent on the directory, `cut` ends it as a power cut does: without a word.

    A test that expects trouble with events sets `troubles` to a list; without one, trouble fails it.
    """

    def __init__(self, directory: Path, config: Config | None = None) -> None:
        self.config = config or Config(
            device=DEVICE, fleet=FLEET, state_dir=str(directory), artifacts=ArtifactsConfig(disk_reserve_bytes=0)
        )
        self.clock = HandClock()
        self.http = FakeHttp()
        self.retained: dict[str, bytes] = {}
        self.boots = 0
        self.yard = Yard()
        self.conduct = self.yard.conduct
        self.logs = LogBuffer()
        self.troubles: list[str] | None = None
        self.manager = ServiceManager({})
        self.chance: Callable[[], float] = lambda: 0.5
        self.put_bundle: PutBundle | None = None

    def boot(
        self, *, online: bool = True, can_save: bool = True, is_full: bool = False,
        runtimes: tuple[Runtime, ...] = RUNTIMES,
    ) -> "Rig":  # fmt: skip
        self.boots += 1
        self.store = Store(Path(self.config.state_dir))
        if not can_save:
            self.break_record()
        self.inbox: Inbox = Inbox()
        self.feeding = Feeding(self.inbox.put, self.clock.wait)
        self.yard = Yard()
        self.yard.conduct, self.yard.is_full = self.conduct, is_full
        self.link = FakeLink(self.inbox.put)
        self.link.retained = self.retained
        timers = Timers(self.clock.now_s)
        self.told: list[dict[str, object]] = []
        log = structlog.wrap_logger(
            None, processors=[self._hear], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        outbox = Outbox(
            fleet=FLEET, device=DEVICE, boot_id=f"boot-{self.boots}", link=self.link, spool=self.store.events,
            clock=self.clock, on_trouble=self._trouble, chance=self.chance,
        )  # fmt: skip
        services = Services(
            config=self.config, store=self.store, link=self.link, http=self.http, chance=self.chance,
            start_worker=self.yard.start, on_worker=self.inbox.put, metrics=StillMetrics(), runtimes=runtimes,
            clock=self.clock, timers=timers, log=log, manager=self.manager, put_bundle=self.put_bundle,
            start_feeder=self.feeding.start,
        )  # fmt: skip
        birth = Birth(
            boot_id=f"boot-{self.boots}", agent_version="0", machine="test", os="test", python="3", cpu_count=1,
            ram_bytes=GIB, disk_total_bytes=GIB, disk_free_bytes=GIB, runtimes=runtimes,
        )  # fmt: skip
        self.supervisor = Supervisor(services, self.inbox, outbox, birth, self.logs)
        if online:
            self.link.connect()
        self.supervisor.start()
        self.settle()
        return self

    def cut(self) -> "Rig":
        self.store.close()
        return self

    def settle(self) -> None:
        """Handle everything that is waiting, without letting time pass."""
        for _ in range(10_000):
            if not self.supervisor.turn(0) and self.inbox.empty():
                return
        raise AssertionError("the agent never comes to rest")

    def wait(self, seconds: float, *, windows: bool = True) -> None:
        """Let time pass in half seconds; workers that serve say a window every second."""
        for half in range(int(seconds * 2)):
            self.clock.at_s += 0.5
            if windows and half % 2:
                self.yard.tick()
            self.settle()

    def publish(self, version: Version) -> None:
        for topic, payload in version.messages().items():
            self.link.put(topic, payload)

    def want(self, generation: int, *versions: Version, url: str | None = None) -> None:
        self.send(topics.down(FLEET, DEVICE, "desired"), encode(desire(generation, *versions, url=url)))

    def order(self, action_id: str, kind: str, **fields: object) -> None:
        """A one-shot order that is in time."""
        action = msgspec.convert(
            {"type": "action", "id": action_id, "kind": kind, "not_after_s": self.clock.wall_s() + 60, **fields}, Action
        )
        self.send(topics.down(FLEET, DEVICE, "action"), encode(action))

    def send(self, topic: str, payload: bytes) -> None:
        self.link.put(topic, payload)
        self.settle()

    def deliver(self, topic: str, payload: bytes) -> None:
        """A message that the broker sends although nobody asked for it."""
        self.inbox.put(Arrived(topic, payload))
        self.settle()

    def deploy(self, generation: int, version: Version) -> None:
        """Publish and ask for a version, and let it run through its probation."""
        self.publish(version)
        self.want(generation, version)
        self.wait(6)

    @property
    def slot(self) -> SlotRecord:
        return self.store.record.slot("main")

    def sent(self, kind: type[M]) -> list[M]:
        return [message for message in self.link.sent if isinstance(message, kind)]

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.sent(Event) if event.kind == kind]

    def reported(self) -> Reported:
        return self.sent(Reported)[-1]

    def _hear(self, _logger: object, level: str, told: MutableMapping[str, object]) -> str:
        """Keep warnings and worse, for tests that ask for them."""
        if level not in ("debug", "info"):
            self.told.append(dict(told))
        raise structlog.DropEvent

    def break_record(self) -> None:
        """Let saving the record fail: directories have the names of its copies."""
        for path in self._copies():
            if path.exists():
                path.rename(_aside(path))
            path.mkdir()

    def mend_record(self) -> None:
        for path in self._copies():
            path.rmdir()
            if _aside(path).exists():
                _aside(path).rename(path)

    def _copies(self) -> list[Path]:
        return [self.store.directory / name for name in ("state.a", "state.b")]

    def _trouble(self, reason: str) -> None:
        assert self.troubles is not None, reason
        self.troubles.append(reason)


def _aside(path: Path) -> Path:
    return path.with_suffix(".aside" + path.suffix)


Condition = Callable[[], bool]
