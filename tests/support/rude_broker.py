"""A broker of MQTT 3.1.1 that lets clients in and hangs up in the middle: tiny, single-minded and bad."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
