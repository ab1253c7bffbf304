"""The broker as the controller's child: started, waited for, started again when it dies, ended.

Rules upheld here:
- A port of somebody else is refused before the start, so that what answers is our own broker.
- It never outlives the controller: see `tether`.
- It is started again with a growing, jittered pause; the session finds it again by itself.
"""

import asyncio
import contextlib
import os
import random
import socket
import sys
from pathlib import Path
from typing import Literal

import structlog

from wherry.controller.adapters import mosquitto, tether
from wherry.controller.errors import Unavailable
from wherry.protocol.types import Struct

ChildKind = Literal["mosquitto", "amqtt"]

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0
ACCEPT_TIMEOUT_S = 5.0
"""A machine that is switched off neither accepts nor refuses."""

PORT_PATIENCE_S = 3.0
"""The broker of a controller that was killed a moment ago is still saving its sessions."""

POLL_S = 0.02
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0
"""A broker that ran so long starts again with the first pause."""

LOG_FILE = "broker.log"

_log = structlog.get_logger(__name__)


class Address(Struct, frozen=True, kw_only=True):
    host: str
    port: int


class BrokerProcess:
    """One broker of kind `kind`, with its files in `run_dir`; port 0 takes a free one."""

    def __init__(self, kind: ChildKind, run_dir: Path, host: str, port: int) -> None:
        self.kind: ChildKind = kind
        self._run_dir = run_dir
        self._host = host
        self._port = port
        self._child: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    async def start(self) -> Address:
        """Return when it accepts connections. Raises Unavailable."""
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_port(self._host)
        await self._await_port()
        await self._spawn_afresh()
        self._keeper = asyncio.create_task(self._keep(), name="broker keeper")
        return Address(host=self._host, port=self._port)

    async def stop(self) -> None:
        """End it and wait; it saves its sessions first. Safe to call twice."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end_child()

    async def _await_port(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + PORT_PATIENCE_S
        while not is_free(self._host, self._port):
            if asyncio.get_running_loop().time() > deadline_s:
                raise Unavailable(
                    f"port {self._port} of {self._host} is taken",
                    "choose another with --mqtt-port (0 takes a free one)",
                )
            await asyncio.sleep(POLL_S)

    async def _spawn_afresh(self) -> None:
        """Start it, without the sessions that it had where it cannot read them."""
        try:
            await self._spawn()
        except Unavailable:
            if self.kind != "mosquitto" or not mosquitto.set_aside(self._run_dir, self._last_words()):
                raise
            _log.warning("the broker could not read its sessions and starts without them", kind=self.kind)
            await self._spawn()

    async def _spawn(self) -> None:
        argv, user = self._command()
        with (self._run_dir / LOG_FILE).open("wb") as log:
            self._child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), user, *argv],
                cwd=self._run_dir,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._await_ready(self._child)

    def _command(self) -> tuple[list[str], str]:
        if self.kind == "mosquitto":
            return mosquitto.prepare(self._run_dir, self._host, self._port), mosquitto.user()
        module = "wherry.controller.adapters.amqtt_broker"
        return [sys.executable, "-m", module, self._host, str(self._port)], ""

    async def _await_ready(self, child: asyncio.subprocess.Process) -> None:
        deadline_s = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while not await accepts(self._host, self._port):
            late = asyncio.get_running_loop().time() > deadline_s
            if child.returncode is not None or late:
                await self._end_child()
                raise Unavailable(
                    f"the broker {self.kind} does not start: {self._last_words()}", f"see {self._run_dir / LOG_FILE}"
                )
            await asyncio.sleep(POLL_S)

    def _last_words(self) -> str:
        lines = (self._run_dir / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    async def _keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            started_s = loop.time()
            if self._child is not None:
                code = await self._child.wait()
                _log.warning(
                    "the broker ended and is started again", kind=self.kind, exit=code, said=self._last_words()
                )
            pause_s = FIRST_PAUSE_S if loop.time() - started_s > STEADY_S else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter
            try:
                await self._spawn_afresh()
            except (Unavailable, OSError) as error:
                _log.warning("the broker does not start", kind=self.kind, error=str(error))

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            await child.wait()


def choose_kind() -> ChildKind:
    """mosquitto where it is installed, else the embedded broker."""
    return "mosquitto" if mosquitto.find() is not None else "amqtt"


def free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether we could listen there now."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


async def accepts(host: str, port: int) -> bool:
    """Whether somebody takes a connection there, soon."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), ACCEPT_TIMEOUT_S)
    except (OSError, UnicodeError):  # a timeout is an OSError, an impossible name of a host a UnicodeError
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
