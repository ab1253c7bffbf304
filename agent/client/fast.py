"""One connection of the fast mode, to one worker.

Rules upheld here:
- What goes wrong says whether the request was read: `Unread` can be sent again without a thought, `Broken` was perhaps
  being answered when the worker ended.
"""

import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from wherry.agent.client.answer import Answer
from wherry.agent.client.errors import ModelFailed, NotServed, Refused
from wherry.agent.client.frames import (
    ANSWER,
    HELLO,
    MAX_HELLO_BYTES,
    MAX_TEXT_BYTES,
    MOVED,
    OK,
    REFUSED,
    REQUEST,
    Hello,
)
from wherry.agent.client.link import Broken, Laid, Stored, Unread
from wherry.agent.worker.fit import Unfit
from wherry.agent.worker.runtimes.interpreter import Tensor


class FastLink:
    """Connects on being made: raises Unread. `moved` once the worker has said that it gives way to another.

    It waits `wait_s` for the greeting, and for each answer, until another limit is given; the kernel counts, as a
    timeout of Python's costs a system call each.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        self.moved = False
        self._wait_s = 0.0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self.limit(wait_s)
            self._socket.connect(str(path))
            self.hello = _greeted(self._socket, path)
        except (OSError, msgspec.DecodeError) as error:
            self._socket.close()
            raise Unread(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        except Unread:
            self._socket.close()
            raise
        self._stored = [Stored(spec) for spec in self.hello.inputs]
        self._outputs = Laid(self.hello.outputs)
        self._sent = Laid(self.hello.inputs).size
        self._frame = ANSWER.size + self._outputs.size

    def limit(self, wait_s: float) -> None:
        """Of each wait from now on. The usual one is there already, and costs nothing."""
        if wait_s != self._wait_s:
            self._wait_s = wait_s
            value = struct.pack("ll", int(wait_s), int(wait_s % 1 * 1e6))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    def ask(self, inputs: Sequence[Tensor], label: int) -> Answer:
        """Raises Refused, ModelFailed, NotServed, Unread or Broken."""
        try:
            data = [stored.ready(array) for stored, array in zip(self._stored, inputs, strict=True)]
        except Unfit as error:
            raise Refused(str(error)) from error
        self._send(data, label)
        try:
            return self._receive()
        except BlockingIOError as error:
            raise NotServed("asked, and not answered in time") from error
        except OSError as error:
            raise Broken(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: Sequence[memoryview], label: int) -> None:
        frame: list[bytes | memoryview] = [REQUEST.pack(self._sent, label), *data]
        try:
            sent = self._socket.sendmsg(frame)
            if sent < REQUEST.size + self._sent:
                self._socket.sendall(b"".join(frame)[sent:])
        except OSError as error:
            raise Unread(str(error)) from error

    def _receive(self) -> Answer:
        frame = bytearray(self._frame)
        got = self._socket.recv_into(frame)
        if got < ANSWER.size:
            got = self._read(frame, got, ANSWER.size)
        size, status, flags, _, latency_us = ANSWER.unpack_from(frame)
        if flags & MOVED:
            self.moved = True
        if status != OK:
            raise self._complaint(frame, got, size, status)
        if size != self._outputs.size:
            raise Broken(f"an answer of {size} bytes, the model gives {self._outputs.size}")
        if got < self._frame:
            self._read(frame, got, self._frame)
        return Answer(self.hello, self._outputs.read(frame, ANSWER.size), latency_us / 1e3)

    def _complaint(self, frame: bytearray, got: int, size: int, status: int) -> Refused | ModelFailed:
        text = bytearray(min(size, MAX_TEXT_BYTES))
        text[: got - ANSWER.size] = frame[ANSWER.size : got]
        self._read(text, got - ANSWER.size, len(text))
        reason = text.decode(errors="replace")
        return Refused(reason) if status == REFUSED else ModelFailed(reason)

    def _read(self, buffer: bytearray, got: int, enough: int) -> int:
        """Fill `buffer` from `got` on, at least up to `enough`; how far it is filled. Nothing at all is the end."""
        while got < enough:
            count = self._socket.recv_into(memoryview(buffer)[got:])
            if count == 0:
                raise ConnectionResetError("the worker ended")
            got += count
        return got


def _greeted(sock: socket.socket, path: Path) -> Hello:
    (length,) = HELLO.unpack(_exactly(sock, HELLO.size))
    if length > MAX_HELLO_BYTES:
        raise Unread(f"{path}: not the fast mode's socket: it says {length} bytes")
    hello = msgspec.msgpack.decode(_exactly(sock, length), type=Hello)
    if hello.refusal:
        raise Unread(f"{path}: {hello.refusal}")
    return hello


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionResetError("closed before a word was said")
        data += chunk
    return data
