"""Brokers that let clients in and hang up, or answer with anything at all: tiny, single-minded and bad."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from tests.support.wait import EVERY_S

CONNACK, SUBACK = b"\x20\x02\x00\x00", b"\x90\x03%b\x00"
CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8


@asynccontextmanager
async def hanging_up(publishes: int) -> AsyncIterator[int]:
    """The port. A connection ends at message number `publishes`; none is ever acknowledged."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = publishes
        try:
            while left:
                kind, body = await _packet(reader)
                if kind == CONNECT:
                    writer.write(CONNACK)
                elif kind == SUBSCRIBE:
                    writer.write(SUBACK % body[:2])
                elif kind == PUBLISH:
                    left -= 1
        except asyncio.IncompleteReadError:
            pass  # the client was first
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The kind of the next packet, and what follows its length."""
    kind = (await reader.readexactly(1))[0] >> 4
    size, shift, more = 0, 0, True
    while more:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift, more = shift + 7, byte > 127
    return kind, await reader.readexactly(size)


@contextmanager
def saying(answer: bytes, *, again: bytes = b"", hangs_up: bool = False) -> Iterator[int]:
    """The port of a broker that answers CONNECT with `answer`, then goes on with `again`, a piece now and then."""
    leave = threading.Event()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(4096)
            connection.sendall(answer)
            while not hangs_up and not leave.wait(EVERY_S):
                connection.sendall(again)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            leave.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
