"""What the parts of the supervisor share. Built in `__main__`, or with fakes in tests.

`listening` has the sockets of each slot that has any; `sandbox` is what every worker is put into, None for none.
Without `put_bundle`, collected logs go over MQTT alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import structlog

from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.service import ServiceManager
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerSaid
from wherry.agent.config import Config
from wherry.agent.feeder.messages import Job
from wherry.agent.outbox import Link
from wherry.agent.timers import Timers
from wherry.agent.worker.messages import AnyOrder, Listener, Sandbox
from wherry.protocol.blob import BlobRef
from wherry.protocol.runtime import Runtime
from wherry.protocol.up.telemetry import SystemReading

PutBundle = Callable[[str, str, bytes, str], None]
"""See `adapters.http_upload.HttpUpload.put`."""

OnWorker = Callable[[WorkerSaid | WorkerEnded], None]


class Worker(Protocol):
    """See `adapters.worker_process.WorkerProcess`."""

    worker_id: str

    @property
    def pid(self) -> int: ...
    def send(self, order: AnyOrder, files: Sequence[int] = ()) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


class StartWorker(Protocol):
    def __call__(self, slot: str, role: str, on_event: OnWorker) -> Worker: ...


class Feeder(Protocol):
    """See `adapters.feeder_process.FeederProcess`."""

    def stop(self) -> None: ...
    def kill(self, accusation: str) -> None: ...
    def close(self, grace_s: float = ...) -> None: ...


StartFeeder = Callable[[Job], Feeder]
"""Whatever the feeder says goes into the inbox, its end last."""


class Metrics(Protocol):
    """See `adapters.metrics.SystemMetrics`."""

    def read(self, worker_pid: int | None) -> SystemReading: ...


class Listening(msgspec.Struct, frozen=True):
    """The listening sockets of one slot, which stay open here whoever answers: kinds, and their file numbers."""

    kinds: tuple[Listener, ...] = ()
    files: tuple[int, ...] = ()


class BlockSource(Protocol):
    """See `adapters.http_blocks.HttpBlocks`."""

    def ask(self, artifacts_url: str, ref: BlobRef, index: int | None) -> None: ...
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
    listening: Mapping[str, Listening] = field(default_factory=dict)
    sandbox: Sandbox | None = None
    start_feeder: StartFeeder | None = None
    put_bundle: PutBundle | None = None
    manager: ServiceManager = field(default_factory=lambda: ServiceManager({}))
    clock: Clock
    timers: Timers
    chance: Callable[[], float]
    log: structlog.typing.FilteringBoundLogger
