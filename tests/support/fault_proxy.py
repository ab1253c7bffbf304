"""A TCP proxy that spoils what a server sends: cuts it, changes a byte, or says nothing more, at a byte that is told.

Offsets are counted over all connections, so that a client which comes back meets the next fault further on.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
CHUNK_BYTES = 16 * 1024
RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """In front of `port` of this machine.

    `cut_at` and `flip_at` are offsets into all that went to clients, in rising order; they are used up. While
    `mute` is set nothing is passed on to clients, and connections stay; while `refuse` is, none is let in.
    """

    def __init__(self, port: int) -> None:
        self.behind = port
        self.refuse = False
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_at: list[int] = []
        self.flip_at: list[int] = []
        self.down_bytes = 0
        self.cuts = self.flips = 0
        self.mute = threading.Event()
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections, as a link that is lost."""
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self.behind))
        except OSError:
            client.close()
            return
        if self.refuse:
            client.close()
            server.close()
            return
        for connection in (client, server):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        up = threading.Thread(target=self._pass_up, args=(client, server), daemon=True)
        up.start()
        try:
            self._pass_down(server, client)
        except OSError:
            _shut(client)
        _shut(server)
        up.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                server.sendall(data)
        _shut(server)

    def _pass_down(self, server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(CHUNK_BYTES):
            if self.mute.is_set():
                continue
            with self._lock:
                data, is_cut = self._spoil(data)
            client.sendall(data)
            if is_cut:
                if self.cuts % 2:  # every second one without a goodbye, which loses what is in the buffers
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    client.shutdown(socket.SHUT_RD)  # wakes the other thread and says nothing
                    _shut(server)
                    return
                _shut(client)
                return
        _shut(client)

    def _spoil(self, data: bytes) -> tuple[bytes, bool]:
        """What is passed on of it, and whether the connection ends there."""
        end = self.down_bytes + len(data)
        is_cut = bool(self.cut_at) and self.cut_at[0] <= end
        if is_cut:
            data = data[: max(0, self.cut_at.pop(0) - self.down_bytes)]
            self.cuts += 1
        spoilt = bytearray(data)
        while self.flip_at and self.flip_at[0] < self.down_bytes + len(data):
            spoilt[max(0, self.flip_at.pop(0) - self.down_bytes)] ^= 0x10
            self.flips += 1
        self.down_bytes += len(data)
        return bytes(spoilt), is_cut


@contextmanager
def proxied(port: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
