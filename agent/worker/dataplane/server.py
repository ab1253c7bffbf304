"""The data plane's server: a thread with an event loop for the connections, and one that asks the model.

Rules upheld here:
- The loop waits for a model that is quick, which saves two changes of threads, and for no other: `live` and `ready`
  answer while a slow one computes.
- The number of connections is bounded, and so is what all bodies hold in memory together. When there is no room, the
  connection that has been idle for the longest makes some.
- Draining takes no more connections at once: the sockets stay open elsewhere, and whoever listens there serves what
  waits. Every answer from then on ends its connection. What is idle after a while is given up; what is asked is
  answered first.
"""

import asyncio
import contextlib
import queue
import socket
import threading
from concurrent.futures import Future

from wherry.agent.worker.dataplane.connection import Connection
from wherry.agent.worker.dataplane.service import Ask, Reply, Service, refusal
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.errors import OrderRefused

BACKLOG = 512
"""As the agent opened the sockets."""

MAX_CONNECTIONS = 128
"""A worker has 256 open files."""

MAX_HELD_REQUESTS = 4
"""So many of the largest requests may be in memory."""

SMALL_BYTES = 256 * 1024
"""A larger body takes longer to be read than a quick model to run."""

SWEEP_S = 0.5
LOOK_S = 0.01


class HttpServer:
    """Serves `engine` on listening sockets that others may accept from as well. They are this one's to close."""

    def __init__(self, engine: Engine, listeners: list[socket.socket], max_request_bytes: int) -> None:
        self.service = Service(engine)
        self._engine = engine
        self.max_request_bytes = max_request_bytes
        self.draining = False
        self._listeners = listeners
        self._connections: set[Connection] = set()
        self._held_bytes = 0
        self._drain_s = 0.0
        self._asks: queue.SimpleQueue[tuple[Connection, Ask] | None] = queue.SimpleQueue()
        self._listening: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._drain = asyncio.Event()
        self._threads = [
            threading.Thread(target=self._run, name="http", daemon=True),
            threading.Thread(target=self._infer_all, name="http inference", daemon=True),
        ]

    def start(self) -> None:
        """Returns once it listens. Raises OrderRefused."""
        for thread in self._threads:
            thread.start()
        try:
            self._listening.result()
        except (OSError, ValueError) as error:
            raise OrderRefused(f"cannot listen on a socket of the data plane: {error}") from error

    def begin_drain(self, drain_s: float) -> None:
        """Does not wait. Harmless where everybody has left already."""
        self._drain_s = drain_s
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._drain.set)

    def join(self) -> None:
        """Wait until everybody has been answered, and has left or was idle for `drain_s`."""
        for thread in self._threads:
            thread.join()

    # The inference thread.

    def _infer_all(self) -> None:
        while (job := self._asks.get()) is not None:
            connection, ask = job
            self._loop.call_soon_threadsafe(connection.answered, self._answer(ask))

    def _answer(self, ask: Ask) -> Reply:
        try:
            return self.service.answer(ask)
        except Exception as error:  # noqa: BLE001 - our bug, or no memory: the next one may go well
            return refusal(f"the worker failed: {type(error).__name__}: {error}", 500)

    # The loop's thread.

    def joined(self, connection: Connection) -> bool:
        self._connections.add(connection)
        if len(self._connections) <= MAX_CONNECTIONS:
            return True
        idle = [other for other in self._connections if other.is_idle and other is not connection]
        if idle:
            min(idle, key=lambda other: other.deadline_s).give_up()
        return bool(idle)

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def infer(self, connection: Connection, ask: Ask) -> Reply | None:
        if self._engine.is_quick and len(ask.body) <= SMALL_BYTES:
            return self._answer(ask)
        self._asks.put((connection, ask))
        return None

    def hold(self, size: int) -> bool:
        self._held_bytes += size
        return self._held_bytes <= self.max_request_bytes * MAX_HELD_REQUESTS

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:
            if self._listening.done():
                raise
            self._listening.set_exception(error)
        finally:
            self._asks.put(None)
            self._loop.close()

    async def _serve(self) -> None:
        servers = [
            # Not create_unix_server: from Python 3.13 on that one removes the socket's file in the end.
            await self._loop.create_server(lambda: Connection(self), sock=sock, backlog=BACKLOG)
            for sock in self._listeners
        ]
        self._listening.set_result(None)
        self._sweep()
        await self._drain.wait()
        patient_until_s = self._loop.time() + self._drain_s
        self.draining = True
        await self._stop_accepting(servers)
        await self._everybody_left(patient_until_s)

    async def _stop_accepting(self, servers: list[asyncio.Server]) -> None:
        """A connection that was accepted just now is a task until it has joined, and a closed server drops it."""
        for sock in self._listeners:
            self._loop.remove_reader(sock)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    async def _everybody_left(self, patient_until_s: float) -> None:
        while self._connections:
            if self._loop.time() >= patient_until_s:
                for connection in [*self._connections]:
                    if connection.is_idle:
                        connection.give_up()
            await asyncio.sleep(LOOK_S)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in [*self._connections]:
            if connection.deadline_s < now_s:
                connection.expire()
        self._loop.call_later(SWEEP_S, self._sweep)
