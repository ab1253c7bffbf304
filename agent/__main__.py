"""The command `wherry-agent`: reads the configuration, builds the parts, and runs the supervisor, or asks about it."""

import argparse
import random
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from wherry import __version__
from wherry.agent import config as configuration
from wherry.agent.adapters import sockets
from wherry.agent.adapters.broker import Broker, Will
from wherry.agent.adapters.clock import Clock
from wherry.agent.adapters.control import ControlSocket
from wherry.agent.adapters.feeder_process import FeederProcess
from wherry.agent.adapters.http_blocks import HttpBlocks
from wherry.agent.adapters.http_upload import HttpUpload
from wherry.agent.adapters.logs import LogBuffer, configure
from wherry.agent.adapters.metrics import SystemMetrics
from wherry.agent.adapters.probe import board, probe_runtimes
from wherry.agent.adapters.sandbox import shortcomings, worker_sandbox
from wherry.agent.adapters.service import ServiceManager
from wherry.agent.adapters.store import Store
from wherry.agent.adapters.worker_process import WorkerProcess
from wherry.agent.cli.arguments import parse
from wherry.agent.cli.environment import environment
from wherry.agent.cli.show import complain
from wherry.agent.config import Config
from wherry.agent.errors import SetupError, StateDirUnusable, StoreError
from wherry.agent.outbox import Outbox
from wherry.agent.services import Listening, Services
from wherry.agent.supervisor import Inbox, Leave, Supervisor
from wherry.agent.timers import Timers
from wherry.protocol import topics
from wherry.protocol.codec import encode
from wherry.protocol.first_use import learn_types
from wherry.protocol.up import Birth, Status

INTERRUPTED = 130

SESSIONS_PER_BOOT = 1_000_000
"""Session numbers grow over restarts without a write to disk for every connection."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 well, 1 the answer is bad, 2 where somebody must change something first, 130 interrupted."""
    options = parse(arguments)
    try:
        config = configuration.load(options.config, environment(options.config))
        return _carry_out(options, config)
    except SetupError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def _carry_out(options: argparse.Namespace, config: Config) -> int:
    """What only commands need is imported by them: an agent that runs for months does not carry it along."""
    match options.command:
        case "status":
            from wherry.agent.cli.status import status

            return status(config, as_json=options.json)
        case "doctor":
            from wherry.agent.cli.doctor import doctor

            return doctor(config, str(options.config), as_json=options.json)
        case "reset":
            from wherry.agent.cli.reset import reset

            return reset(
                config, slot=options.slot, quarantine=options.quarantine, everything=options.all, yes=options.yes
            )
    _run(config)
    return 0


def _run(config: Config) -> None:
    learn_types()
    store = Store(Path(config.state_dir))
    inbox = Inbox()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(Leave()))
    with sockets.settled(config) as settled, sockets.listening(settled) as listening:
        broker, supervisor = build(settled, store, inbox, listening, remarks=_moved(config, settled))
        with control_socket(settled, inbox):
            broker.start()
            supervisor.run()
            broker.stop()
    store.close()


def _moved(wanted: Config, settled: Config) -> list[str]:
    """What apps and people must know who look for the sockets where they were asked for."""
    there, here = wanted.data_plane.directory, settled.data_plane.directory
    return [] if here == there else [f"{there} cannot hold sockets; apps find them in {here}"]


@contextmanager
def control_socket(config: Config, inbox: Inbox) -> Iterator[None]:
    """Let the person at the board ask. An agent whom nobody can ask serves all the same."""
    control = ControlSocket(Path(config.data_plane.directory), inbox.put)
    if problem := control.start():
        complain(f"`wherry-agent status` cannot ask this agent: {problem}")
    try:
        yield
    finally:
        control.close()


def build(
    config: Config, store: Store, inbox: Inbox, listening: Mapping[str, Listening], *, remarks: Sequence[str] = ()
) -> tuple[Broker, Supervisor]:
    """Put the parts together. Probes the runtimes, which takes about a second. Raises StateDirUnusable.

    `remarks` are logged, and so sent up.
    """
    clock, logs, boot_id = Clock(), LogBuffer(), uuid.uuid4().hex
    log = configure(config.log_level, logs, config.device)
    _count_boot(store, log)
    birth = make_birth(config, boot_id)
    if not birth.runtimes:
        log.error("no runtime works on this device, so no version can run; install ai-edge-litert or tflite-runtime")
    for remark in remarks:
        log.warning("the data plane is not where it should be", reason=remark)
    for lack in shortcomings(config):
        log.warning("workers are less confined than they could be", reason=lack)
    status_topic = topics.up(config.fleet, config.device, "status")
    will = Will(status_topic, lambda session: encode(Status(presence="lost", session=session)))
    first_session = store.record.boots * SESSIONS_PER_BOOT + 1
    broker = Broker(config.broker, config.device, will, first_session, inbox.put)
    outbox = Outbox(
        fleet=config.fleet, device=config.device, boot_id=boot_id, link=broker, spool=store.events, clock=clock,
        on_trouble=lambda reason: log.warning("trouble with what goes up", reason=reason), chance=random.random,
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
        listening=listening,
        put_bundle=HttpUpload(inbox.put).put,
        manager=ServiceManager(),
        start_feeder=lambda job: FeederProcess.start(job, inbox.put),
        sandbox=worker_sandbox(config),
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
