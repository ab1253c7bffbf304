"""Workers that take over from each other on the same sockets, while apps go on asking: no request fails."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests.conftest import Tried
from tests.support.data_plane import listening
from tests.support.live_worker import Handed, LiveWorker, TinyCase
from tests.support.soak import scaled
from tests.support.steady_askers import SteadyAskers, rounds
from wherry.agent.worker.messages import Identity, Loaded, Refused, Sandbox, Serve, Serving, Stop, Stopped, Window

pytestmark = pytest.mark.slow
TAKEOVERS = scaled(5, soak=200)
DRAIN_S = 0.3
RAW_HEAD = b"POST /v2/models/digits/infer HTTP/1.1\r\nInference-Header-Content-Length: 0\r\nContent-Length: 16\r\n\r\n"


class Berth:
    """The listening sockets of a slot, as the supervisor holds them, and workers of rising versions."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.tiny, self._stack = TinyCase(directory), stack
        self.sockets = [stack.enter_context(sock) for sock in listening(directory)]
        self.path, self.port = directory / "main.sock", self.sockets[1].getsockname()[1]
        self.body = json.dumps(
            {"inputs": [{"name": "x", "shape": [1, 16], "datatype": "INT8", "data": self.tiny.x[0].tolist()}]}
        ).encode()

    def loaded(self, version: int) -> LiveWorker:
        worker = self._stack.enter_context(LiveWorker())
        order, path = self.tiny.load("litert")
        worker.send(Handed(replace(order, identity=Identity(model="digits", version=version), sandbox=Sandbox()), path))
        worker.said(Loaded)
        return worker

    def serve(self, worker: LiveWorker) -> None:
        order = Serve(listeners=("http", "http"), files=2, window_s=1000)
        worker.process.send(order, [sock.fileno() for sock in self.sockets])
        worker.said(Serving)


def drain(worker: LiveWorker) -> int:
    """The inferences that it counted."""
    worker.send(Stop(drain_s=DRAIN_S))
    window = worker.said(Window)
    assert window.errors == 0
    worker.said(Stopped)
    assert worker.ended().exit_code == 0
    return window.inferences


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    with ExitStack() as stack:
        yield Berth(tmp_path, stack)


def test_no_request_fails_while_workers_take_over_from_each_other(berth: Berth, tried: Tried) -> None:
    inferences = 0
    serving = berth.loaded(0)
    berth.serve(serving)
    with SteadyAskers(berth.body, berth.path, berth.port) as askers:
        pace = rounds(askers, 60)
        for version in range(1, TAKEOVERS + 1):
            candidate = berth.loaded(version)
            next(pace)
            berth.serve(candidate)
            inferences += drain(serving)
            serving = candidate
        next(pace)
    inferences += drain(serving)
    tried(
        f"{TAKEOVERS} takeovers under {askers.asked} requests, {len(askers.failures)} failed, "
        f"{askers.refused_unseen} refused unseen and sent again; {len(askers.versions)} versions answered"
    )
    assert askers.failures == []
    assert set(askers.versions) <= {str(version) for version in range(TAKEOVERS + 1)}
    assert str(TAKEOVERS) in askers.versions
    assert inferences == askers.asked


def test_a_switch_that_kills_instead_of_draining_fails_requests(berth: Berth, tried: Tried) -> None:
    """The negative control."""
    serving = berth.loaded(0)
    berth.serve(serving)
    with SteadyAskers(berth.body, berth.path, berth.port) as askers:
        pace = rounds(askers, 60)
        for version in (1, 2):
            candidate = berth.loaded(version)
            next(pace)
            berth.serve(candidate)
            serving.process.kill()
            serving.ended()
            serving = candidate
        next(pace)
    tried(f"{len(askers.failures)} of {askers.asked} requests failed where workers were killed")
    assert askers.failures


def test_requests_wait_for_a_worker_that_is_not_there_yet(berth: Berth) -> None:
    """What a crash looks like to an app: the sockets are open, and nobody answers for a while."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(berth.path))
        sock.sendall(b"GET /v2/health/ready HTTP/1.1\r\nConnection: close\r\n\r\n")
        worker = berth.loaded(7)
        berth.serve(worker)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_the_answers_are_the_models(berth: Berth) -> None:
    worker = berth.loaded(1)
    berth.serve(worker)
    rows = berth.tiny.x[:20]
    got = []
    with socket.socket(socket.AF_INET) as sock:
        sock.settimeout(20)
        sock.connect(("127.0.0.1", berth.port))
        for row in rows:
            sock.sendall(RAW_HEAD + row.tobytes())
            got.append(np.frombuffer(sock.recv(4000)[-4:], np.int8))
    assert np.array_equal(got, berth.tiny.outputs("litert")[:20])
    assert drain(worker) == len(rows)


def test_what_cannot_be_listened_on_is_refused_in_words(berth: Berth) -> None:
    cases = (("http",), [1], "not a socket"), (("http", "http"), [], "0 sockets for 2 listeners")
    for listeners, files, text in cases:
        worker = berth.loaded(1)
        with berth.tiny.path.open("rb") as no_socket:
            worker.process.send(Serve(listeners=listeners, files=len(files)), [no_socket.fileno() for _ in files])
        assert text in worker.said(Refused).reason
        assert worker.ended().exit_code == 1
