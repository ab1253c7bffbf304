"""The running controller: broker, session, intake, helm and HTTP API in one process and one loop.

Rules upheld here:
- What can be refused is refused before anything is started: address, data directory, database, ports.
- Parts end in the reverse order of their start, whatever ended them.
- `controller.json` is there only while everything answers.
- What works for the fleet (`Lead`) runs in one of the controllers on a database at a time; HTTP is served by all.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import structlog
import uvicorn
from fastapi import FastAPI

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_process import Address, BrokerProcess, accepts, choose_kind
from wherry.controller.adapters.broker_session import OLD_PROTOCOL, PROTOCOLS, BrokerSession, Heard
from wherry.controller.adapters.converter_process import PROGRAM
from wherry.controller.adapters.data_dir import announce, claim, usable
from wherry.controller.config import ControllerConfig, RunFile
from wherry.controller.conversions import Conversions
from wherry.controller.errors import Invalid, Unavailable
from wherry.controller.helm import Helm
from wherry.controller.http.app import make_app
from wherry.controller.http.desk import Desk
from wherry.controller.intake import Intake, receipts
from wherry.controller.lead import Lead
from wherry.controller.ledger import Ledger
from wherry.controller.operations import deletion, kept_windows
from wherry.controller.store.database import open_database
from wherry.protocol.first_use import learn_types

CONVERTER = PROGRAM
SWEPT_AFTER_S = 3600.0
"""A file of the artifact store that nothing names may be on its way into the database of another controller."""

CONNECT_TIMEOUT_S = 20.0
POLL_S = 0.01

_log = structlog.get_logger(__name__)


async def run(config: ControllerConfig, on_ready: Callable[[RunFile], None]) -> None:
    """Run until SIGINT or SIGTERM. `on_ready` is called when all of it answers.

    Raises Invalid or Unavailable, with nothing left running, where it cannot start.
    """
    learn_types()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running(config) as run_file:
        on_ready(run_file)
        await stopped.wait()
        _log.info("stopping")


@asynccontextmanager
async def running(config: ControllerConfig) -> AsyncIterator[RunFile]:
    """A controller that answers, for as long as the block lasts."""
    _check(config)
    async with AsyncExitStack() as stack:
        stack.enter_context(claim(config.data_dir))
        db = open_database(config.database_place, stand_by=config.broker == "external")
        ledger = Ledger(db)
        stack.callback(ledger.close)
        listener = stack.enter_context(_listen(config.host, config.http_port))
        port = listener.getsockname()[1]
        url = f"http://{config.url_host}:{port}"
        with usable(config.data_dir):
            broker, address = await _start_broker(config, stack)
            desk = await _start_work(config, broker, address, Lead(db, ledger, url), ledger, stack)
        await _serve(make_app(desk), listener, stack)
        run_file = RunFile(
            url=url,
            mqtt_host=address.host,
            mqtt_port=address.port,
            broker=broker,
            fleet=config.fleet,
            pid=os.getpid(),
        )
        stack.enter_context(announce(config.data_dir, run_file))
        yield run_file


def _check(config: ControllerConfig) -> None:
    if not config.loopback and not config.insecure_bind:
        raise Invalid(
            f"refusing to listen on {config.host}: the broker lets anybody in, and nothing is encrypted",
            "leave --host at 127.0.0.1, or add --insecure-bind on a network that you trust",
        )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {host}:{port} for HTTP: {error.strerror}",
            "choose another --http-port (0 takes a free one)",
        ) from error
    return listener


async def _start_broker(config: ControllerConfig, stack: AsyncExitStack) -> tuple[str, Address]:
    if config.broker == "external":
        if not await accepts(config.mqtt_host, config.mqtt_port):
            raise Unavailable(
                f"no broker answers at {config.mqtt_host}:{config.mqtt_port}",
                "start it, or correct --mqtt-host and --mqtt-port, or leave --broker external out",
            )
        return "external", Address(host=config.mqtt_host, port=config.mqtt_port)
    kind = choose_kind() if config.broker == "auto" else config.broker
    if kind == "amqtt" and config.broker == "auto":
        _log.warning("mosquitto is not installed: the embedded broker serves, for a small fleet on MQTT 3.1.1")
    process = BrokerProcess(kind, config.broker_dir, config.host, config.mqtt_port)
    stack.push_async_callback(process.stop)
    address = await process.start()
    reachable = "127.0.0.1" if address.host == "0.0.0.0" else address.host  # noqa: S104 - compared, not bound
    return kind, Address(host=reachable, port=address.port)


async def _start_work(
    config: ControllerConfig, broker: str, address: Address, lead: Lead, ledger: Ledger, stack: AsyncExitStack
) -> Desk:
    """Everything between the database and HTTP; returns once it works, or stands by."""
    artifacts = ArtifactStore(config.artifacts_dir, shared=config.shared_dir is not None)
    if lead.may:
        await ledger.run(deletion.sweep, artifacts.digests(older_than_s=SWEPT_AFTER_S), artifacts.drop)
    intake = Intake(lead.ledger)
    woken = asyncio.Event()

    async def handle(batch: list[Heard]) -> None:
        settled = await intake.take(batch, time.time())
        helm.note(batch)
        with suppress(Unavailable):  # the devices send again what they get no receipt for
            for device, receipt in receipts(settled):
                await session.publish_receipt(device, receipt)

    protocols = OLD_PROTOCOL if broker == "amqtt" else PROTOCOLS
    session = BrokerSession(address, config.fleet, handle, woken.set, protocols=protocols)
    blocks = BlockPublisher(artifacts, session, config.fleet, config.markers_dir)
    helm = Helm(
        lead.ledger,
        session,
        blocks,
        woken,
        artifacts_url=f"{lead.url}/api/v1/artifacts",
        tick_s=config.tick_s,
        republish_after_s=config.republish_after_s,
    )
    jobs = Conversions(
        lead.ledger, artifacts, config.conversions_dir, workers=config.conversion_workers, program=CONVERTER
    )

    async def begin(parts: AsyncExitStack) -> None:
        await lead.ledger.run(kept_windows.fold_in, now_s=time.time())  # before anything is told, or compared
        _start_task(session.run(), "broker session", parts)
        _start_task(helm.run(), "helm", parts)
        _start_task(jobs.run(), "conversions", parts)

    _start_task(lead.run(begin), "lead", stack)
    if lead.may:
        await _await_connection(session, address)
    return Desk(
        config=config,
        ledger=ledger,
        artifacts=artifacts,
        session=session,
        blocks=blocks,
        intake=intake,
        helm=helm,
        conversions=jobs,
        lead=lead,
    )


async def _await_connection(session: BrokerSession, address: Address) -> None:
    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    while not session.connected:
        if time.monotonic() > deadline_s:
            raise Unavailable(
                f"what answers at {address.host}:{address.port} does not let the controller in",
                "see that it is an MQTT broker which admits clients without a password",
            )
        await asyncio.sleep(POLL_S)


async def _serve(app: FastAPI, listener: socket.socket, stack: AsyncExitStack) -> None:
    """Serve until the stack unwinds; connections then get a short time to finish."""
    settings = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3)
    server = Server(settings)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    while not server.started and not task.done():
        await asyncio.sleep(POLL_S)

    async def end() -> None:
        server.should_exit = True
        await task

    stack.push_async_callback(end)


class Server(uvicorn.Server):
    """Leaves the signals to us: the whole controller ends in order, not the HTTP part alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams are ended first: they would have every client waited for."""
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.watches.close()
        await super().shutdown(sockets)


def _start_task(work: Coroutine[None, None, None], name: str, stack: AsyncExitStack) -> None:
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
