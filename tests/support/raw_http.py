"""HTTP by hand: requests as bytes, answers read from a socket, and a model that computes for as long as one likes."""

import json
import socket
import threading

import pytest

from tests.support.fake_interpreter import FakeInterpreter
from wherry.agent.worker.runtimes.interpreter import Tensor

PATH = "/v2/models/digits/infer"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: slot\r\n\r\n"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT8", "data": [1, 2, 9, 4]}]}).encode()


def post(body: bytes = BODY, *more: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = "\r\n".join((f"POST {PATH} HTTP/1.1", "Host: slot", f"Content-Length: {size}", *more))
    return head.encode() + b"\r\n\r\n" + body


class Gate(FakeInterpreter):
    """Computes while it is closed."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.open = threading.Event()

    def _wait(self, x: Tensor) -> Tensor:
        assert self.open.wait(20)
        return x.copy()


def read_all(sock: socket.socket) -> bytes:
    """Until the other side ends."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def read_one(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer; the connection goes on."""
    file = sock.makefile("rb", buffering=0)
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    size, body = int(headers["content-length"]), b""
    while len(body) < size:
        body += file.read(size - len(body)) or pytest.fail("it ended within the answer")
    return status, headers, body


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def read_and_close(sock: socket.socket) -> bytes:
    with sock:
        return read_all(sock)


def send_what_goes(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        return  # it was refused already
