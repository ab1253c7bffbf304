"""What is listened on while a worker serves: one server for each protocol that is spoken.

Rules upheld here:
- A server is imported only where its protocol is spoken: without apps a worker stays small.
- Whoever drains takes no more connections at once; others listen on the same sockets, and lose nothing.
"""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherry.agent.worker.engine import Engine
from wherry.agent.worker.messages import Listener, Serve

if TYPE_CHECKING:
    from wherry.agent.worker.dataplane.server import HttpServer
    from wherry.agent.worker.fast import FastServer

MODULES: dict[Listener, str] = {"http": "wherry.agent.worker.dataplane.server", "fast": "wherry.agent.worker.fast"}
"""What is to be imported before a worker is locked in, by what it will be asked to speak."""


class Listeners:
    """Serving from here on. `sockets` are those of `order`, and closed by whoever listens on them."""

    def __init__(self, engine: Engine, order: Serve, sockets: Sequence[socket.socket]) -> None:
        pairs = [*zip(order.listeners, sockets, strict=True)]
        self._http = _http(engine, [sock for kind, sock in pairs if kind == "http"], order.max_request_bytes)
        self._fast = _fast(engine, [sock for kind, sock in pairs if kind == "fast"])

    def drain(self, drain_s: float) -> None:
        """Returns once everybody has been answered. Connections on which nothing is asked are left after `drain_s`."""
        if self._http:
            self._http.begin_drain(drain_s)  # both at once
        if self._fast:
            self._fast.drain()
        if self._http:
            self._http.join()


def _http(engine: Engine, sockets: list[socket.socket], max_request_bytes: int) -> "HttpServer | None":
    if not sockets:
        return None
    from wherry.agent.worker.dataplane.server import HttpServer

    server = HttpServer(engine, sockets, max_request_bytes)
    server.start()
    return server


def _fast(engine: Engine, sockets: list[socket.socket]) -> "FastServer | None":
    if not sockets:
        return None
    from wherry.agent.worker.fast import FastServer

    server = FastServer(engine, sockets)
    server.start()
    return server
