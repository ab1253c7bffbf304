"""The socket `agent.sock`, on which a running agent answers the person at the board.

A client sends one line of JSON, `{"ask": "status"}`, and gets one line of JSON back.

Rules upheld here:
- The thread at the rim only carries: what is asked goes into the inbox, and the supervisor answers in its own turn.
- A client that says nothing or says it slowly, or does not read, holds nobody up but the next client, for a moment.
- Only the agent's own user and root may ask. Where the socket cannot be opened the agent runs without it.
"""

import contextlib
import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

NAME = "agent.sock"
MAX_REQUEST_BYTES = 4096
CLIENT_LIMIT_S = 2.0
ANSWER_LIMIT_S = 5.0
"""A turn of the supervisor may verify a large file from a slow card."""


PAUSE_S = 1.0

_FOR_A_WHILE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_OF_THE_CLIENT = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Request(msgspec.Struct, frozen=True):
    ask: Literal["status"]


class Asked(msgspec.Struct, frozen=True):
    """Something that the supervisor is to answer by calling `reply` with one line."""

    request: Request
    reply: Callable[[bytes], None]


class NoAnswer(Exception):
    """`present` says whether somebody holds the socket: an agent that hangs, or is only starting."""

    def __init__(self, problem: str, *, present: bool) -> None:
        super().__init__(problem)
        self.present = present


class ControlSocket:
    """Use `start`; `close` removes the socket."""

    def __init__(self, directory: Path, on_event: Callable[[Asked], None]) -> None:
        self._path, self._on_event = directory / NAME, on_event
        self._socket: socket.socket | None = None

    def start(self) -> str | None:
        """Why nobody can ask, None where they can."""
        try:
            self._socket = _listen(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror or error}"
        threading.Thread(target=self._serve, args=(self._socket,), name="control", daemon=True).start()
        return None

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which close alone would not
            self._socket.close()
            self._path.unlink(missing_ok=True)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as error:
                if error.errno in _FOR_A_WHILE:
                    time.sleep(PAUSE_S)
                    continue
                return  # closed
            with client, contextlib.suppress(*_OF_THE_CLIENT, queue.Empty):
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        request = msgspec.json.decode(_line(client, MAX_REQUEST_BYTES, CLIENT_LIMIT_S), type=Request)
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._on_event(Asked(request, answers.put))
        answer = answers.get(timeout=ANSWER_LIMIT_S)
        client.settimeout(CLIENT_LIMIT_S)  # for all of what is sent
        client.sendall(answer + b"\n")


def ask(directory: Path, request: Request) -> bytes:
    """The running agent's answer. Raises NoAnswer where none runs, or it does not answer."""
    path = directory / NAME
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CLIENT_LIMIT_S)
        try:
            client.connect(str(path))
        except PermissionError as error:
            raise NoAnswer(f"{path} is not for this user; ask as root or as the agent's user", present=True) from error
        except OSError as error:
            raise NoAnswer(f"no agent answers at {path}: {error.strerror or error}", present=False) from error
        try:
            client.sendall(msgspec.json.encode(request) + b"\n")
            line = _line(client, 1 << 20, ANSWER_LIMIT_S)
        except OSError as error:
            raise NoAnswer(f"an agent runs but does not answer at {path}", present=True) from error
    if not line:
        raise NoAnswer(f"an agent runs but does not answer at {path}", present=True)
    return line


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(8)
    except BaseException:
        listener.close()
        raise
    return listener


def _line(sock: socket.socket, limit_bytes: int, limit_s: float) -> bytes:
    """Up to the first line's end, or what there is at the end of the stream. Raises TimeoutError, however it drips."""
    data, deadline_s = bytearray(), time.monotonic() + limit_s
    while not data.endswith(b"\n") and len(data) < limit_bytes:
        if (left_s := deadline_s - time.monotonic()) <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return bytes(data.rstrip(b"\n"))
