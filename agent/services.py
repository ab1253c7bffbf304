"""What the parts of the supervisor share. Built in `__main__`, or with fakes in tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerSaid
from wherry.agent.config import Config
from wherry.agent.outbox import Link
from wherry.agent.timers import Timers
from wherry.agent.worker.messages import AnyOrder
from wherry.protocol.blob import BlobRef
from wherry.protocol.runtime import Runtime
from wherry.protocol.up.telemetry import SystemReading

OnWorker = Callable[[WorkerSaid | WorkerEnded], None]


class Worker(Protocol):
    """See `adapters.worker_process.WorkerProcess`."""

    worker_id: str

    @property
    def pid(self) -> int: ...
    def send(self, order: AnyOrder) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


class StartWorker(Protocol):
    def __call__(self, slot: str, role: str, on_event: OnWorker) -> Worker: ...


class Metrics(Protocol):
    """See `adapters.metrics.SystemMetrics`."""

    def read(self, worker_pid: int | None) -> SystemReading: ...


class BlockSource(Protocol):
    """See `adapters.http_blocks.HttpBlocks`."""

    def ask(self, artifacts_url: str, ref: BlobRef, index: int) -> None: ...
    def forget(self, digest: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Services:
    config: Config
    store: Store
    link: Link
    http: BlockSource
    start_worker: StartWorker
    on_worker: OnWorker
    metrics: Metrics
    runtimes: tuple[Runtime, ...]
    clock: Clock
    timers: Timers
    chance: Callable[[], float]
    log: structlog.typing.FilteringBoundLogger
