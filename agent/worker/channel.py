"""The control channel between supervisor and worker: MessagePack behind a four-byte big-endian length.

Rules upheld here:
- No message is longer than `MAX_MESSAGE_BYTES`, and the length is judged before anything is kept.
- Whatever arrives is either a valid message or `ChannelBroken`; no other error comes out of bytes.
- Both sides import this file, so it knows neither numpy nor a runtime.
- Open files travel beside the bytes, in the order of the orders that they belong to.
"""

import select
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from wherry.agent.worker.errors import ChannelBroken, ChannelClosed
from wherry.agent.worker.messages import Answer, AnyAnswer, AnyOrder, Order

MAX_MESSAGE_BYTES = 128 * 1024
"""The largest honest message is a `Load` with the tensor specs of a manifest of 64 KiB."""

MAX_FILES = 8
"""Open files with one order."""

_LENGTH_BYTES = 4
_READ_BYTES = 64 * 1024

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[AnyOrder] = msgspec.msgpack.Decoder(AnyOrder)
_answers: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)


def encode(message: Order | Answer) -> bytes:
    """One message with its length. Raises ValueError where the receiver would refuse it."""
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes exceeds the limit of {MAX_MESSAGE_BYTES}")
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def decode_order(data: bytes) -> AnyOrder:
    """Raises ChannelBroken where `data` is not an order."""
    order: AnyOrder = _decode(_orders, data)
    return order


def decode_answer(data: bytes) -> AnyAnswer:
    """Raises ChannelBroken where `data` is not an answer."""
    answer: AnyAnswer = _decode(_answers, data)
    return answer


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChannelBroken(f"not a message: {error}") from error


class Frames:
    """Cuts a stream of bytes into the messages' bodies; keeps at most one unfinished message."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every body that `data` completes. Raises ChannelBroken on a length over the limit."""
        self._pending += data
        while len(self._pending) >= _LENGTH_BYTES:
            length = int.from_bytes(self._pending[:_LENGTH_BYTES], "big")
            if length > MAX_MESSAGE_BYTES:
                raise ChannelBroken(f"a message of {length} bytes exceeds the limit of {MAX_MESSAGE_BYTES}")
            end = _LENGTH_BYTES + length
            if len(self._pending) < end:
                return
            body = bytes(self._pending[_LENGTH_BYTES:end])
            del self._pending[:end]
            yield body


class Received(NamedTuple):
    """An order, and the open files that came with it, which are the receiver's to close."""

    order: AnyOrder
    files: list[int]


class WorkerChannel:
    """The worker's end: orders in, answers out, for one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._frames = Frames()
        self._orders: list[AnyOrder] = []
        self._files: list[int] = []

    def poll(self, timeout_s: float | None) -> Received | None:
        """The next order, or None once `timeout_s` has passed; None waits for ever.

        Raises ChannelClosed at end of file, ChannelBroken on what is not an order, or lacks its open files.
        """
        while not self._orders:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return None
            self._read()
        order = self._orders.pop(0)
        if len(self._files) < order.files:
            raise ChannelBroken(f"an order with {len(self._files)} of its {order.files} open files")
        files, self._files = self._files[: order.files], self._files[order.files :]
        return Received(order, files)

    def say(self, answer: AnyAnswer) -> None:
        """Send; waits where the other side does not read. Raises ChannelClosed where it is gone."""
        try:
            self._socket.sendall(encode(answer))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def can_say(self) -> bool:
        """Whether a message goes out without waiting for the other side to read."""
        return bool(select.select([], [self._socket], [], 0)[1])

    def _read(self) -> None:
        try:
            data, files, _flags, _address = socket.recv_fds(
                self._socket, _READ_BYTES, MAX_FILES, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise ChannelClosed from error
        self._files += files
        if not data:
            raise ChannelClosed
        self._orders += [decode_order(body) for body in self._frames.feed(data)]
