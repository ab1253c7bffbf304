"""Looks at the running agent: for the person at the board, the service manager, and the logs that are collected.

It only reads, and runs in the supervisor's turn.
"""

from collections.abc import Callable, Mapping

import msgspec

from wherry.agent.adapters.control import Asked
from wherry.agent.adapters.logs import LogBuffer
from wherry.agent.adapters.sockets import addresses
from wherry.agent.bundle import bundle, without_secrets
from wherry.agent.core.heartbeat import Pulse
from wherry.agent.core.status import Status, WorkerFacts, slot_status, status_text
from wherry.agent.services import Services
from wherry.agent.slot_runner import SlotRunner
from wherry.protocol.up import Birth

PACKAGES = ("msgspec", "numpy", "paho-mqtt", "psutil", "httpx", "tflite-runtime", "ai-edge-litert")
"""Whose versions are told in a bundle: they decide what works on a board."""


class Inspection:
    def __init__(
        self, services: Services, runners: Mapping[str, SlotRunner], birth: Birth, logs: LogBuffer,
        *, online: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._services, self._runners, self._birth, self._logs = services, runners, birth, logs
        self._online = online
        self._started_s = services.clock.wall_s()

    def answer(self, asked: Asked) -> None:
        asked.reply(msgspec.json.encode(self.status()))

    def status(self) -> Status:
        config, store = self._services.config, self._services.store
        slots = tuple(
            slot_status(name, store.record.slot(name), worker=_facts(runner), sockets=addresses(config, name))
            for name, runner in self._runners.items()
        )
        return Status(
            device=config.device, fleet=config.fleet, agent_version=self._birth.agent_version, running=True,
            broker=f"{config.broker.host}:{config.broker.port}", state_dir=config.state_dir,
            boots=store.record.boots, order=(store.record.epoch, store.record.generation), slots=slots,
            connected=self._online(), started_s=self._started_s, events_waiting=len(store.events),
            damaged_copies=store.damaged_copies,
        )  # fmt: skip

    def text(self) -> str:
        return status_text(self._online(), self._services.store.record, tuple(self._runners))

    def pulses(self) -> list[Pulse]:
        return [
            Pulse(slot=name, should_serve=runner.should_serve, heard_s=runner.vitals.heard_s)
            for name, runner in self._runners.items()
        ]

    def collect(self) -> bytes:
        """The bundle: what the board is, how it does, what is on its disk, and the last log lines."""
        recent = self._logs.recent
        entries: list[tuple[str, object]] = [
            ("about", {"at_s": self._services.clock.wall_s(), "log_lines_forgotten": recent.forgotten}),
            ("status", self.status()),
            ("board", self._birth),
            ("system", self._services.metrics.read(None)),
            ("packages", _versions()),
            ("configuration", without_secrets(self._services.config)),
            ("record", self._services.store.record),
        ]  # fmt: skip
        return bundle(entries, recent.lines())


def _facts(runner: SlotRunner) -> WorkerFacts:
    vitals = runner.vitals
    return WorkerFacts(
        since_s=vitals.phase_since_s, pid=runner.worker_pid, rss_bytes=vitals.rss_bytes if runner.worker_pid else 0,
        inferences=vitals.inferences, errors=vitals.errors, p95_ms=vitals.p95_ms(),
    )  # fmt: skip


def _versions() -> dict[str, str]:
    from importlib import metadata  # costs megabytes, for once in a while

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
