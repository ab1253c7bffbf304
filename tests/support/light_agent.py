"""Many agents in one process, real in all but their workers: `python -m tests.support.light_agent SETTING.json`.

Each has the real supervisor in a thread of its own, the real session with the broker, the real store on the real
disk and the real downloads. Only the workers are played: how one behaves is said by the artifact that it is given, so
that it travels with the version and is verified like any other.

Every event that an agent has to tell is first written to `told.jsonl` in its directory, which nobody removes: what
arrives at the controller is compared with that. With `ignores_repeats` an agent subscribes at its first connection
alone, and with `trusts_the_broker` it forgets an event when the broker has acknowledged it: two faults, for negative
controls.
"""

import faulthandler
import signal
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import structlog

from tests.support.fake_worker import Conduct, FakeWorker, Yard
from tests.support.rig import GIB, RUNTIMES, StillMetrics
from wherry.agent.adapters.broker import Broker, Taken, Will
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.http_blocks import HttpBlocks
from wherry.agent.adapters.logs import LogBuffer
from wherry.agent.adapters.store import Store
from wherry.agent.config import ArtifactsConfig, BrokerConfig, Config, WorkerConfig
from wherry.agent.outbox import Outbox
from wherry.agent.services import OnWorker, Services
from wherry.agent.supervisor import Inbox, Leave, Supervisor
from wherry.agent.timers import Timers
from wherry.agent.worker.messages import AnyOrder, Load
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.down import Receipt
from wherry.protocol.first_use import learn_types
from wherry.protocol.up import Birth, Status

TOLD = "told.jsonl"
WINDOW_S = 1.0
SESSIONS_PER_BOOT = 1_000_000


class Temper(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact makes of its workers: `sick` on so many percent of the devices, `well` on the others."""

    well: Conduct = Conduct()
    sick: Conduct = Conduct()
    sick_percent: int = 0

    def on(self, device: str) -> Conduct:
        return self.sick if is_sick(device, self.sick_percent) else self.well


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The agents of one process. `port` is the broker's."""

    devices: tuple[str, ...]
    directory: str
    fleet: str
    port: int
    telemetry_window_s: float = 2.0
    ignores_repeats: bool = False
    trusts_the_broker: bool = False


def is_sick(device: str, percent: int) -> bool:
    """The same for everybody who asks."""
    return zlib.crc32(device.encode()) % 100 < percent


class LightWorker(FakeWorker):
    """Learns from the artifact how to behave."""

    def __init__(self, yard: "LightYard", worker_id: str, slot: str, role: str, on_event: OnWorker) -> None:
        super().__init__(yard, worker_id, slot, role, on_event)
        self._device, self._conduct = yard.device, Conduct()

    @property
    def conduct(self) -> Conduct:
        return self._conduct

    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None:
        if isinstance(order, Load):
            body = Path(f"/proc/self/fd/{files[0]}").read_bytes()
            self._conduct = msgspec.json.decode(body.rstrip(b"\0"), type=Temper).on(self._device)
        super().send(order, files)


class LightYard(Yard):
    """The workers of one agent; those that have ended are forgotten."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def start(self, slot: str, role: str, on_event: OnWorker) -> FakeWorker:
        self.workers = [worker for worker in self.workers if not worker.ended]
        self.workers.append(LightWorker(self, f"{slot}-{role}-{next(self._numbers)}", slot, role, on_event))
        return self.workers[-1]


class DeafOutbox(Outbox):
    """A fault: it believes that a broker never forgets a subscription, and reads no retained message again."""

    _has_subscribed = False

    def connected(self, *args: object) -> None:
        subscribe = self._link.subscribe
        if self._has_subscribed:
            self._link.subscribe = lambda *_, **__: None  # type: ignore[method-assign]
        super().connected(*args)  # type: ignore[arg-type]
        self._link.subscribe, self._has_subscribed = subscribe, True  # type: ignore[method-assign]


class TrustingOutbox(Outbox):
    """A fault: an event that the broker has acknowledged is not kept any longer."""

    def taken(self, taken: Taken) -> bool:
        is_event = taken.token in self._in_flight
        answer = super().taken(taken)
        if is_event and not self._in_flight:
            for named in list(self._unconfirmed):
                self.confirmed(Receipt(boot_id=named.boot_id, seqs=(named.seq,)))
        return answer


class LightAgent:
    """One device. Use `start`, and `stop` from any thread; `tick` lets its workers say what a second brought."""

    def __init__(self, setting: Setting, device: str) -> None:
        directory = Path(setting.directory) / device
        self._config = _config(setting, device, directory / "state")
        self._store = Store(directory / "state")
        self._store.save(self._store.record.booted())
        self._inbox: Inbox = Inbox()
        self.yard = LightYard(device)
        self._told = (directory / TOLD).open("ab", buffering=0)
        add = self._store.events.add

        def adding(message: bytes) -> int:
            self._told.write(message + b"\n")
            return add(message)

        self._store.events.add = adding  # type: ignore[method-assign]
        self._broker, self._supervisor = self._build(setting, device)
        self._thread = threading.Thread(target=self._run, name=device, daemon=True)

    def _build(self, setting: Setting, device: str) -> tuple[Broker, Supervisor]:
        clock, boot_id = Clock(), uuid.uuid4().hex
        will = Will(
            topics.up(setting.fleet, device, "status"),
            lambda session: encode(Status(presence="lost", session=session)),
        )
        first_session = self._store.record.boots * SESSIONS_PER_BOOT + 1
        broker = Broker(self._config.broker, device, will, first_session, self._inbox.put)
        outbox = _outbox(setting)(
            fleet=setting.fleet, device=device, boot_id=boot_id, link=broker, spool=self._store.events, clock=clock,
            on_trouble=_complain, chance=lambda: 0.5,
        )  # fmt: skip
        services = Services(
            config=self._config, store=self._store, link=broker, http=HttpBlocks(self._inbox.put),
            start_worker=self.yard.start, on_worker=self._inbox.put, metrics=StillMetrics(), runtimes=RUNTIMES,
            clock=clock, timers=Timers(clock.now_s), chance=lambda: 0.5,
            log=_quiet(),
        )  # fmt: skip
        birth = Birth(
            boot_id=boot_id, agent_version="0", machine="x86_64", os="test", python="3.11", cpu_count=1, ram_bytes=GIB,
            disk_total_bytes=GIB, disk_free_bytes=GIB, runtimes=RUNTIMES, slots=("main",),
        )  # fmt: skip
        return broker, Supervisor(services, self._inbox, outbox, birth, LogBuffer())

    def start(self) -> None:
        self._broker.start()
        self._thread.start()

    def tick(self) -> None:
        self.yard.tick()

    def ask_to_leave(self) -> None:
        self._inbox.put(Leave())

    def wait(self) -> None:
        self._thread.join(10)

    def _run(self) -> None:
        self._supervisor.run()
        self._broker.stop()
        self._store.close()


def _config(setting: Setting, device: str, state_dir: Path) -> Config:
    return Config(
        device=device, fleet=setting.fleet, state_dir=str(state_dir), telemetry_window_s=setting.telemetry_window_s,
        broker=BrokerConfig(port=setting.port, protocol="5", reconnect_limit_s=2.0),
        artifacts=ArtifactsConfig(stall_s=1.0, disk_reserve_bytes=0, ram_reserve_bytes=0),
        worker=WorkerConfig(load_limit_s=15.0, self_test_limit_s=5.0, silence_limit_s=10.0, restart_limit_s=1.0),
    )  # fmt: skip


def _outbox(setting: Setting) -> type[Outbox]:
    if setting.ignores_repeats:
        return DeafOutbox
    return TrustingOutbox if setting.trusts_the_broker else Outbox


def _complain(reason: str) -> None:
    sys.stderr.write(f"trouble with what goes up: {reason}\n")


def _quiet() -> structlog.typing.FilteringBoundLogger:
    def drop(*_: object) -> str:
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[drop], wrapper_class=structlog.make_filtering_bound_logger(0))


def _keep_time(agents: Iterable[LightAgent], leaving: threading.Event) -> None:
    """Let a second pass for all workers, again and again."""
    due_s = time.monotonic()
    while not leaving.wait(max(0.0, due_s - time.monotonic())):
        due_s = max(due_s + WINDOW_S, time.monotonic() - WINDOW_S)
        for agent in agents:
            agent.tick()


def main(path: str) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # where a fleet hangs, the test asks what each thread is at
    learn_types()  # as the agent does
    setting = msgspec.json.decode(Path(path).read_bytes(), type=Setting)
    leaving = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())
    agents = [LightAgent(setting, device) for device in setting.devices]
    for agent in agents:
        agent.start()
    _keep_time(agents, leaving)
    for agent in agents:
        agent.ask_to_leave()
    for agent in agents:
        agent.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
