"""Tells this process what a child process did, over a socket, so that it is known however the child ends."""

import contextlib
import socket
from pathlib import Path

from tests.support.update_voyage import Told


class Wire:
    """The child calls `reach`, then `tell`; the parent `hear`s. Nothing that was told is lost."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        path.unlink(missing_ok=True)
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(self._path)
        self.receiver.setblocking(False)
        self.told: Told = []

    def reach(self) -> None:
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.connect(self._path)

    def tell(self, kind: str, data: bytes) -> None:
        self._sender.send(kind.encode() + b" " + data)

    def hear(self) -> None:
        """Take everything that is waiting into `told`."""
        with contextlib.suppress(BlockingIOError):
            while True:
                kind, _, data = self.receiver.recv(1 << 20).partition(b" ")
                self.told.append((kind.decode(), data))

    def close(self) -> None:
        self.receiver.close()
        Path(self._path).unlink(missing_ok=True)
