"""The command `wherry-agent`: reads the configuration, builds the parts, and runs the supervisor."""

import argparse
import random
import signal
import sys
import uuid
from pathlib import Path

import structlog

from wherry import __version__
from wherry.agent import config as configuration
from wherry.agent.adapters.broker import Broker, Will
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.http_blocks import HttpBlocks
from wherry.agent.adapters.logs import LogBuffer, configure
from wherry.agent.adapters.metrics import SystemMetrics
from wherry.agent.adapters.probe import board, probe_runtimes
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.worker_process import WorkerProcess
from wherry.agent.config import Config
from wherry.agent.errors import SetupError, StateDirUnusable, StoreError
from wherry.agent.outbox import Outbox
from wherry.agent.services import Services
from wherry.agent.supervisor import Inbox, Leave, Supervisor
from wherry.agent.timers import Timers
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.up import Birth, Status

SESSIONS_PER_BOOT = 1_000_000
"""Session numbers grow over restarts without a write to disk for every connection."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 after a stop in good order, 2 where the operator must change something first."""
    parser = argparse.ArgumentParser(
        prog="wherry-agent", description="Runs models on this device as its controller wants."
    )
    parser.add_argument(
        "command", nargs="?", choices=["run"], default="run", help="run in the foreground (the default)"
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, TOML")
    parser.add_argument("--version", action="version", version=f"wherry-agent {__version__}")
    options = parser.parse_args(arguments)
    try:
        _run(configuration.load(options.config))
    except SetupError as error:
        print(f"wherry-agent: {error}", file=sys.stderr)  # noqa: T201  one line for the operator
        return 2
    return 0


def _run(config: Config) -> None:
    store = Store(Path(config.state_dir))
    inbox = Inbox()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(Leave()))
    broker, supervisor = build(config, store, inbox)
    broker.start()
    supervisor.run()
    broker.stop()
    store.close()


def build(config: Config, store: Store, inbox: Inbox) -> tuple[Broker, Supervisor]:
    """Put the parts together. Probes the runtimes, which takes about a second. Raises StateDirUnusable."""
    clock, logs, boot_id = Clock(), LogBuffer(), uuid.uuid4().hex
    log = configure(config.log_level, logs, config.device)
    _count_boot(store, log)
    birth = make_birth(config, boot_id)
    if not birth.runtimes:
        log.error("no runtime works on this device, so no version can run; install ai-edge-litert or tflite-runtime")
    status_topic = topics.up(config.fleet, config.device, "status")
    will = Will(status_topic, lambda session: encode(Status(presence="lost", session=session)))
    first_session = store.record.boots * SESSIONS_PER_BOOT + 1
    broker = Broker(config.broker, config.device, will, first_session, inbox.put)
    outbox = Outbox(
        fleet=config.fleet, device=config.device, boot_id=boot_id, link=broker, spool=store.events, clock=clock,
        on_trouble=lambda reason: log.warning("trouble with what goes up", reason=reason),
    )  # fmt: skip
    services = Services(
        config=config,
        store=store,
        link=broker,
        http=HttpBlocks(inbox.put),
        start_worker=WorkerProcess.start,
        on_worker=inbox.put,
        metrics=SystemMetrics(store.directory),
        runtimes=birth.runtimes,
        clock=clock,
        timers=Timers(clock.now_s),
        chance=random.random,
        log=log,
    )
    return broker, Supervisor(services, inbox, outbox, birth, logs)


def _count_boot(store: Store, log: structlog.typing.FilteringBoundLogger) -> None:
    """On disk, unless that can only be read and has something to serve: then it is served."""
    booted = store.record.booted()
    try:
        store.save(booted)
    except StoreError as error:
        if all(slot.incumbent is None for slot in store.record.slots.values()):
            raise StateDirUnusable(store.directory, str(error)) from error
        log.warning("the disk cannot be written, what is on it is served", reason=str(error))
        store.record = booted


def make_birth(config: Config, boot_id: str) -> Birth:
    """What this device can do, as it is found now."""
    facts = board(Path(config.state_dir))
    return Birth(
        boot_id=boot_id,
        agent_version=__version__,
        machine=facts.machine,
        os=facts.os,
        python=facts.python,
        cpu_count=facts.cpu_count,
        ram_bytes=facts.ram_bytes,
        disk_total_bytes=facts.disk_total_bytes,
        disk_free_bytes=facts.disk_free_bytes,
        runtimes=probe_runtimes(config.runtime),
        accelerators=facts.accelerators,
        slots=tuple(config.slots),
        labels=config.labels,
    )


if __name__ == "__main__":
    sys.exit(main())
