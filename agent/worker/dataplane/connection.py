"""HTTP/1.1 on one connection: bytes to questions, and answers to bytes, in their order. llhttp parses.

Rules upheld here:
- A head is small, a body says its length, and that is judged before the body is read. Chunked bodies are refused.
- Who sends slowly, never reads, or is silent for long is left, at a time that does not depend on how much was sent.
- Errors end the connection, but only after their text had a chance to be read: what still comes is passed over.
- A connection that is given up while nothing is asked is closed for reading first. What was sent before is still read
  and answered; on a Unix socket what is sent later fails at the sender.
"""

import asyncio
import contextlib
import socket
from collections import deque
from typing import Protocol, cast

import httptools

from wherry.agent.worker.dataplane.errors import Problem
from wherry.agent.worker.dataplane.service import Ask, Reply, Service, refusal
from wherry.agent.worker.dataplane.wire import CONTINUE, encode_reply

MAX_HEAD_BYTES = 32 * 1024
HEAD_TOO_LARGE = f"the head of a request may have {MAX_HEAD_BYTES} bytes"
REQUEST_S = 10.0
"""From the first byte of a request to its last."""
IDLE_S = 120.0
"""Between two requests."""
STALL_S = 10.0
"""For reading an answer."""
LINGER_S = 1.0
"""For noticing that the connection ends."""


class Hub(Protocol):
    """What all connections share."""

    service: Service
    max_request_bytes: int
    draining: bool

    def joined(self, connection: "Connection") -> bool:
        """Whether there is room for it."""

    def left(self, connection: "Connection") -> None: ...

    def infer(self, connection: "Connection", ask: Ask) -> Reply | None:
        """The answer; or none, and `answered` is called later."""

    def hold(self, size: int) -> bool:
        """So many bytes more of bodies are in memory, or less; whether that is acceptable."""


class Connection(asyncio.Protocol):
    """Used by the loop's thread only."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Ask | Reply] = deque()
        self._busy = self._blocked = self._last = self._deaf = self._ended = self._eof = False
        self._partial = self._in_head = False
        self._problem: Problem | None = None
        self._held = self._open_bytes = 0
        self.deadline_s = self._loop.time() + IDLE_S

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._hub.joined(self):
            self._fail(refusal("too many connections are in use", 503))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - its interface
        self._hub.hold(-self._held)
        self._held = 0
        self._waiting.clear()
        self._hub.left(self)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._open_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last = self._deaf = True  # to another protocol: it is answered in this one
        except httptools.HttpParserError as error:
            self._misread(error)
        if self._in_head and self._open_bytes > MAX_HEAD_BYTES:
            self._fail(refusal(HEAD_TOO_LARGE, 431))
        self._pump()
        if self._waiting and not self._deaf:
            self._transport.pause_reading()

    def _misread(self, error: Exception) -> None:
        if self._last and not self._problem:
            self._deaf = True  # more after a request that was said to be the last
        else:
            problem = self._problem or Problem(f"this is not HTTP: {error}")
            self._fail(refusal(str(problem), problem.status))

    def eof_received(self) -> bool:
        self._eof = self._last = True
        self._partial = self._in_head = False  # what has begun will never be complete
        return self._busy or bool(self._waiting)  # else asyncio closes, once what was written is gone

    def pause_writing(self) -> None:
        self._blocked = True
        self.deadline_s = self._loop.time() + STALL_S

    def resume_writing(self) -> None:
        self._blocked = False
        if not self._ended:
            self._rest()
            self._loop.call_soon(self._pump)  # not from here: asyncio 3.11 loses a connection twice that is closed here

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self._partial = self._in_head = True
        self._open_bytes = self._head_bytes = self._length = 0
        self._url = self._encoding = b""
        self._json_length: bytes | None = None
        self._expects = self._chunked = False
        self._body: list[bytes] = []
        self.deadline_s = self._loop.time() + REQUEST_S

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes | None) -> None:
        self._head_bytes += len(name) + len(value or b"")
        match name.lower():
            case b"content-length":
                self._length = int(value or 0)
            case b"inference-header-content-length":
                self._json_length = (value or b"").strip()
            case b"transfer-encoding":
                self._chunked = True
            case b"content-encoding":
                self._encoding = (value or b"").strip().lower()
            case b"expect":
                self._expects = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE, 431)
        if self._chunked:
            self._refuse("a body needs a Content-Length here", 411)
        if self._length > self._hub.max_request_bytes:
            self._refuse(f"a body may have {self._hub.max_request_bytes} bytes", 413)
        if self._expects and self._length and not (self._busy or self._waiting):
            self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        self._held += len(data)
        if not self._hub.hold(len(data)):
            self._refuse("too many large requests at once, ask again later", 503)

    def on_message_complete(self) -> None:
        self._partial = False
        self._last = self._last or not self._parser.should_keep_alive()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        path = self._url.partition(b"?")[0]
        method = self._parser.get_method().decode()
        self._waiting.append(Ask(method, path, body, self._json_length, self._encoding))
        self._body = []

    def _refuse(self, text: str, status: int) -> None:
        self._problem = Problem(text, status)
        raise self._problem

    # What the hub calls.

    def answered(self, reply: Reply) -> None:
        """To what was given to `infer`."""
        self._busy = False
        if not self._transport.is_closing():
            self._write(reply)
            self._pump()

    @property
    def is_idle(self) -> bool:
        """Nothing was asked that is not answered, as far as has been read."""
        return not (self._busy or self._waiting or self._partial or self._ended or self._blocked)

    def give_up(self) -> None:
        """End an idle connection, after what has arrived unread is answered."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the other side was quicker
            sock.shutdown(socket.SHUT_RD)

    def expire(self) -> None:
        """The deadline has passed."""
        if self._ended or self._blocked:
            self._transport.abort()
        elif self._partial:
            self._fail(refusal(f"the request was not complete after {REQUEST_S:g} s", 408))
            self._pump()
        elif self.is_idle:
            self.give_up()

    def _fail(self, reply: Reply) -> None:
        """Answer this after what was asked before, and listen no more."""
        self._deaf = self._last = True
        self._partial = self._in_head = False
        self._waiting.append(reply)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and not (self._busy or self._blocked or self._ended or self._transport.is_closing()):
            item = self._waiting.popleft()
            reply = item if isinstance(item, Reply) else self._answer(item)
            if reply is None:
                self._busy = True
            else:
                self._write(reply)
        if not self._waiting and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer(self, ask: Ask) -> Reply | None:
        service = self._hub.service
        return self._hub.infer(self, ask) if service.infers(ask) else service.answer(ask)

    def _write(self, reply: Reply) -> None:
        if self._held:
            self._hub.hold(-self._held)
            self._held = 0
        more = bool(self._waiting) or self._partial
        end = (self._last or self._hub.draining) and not more
        self._rest()
        self._transport.write(encode_reply(reply, close=end))
        if end:
            self._end()

    def _rest(self) -> None:
        self.deadline_s = self._loop.time() + (REQUEST_S if self._partial else IDLE_S)

    def _end(self) -> None:
        """Nothing more is said. What still comes is passed over, until the other side ends too."""
        self._ended = self._deaf = True
        is_written = self._transport.get_write_buffer_size() == 0
        self.deadline_s = self._loop.time() + (LINGER_S if is_written else STALL_S)
        if self._eof:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
