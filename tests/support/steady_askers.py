"""Apps that ask a slot at a steady rate, each in its own manner; every request that gets no answer is a failure.

None of them asks again, with one exception: where a Unix socket refuses to take a request (EPIPE), nobody has seen it.
"""

import contextlib
import http.client
import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

PATH = "/v2/models/digits/infer"
TIMEOUT_S = 20.0


class Manner(NamedTuple):
    """How an app uses connections. `checks`: looks whether the connection ended before it asks, as most libraries do.
    `hesitates`: for so long in the middle of a request."""

    name: str
    tcp: bool
    keeps: bool
    rate_hz: float
    checks: bool = False
    hesitates_s: float = 0.0


MANNERS = (
    Manner("unix, kept", tcp=False, keeps=True, rate_hz=50),
    Manner("tcp, kept", tcp=True, keeps=True, rate_hz=50),
    Manner("unix, new each time", tcp=False, keeps=False, rate_hz=40),
    Manner("tcp, new each time", tcp=True, keeps=False, rate_hz=40),
    Manner("unix, kept, in halves", tcp=False, keeps=True, rate_hz=15, hesitates_s=0.02),
    Manner("unix, kept, seldom used", tcp=False, keeps=True, rate_hz=1.5, checks=True),
)
"""About 200 requests a second together."""


class Connection(http.client.HTTPConnection):
    def __init__(self, manner: Manner, path: Path, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=TIMEOUT_S)
        self._manner, self._path = manner, path

    def connect(self) -> None:
        if self._manner.tcp:
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT_S)
            self.sock.connect(str(self._path))

    def send_request(self, body: bytes) -> None:
        if self._manner.checks and self.sock and select.select([self.sock], [], [], 0)[0]:
            self.close()
        half = len(body) // 2 if self._manner.hesitates_s else len(body)
        self.putrequest("POST", PATH)
        self.putheader("Content-Length", str(len(body)))
        self.endheaders(body[:half])
        if half < len(body):
            time.sleep(self._manner.hesitates_s)
            self.send(body[half:])


class SteadyAskers:
    """Asks while its `with` block runs."""

    def __init__(self, body: bytes, path: Path, port: int) -> None:
        self._body, self._path, self._port = body, path, port
        self._stop = threading.Event()
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.refused_unseen = 0
        self._threads = [threading.Thread(target=self._ask_on, args=(manner,)) for manner in MANNERS]

    @property
    def asked(self) -> int:
        return self.versions.total() + len(self.failures)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, manner: Manner) -> None:
        with contextlib.closing(Connection(manner, self._path, self._port)) as connection:
            due_s = time.monotonic()
            while not self._stop.wait(max(due_s - time.monotonic(), 0)):
                due_s = max(due_s + 1 / manner.rate_hz, time.monotonic() - 0.1)
                try:
                    self.versions[self._ask(connection, manner)] += 1
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self.failures.append(f"{manner.name}: {type(error).__name__}: {error}")
                    connection.close()

    def _ask(self, connection: Connection, manner: Manner) -> str:
        try:
            connection.send_request(self._body)
        except BrokenPipeError:
            if manner.tcp or not manner.checks:
                raise
            self.refused_unseen += 1
            connection.close()
            connection.send_request(self._body)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {said}")
        if not manner.keeps:
            connection.close()
        return str(said["model_version"])


def rounds(askers: SteadyAskers, least: int) -> Iterator[int]:
    """For a test to go on at its pace: the count of requests, each time that `least` more have been asked."""
    while True:
        before = askers.asked
        deadline_s = time.monotonic() + TIMEOUT_S
        while askers.asked < before + least:
            assert time.monotonic() < deadline_s, "the askers stand still"
            time.sleep(0.01)
        yield askers.asked
