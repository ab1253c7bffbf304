"""The fast mode's side of the worker: a thread that accepts, and one for each connection.

Rules upheld here:
- The length of a request is that of the model's inputs, and judged before anything of it is read; anything else ends
  the connection.
- A client that stalls in the middle of a request, or does not read its answers, is left after `STALL_S`; it holds up
  nobody but itself. One that is merely silent may stay, until others want its place: then the one that is silent for
  the longest is closed for reading, and its client connects anew when it has something to ask.
- Draining stops reading: what was sent before is answered, what is sent later fails at the sender, and nothing is
  left in doubt.
"""

import contextlib
import selectors
import socket
import struct
import threading
from time import monotonic

import numpy as np

from wherry.agent.client.frames import (
    ANSWER,
    FAILED,
    MAX_TEXT_BYTES,
    MOVED,
    NO_LABEL,
    OK,
    REFUSED,
    REQUEST,
    Hello,
    encode_hello,
)
from wherry.agent.worker.engine import Engine, InferenceFailed
from wherry.agent.worker.fit import Unfit, check_finite, right_class
from wherry.agent.worker.runtimes.interpreter import Tensor

MAX_CONNECTIONS = 32
"""Each has a thread and a buffer. Where all of them are asking, more are told so and closed."""

STALL_S = 10


class FastServer:
    """Serves `engine` on listening sockets that others may accept from as well. They are this one's to close."""

    def __init__(self, engine: Engine, listeners: list[socket.socket]) -> None:
        self._engine, self._listeners = engine, listeners
        self._hello = encode_hello(Hello(identity=engine.identity, inputs=engine.inputs, outputs=engine.outputs))
        self._exchanges: dict[threading.Thread, Exchange] = {}
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="fast accept", daemon=True)

    def start(self) -> None:
        for listener in self._listeners:
            listener.settimeout(0)  # somebody else may have taken the connection that we were woken for
        self._thread.start()

    def drain(self, limit_s: float = STALL_S) -> bool:
        """Accept and read no more, and answer what was read; whether all was answered within `limit_s`."""
        end_s = monotonic() + limit_s
        self._draining.set()
        self._wake.close()
        self._thread.join(limit_s)
        with self._lock:
            left = dict(self._exchanges)
            for exchange in left.values():
                exchange.leave()
        for thread in left:
            thread.join(max(end_s - monotonic(), 0.0))
        return not any(thread.is_alive() for thread in left)

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (*self._listeners, self._woken):
                selector.register(sock, selectors.EVENT_READ)
            while not self._draining.is_set():
                for key, _ in selector.select():
                    if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._woken:
                        self._take(key.fileobj)
        for sock in (*self._listeners, self._woken):
            sock.close()

    def _take(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # somebody else has it, or it is gone
        connection.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STALL_S, 0))
        if not self._make_room():
            refuse(connection, f"{MAX_CONNECTIONS} connections are open and asking, and no more are taken")
            return
        exchange = Exchange(self._engine, connection, self._draining)
        thread = threading.Thread(target=self._serve, args=(connection, exchange), name="fast", daemon=True)
        with self._lock:
            self._exchanges[thread] = exchange
        try:
            thread.start()
        except RuntimeError as error:
            with self._lock:
                del self._exchanges[thread]
            refuse(connection, f"there is no room for another connection: {error}")

    def _make_room(self) -> bool:
        """Whether one more may stay. Where it takes the place of a silent one, that one leaves."""
        with self._lock:
            staying = [exchange for exchange in self._exchanges.values() if not exchange.leaving]
        if len(staying) < MAX_CONNECTIONS:
            return True
        silent = [(since_s, number) for number, one in enumerate(staying) if (since_s := one.silent_since_s)]
        if silent:
            staying[min(silent)[1]].leave()
        return bool(silent)

    def _serve(self, connection: socket.socket, exchange: "Exchange") -> None:
        try:
            connection.sendall(self._hello)
            while exchange.once():
                pass
        except OSError:
            pass  # the client is gone, or stalled
        finally:
            connection.close()
            with self._lock:
                self._exchanges.pop(threading.current_thread(), None)


class Exchange:
    """Requests and answers on one connection, with buffers that are used again and again.

    `silent_since_s` is when it was answered last, and 0 while it is asking.
    """

    def __init__(self, engine: Engine, connection: socket.socket, draining: threading.Event) -> None:
        self._engine, self._connection, self._draining = engine, connection, draining
        self.silent_since_s, self.leaving = monotonic(), False
        self._size = sum(spec.size_bytes for spec in engine.inputs)
        self._answered = sum(spec.size_bytes for spec in engine.outputs)
        self._frame = bytearray(REQUEST.size + self._size)
        self._view = memoryview(self._frame)
        self._inputs = _views(engine, self._frame)
        pairs = zip(engine.inputs, self._inputs, strict=True)
        self._floats = [(spec, view) for spec, view in pairs if view.dtype.kind == "f"]

    def once(self) -> bool:
        """Answer one request; whether to go on. Raises OSError where the client is gone or stalls."""
        got = self._first()
        if got == 0:
            return False
        self.silent_since_s = 0.0
        while got < REQUEST.size:
            got += self._more(got)
        length, label = REQUEST.unpack_from(self._frame)
        if length != self._size:
            self._say(REFUSED, f"a request of {length} bytes, the model takes {self._size}")
            return False
        while got < len(self._frame):
            got += self._more(got)
        self._answer(None if label == NO_LABEL else label)
        self.silent_since_s = monotonic()
        return True

    def leave(self) -> None:
        """Read no more: what was sent before is answered, what is sent later fails at the sender."""
        self.leaving = True
        with contextlib.suppress(OSError):  # closed meanwhile
            self._connection.shutdown(socket.SHUT_RD)

    def _first(self) -> int:
        """The first bytes of a request, waited for as long as it takes; 0 at the end."""
        while True:
            try:
                return self._connection.recv_into(self._frame)
            except BlockingIOError:
                continue  # silent for so long: it may

    def _more(self, got: int) -> int:
        count = self._connection.recv_into(self._view[got:])
        if count == 0:
            raise ConnectionResetError("ended in the middle of a request")
        return count

    def _answer(self, label: int | None) -> None:
        """What is not finite, or no class, is the asker's fault, and must not count as a failure of the model."""
        try:
            if label is not None:
                right_class(label, self._engine.outputs)
            for spec, view in self._floats:
                check_finite(view, spec)
            outputs, latency_ms = self._engine.timed(self._inputs, label)
        except Unfit as error:
            self._say(REFUSED, str(error))
            return
        except InferenceFailed as error:
            self._say(FAILED, str(error))
            return
        flags = MOVED if self._draining.is_set() else 0
        header = ANSWER.pack(self._answered, OK, flags, 0, int(latency_ms * 1e3))
        frame: list[bytes | memoryview] = [header, *(np.ascontiguousarray(output).data for output in outputs)]
        sent = self._connection.sendmsg(frame)
        if sent < ANSWER.size + self._answered:
            self._connection.sendall(b"".join(frame)[sent:])

    def _say(self, status: int, text: str) -> None:
        body = text.encode()[:MAX_TEXT_BYTES]
        flags = MOVED if self._draining.is_set() else 0
        self._connection.sendall(ANSWER.pack(len(body), status, flags, 0, 0) + body)


def refuse(connection: socket.socket, reason: str) -> None:
    """Say why, instead of a hello, and close."""
    with connection:
        try:
            connection.sendall(encode_hello(Hello(refusal=reason)))
        except OSError:
            return  # gone already


def _views(engine: Engine, frame: bytearray) -> list[Tensor]:
    """The inputs as arrays over the frame's bytes."""
    found: list[Tensor] = []
    offset = REQUEST.size
    for spec in engine.inputs:
        dtype = np.dtype(spec.dtype)
        count = spec.size_bytes // dtype.itemsize
        found.append(np.frombuffer(frame, dtype, count, offset).reshape(spec.shape))
        offset += spec.size_bytes
    return found
