"""The client over the Open Inference Protocol: real workers that answer, take over and are killed, and bad servers."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.conftest import Tried
from tests.support.fast_server import LABELS, engine
from tests.support.live_worker import Handed, LiveWorker, TinyCase
from tests.support.wait import wait_until
from wherry.agent.client import Client, Lost, ModelFailed, NotServed, Refused
from wherry.agent.client.http import address
from wherry.agent.worker.dataplane.server import HttpServer
from wherry.agent.worker.messages import Identity, Listener, Load, Loaded, Serve, Serving, Stop, Stopped, Window
from wherry.agent.worker.runtimes.interpreter import Tensor

STORED = np.array([[1, 2, 9, 4]], np.int8)
PAUSE_S = 0.01
"""Between two requests of a client, so that a new worker has a core to start on."""

Make = Callable[..., Client]


class Harbour:
    """The listening sockets of a slot, and real workers on them."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.case = TinyCase(directory)
        self._stack = stack
        self._tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._unix = [stack.enter_context(_unix(directory / name)) for name in ("main.sock", "main.fast.sock")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._tcp.getsockname()[1]}"

    def worker(self, version: int) -> LiveWorker:
        """Serves when this returns, beside whoever serves already."""
        worker = self._stack.enter_context(LiveWorker())
        order, path = self.case.load("litert")
        assert isinstance(order, Load)
        identity = Identity(model="trees", version=version, labels=LABELS)
        worker.send(Handed(msgspec.structs.replace(order, identity=identity), path))
        worker.said(Loaded)
        kinds: tuple[Listener, ...] = ("http", "fast", "http")
        files = [sock.fileno() for sock in (*self._unix, self._tcp)]
        worker.process.send(Serve(listeners=kinds, files=len(files), window_s=60), files)
        worker.said(Serving)
        return worker


def _unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(64)
    return sock


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    with contextlib.ExitStack() as stack:
        yield Harbour(tmp_path, stack)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:
        yield lambda url="", timeout_s=20.0, http=True: stack.enter_context(
            Client(directory=tmp_path, http=http, url=url, timeout_s=timeout_s)
        )


@pytest.mark.slow
def test_every_way_to_a_real_worker_gives_the_same_answer(harbour: Harbour, make: Make) -> None:
    worker = harbour.worker(7)
    real = (harbour.case.x[0].astype(np.float32) + 3) / 32
    ways = [make(http=False), make(), make(url=harbour.url)]
    for given in (harbour.case.x[:1], harbour.case.x[0], real):
        answers = [client.infer(given, label=1) for client in ways]
        assert {answer.stored[0].tobytes() for answer in answers} == {harbour.case.outputs("litert")[0].tobytes()}
        assert {str(answer.top(2)) for answer in answers} == {str(answers[0].top(2))}
        assert {(answer.model, answer.version) for answer in answers} == {("trees", 7)}
        assert all(answer.top()[0].label in LABELS and answer.latency_ms > 0 for answer in answers)
    assert ways[0].served() == ways[1].served() == ways[2].served()
    worker.send(Stop())
    window = worker.said(Window)
    assert (window.inferences, window.labelled, window.errors) == (9, 9, 0)


@pytest.mark.slow
def test_takeovers_and_kills_under_load_lose_nothing(harbour: Harbour, make: Make, tried: Tried) -> None:
    """Every other worker is killed instead of told to stop."""
    takeovers, stop = 4, threading.Event()
    seen: list[list[int]] = [[] for _ in range(4)]
    failures: list[Exception] = []

    def ask(client: Client, versions: list[int]) -> None:
        while not stop.wait(PAUSE_S):
            try:
                versions.append(client.infer(harbour.case.x[:1]).version)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                failures.append(error)

    serving = harbour.worker(0)
    clients = [make(), make(), make(url=harbour.url), make(url=harbour.url)]
    threads = [threading.Thread(target=ask, args=pair) for pair in zip(clients, seen, strict=True)]
    for thread in threads:
        thread.start()
    for version in range(1, takeovers + 1):
        newer = harbour.worker(version)
        if version % 2:
            serving.send(Stop(drain_s=0.2))
            assert serving.said(Window).errors == 0
            serving.said(Stopped)
        else:
            os.kill(serving.process.pid, signal.SIGKILL)
        serving = newer
        wait_until(lambda version=version: all(version in versions for versions in seen), "the new one answers all")  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert all(versions[-1] == takeovers for versions in seen), "the last one answers everybody"
    tried(f"{sum(map(len, seen))} requests over {takeovers} takeovers, {len(failures)} failed")


@contextlib.contextmanager
def _server(directory: Path, compute: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The worker's own server in this process, over a model whose arithmetic is a Python function."""
    server = HttpServer(engine(compute), [_unix(directory / "main.sock")], 1_000_000)
    server.start()
    yield
    server.begin_drain(0.0)
    server.join()


def test_a_model_that_fails_is_told_and_the_next_is_answered(tmp_path: Path, make: Make) -> None:
    failing = [True]

    def fail_first(x: Tensor) -> Tensor:
        if failing.pop() if failing else False:
            raise RuntimeError("broken arena")
        return x.copy()

    with _server(tmp_path, fail_first):
        client = make()
        with pytest.raises(ModelFailed, match="broken arena"):
            client.infer(STORED)
        assert client.infer(STORED).outputs["scores"].tolist() == [[-0.5, -0.25, 1.5, 0.25]]
        client.close()


@pytest.mark.parametrize("given", [np.zeros((1, 5), np.int8), {"y": STORED}, [[1.0, float("nan"), 1.0, 1.0]]])
def test_what_does_not_fit_is_refused_and_the_next_is_answered(tmp_path: Path, make: Make, given: object) -> None:
    with _server(tmp_path, lambda x: x.copy()):
        client = make()
        with pytest.raises(Refused):
            client.infer(given)  # type: ignore[arg-type]
        with pytest.raises(Refused, match="label must be"):
            client.infer(STORED, label=4)
        assert client.infer(STORED, label=3).version == 1
        client.close()


METADATA = {
    "name": "trees", "versions": ["1"], "platform": "tflite",
    "inputs": [{"name": "x", "datatype": "INT8", "shape": [1, 4]}],
    "outputs": [{"name": "scores", "datatype": "INT8", "shape": [1, 4]}],
}  # fmt: skip


def _said(status: int, body: bytes, json_length: int | None = None) -> bytes:
    length = "" if json_length is None else f"Inference-Header-Content-Length: {json_length}\r\n"
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{length}\r\n".encode() + body


def _inferred(name: str = "scores", size: int = 4, data: bytes = STORED.tobytes()) -> bytes:
    outputs = [{"name": name, "datatype": "INT8", "shape": [1, size], "parameters": {"binary_data_size": size}}]
    head = json.dumps({"model_name": "trees", "model_version": "1", "outputs": outputs}).encode()
    return _said(200, head + data, len(head))


GOOD = _inferred()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., list[int]]]:
    """Workers one after the other: each greets with `metadata`, reads a request, says a reply, and ends."""
    with _unix(tmp_path / "main.sock") as listening:

        def script(*replies: bytes, metadata: object = METADATA) -> list[int]:
            asked: list[int] = []
            threading.Thread(target=_act, args=(listening, replies, metadata, asked), daemon=True).start()
            return asked

        yield script


def _act(listening: socket.socket, replies: tuple[bytes, ...], metadata: object, asked: list[int]) -> None:
    for reply in replies:
        with contextlib.suppress(OSError):  # the test is over, or the client does not want to hear it
            connection, _ = listening.accept()
            with connection:
                _play(connection, reply, metadata, asked)


def _play(connection: socket.socket, reply: bytes, metadata: object, asked: list[int]) -> None:
    connection.recv(4096)
    connection.sendall(_said(200, json.dumps(metadata).encode()))
    data = b""
    while not data.endswith(STORED.tobytes()):
        if not (more := connection.recv(4096)):
            return
        data += more
    asked.append(len(data))
    connection.sendall(reply)


Script = Callable[..., list[int]]


def test_the_deadline_holds_over_all_that_is_tried_again(tmp_path: Path, make: Make) -> None:
    """A worker that greets late and ends over the request, and one after it that greets and says nothing more."""
    timeout_s, over = 2.0, threading.Event()

    def serve_badly(listening: socket.socket) -> None:
        for late_s, held_s in ((0.75 * timeout_s, 0.0), (0.0, 60.0)):
            connection, _ = listening.accept()
            with connection:
                over.wait(late_s)
                _play(connection, b"", METADATA, [])
                over.wait(held_s)

    with _unix(tmp_path / "main.sock") as listening:
        thread = threading.Thread(target=serve_badly, args=(listening,), daemon=True)
        thread.start()
        client, began_s = make(timeout_s=timeout_s), time.monotonic()
        with pytest.raises(NotServed):
            client.infer(STORED)
        assert time.monotonic() - began_s < 1.5 * timeout_s, "each wait had the whole time to itself"
        over.set()
        thread.join(20)


def test_a_request_over_which_a_worker_ended_is_asked_once_more(scripted: Script, make: Make) -> None:
    asked = scripted(GOOD[:60], GOOD)
    assert make().infer(STORED).stored[0].tolist() == STORED.tolist()
    assert len(asked) == 2


def test_a_request_that_ends_two_workers_is_not_given_to_a_third(scripted: Script, make: Make) -> None:
    """The negative control of the takeovers: what workers cannot answer is an error here."""
    asked = scripted(b"", b"", GOOD)
    with pytest.raises(Lost, match="2 workers ended over this request"):
        make().infer(STORED)
    assert len(asked) == 2


def test_connections_that_are_given_up_are_not_workers_that_ended(tmp_path: Path, make: Make) -> None:
    """A worker that gives way closes for reading: what is sent then has been read by nobody, as often as it happens."""
    client = make()
    with _unix(tmp_path / "main.sock") as listening:

        def give_up_thrice() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.shutdown(socket.SHUT_RD)
                    connection.sendall(_said(200, json.dumps(METADATA).encode()))
            _act(listening, (GOOD,), METADATA, [])

        thread = threading.Thread(target=give_up_thrice, daemon=True)
        thread.start()
        assert client.infer(STORED).version == 1
        thread.join(20)


def test_a_request_that_is_refused_unread_is_told_why(tmp_path: Path, make: Make) -> None:
    wide = {"name": "x", "datatype": "INT8", "shape": [1, 8_000_000]}
    client = make()
    with _unix(tmp_path / "main.sock") as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(_said(200, json.dumps({**METADATA, "inputs": [wide]}).encode()))
                connection.recv(100)
                connection.sendall(_said(413, b'{"error": "a body may have 4096 bytes"}'))

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(Refused, match="4096 bytes"):
            client.infer(np.zeros((1, 8_000_000), np.int8))


@pytest.mark.parametrize(
    "reply",
    [
        _inferred(name="boxes"), _inferred(size=5), _inferred(data=b"123"), _inferred(data=b"1" * 1_000_000),
        _said(200, b"{}"), _said(200, b"{}", 2), _said(200, b"{}", 2**70), _said(200, b"\xff", 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"\0" * 200, b"HTTP/1.1 99 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        _said(200, b"{}").replace(b"Said\r\n", b"Said\r\nInference-Header-Content-Length: -1\r\n"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_never_taken_for_one(scripted: Script, make: Make, reply: bytes) -> None:
    scripted(reply, reply)
    with pytest.raises(Lost):
        make().infer(STORED)


@pytest.mark.parametrize(
    "metadata",
    [
        [], {}, {**METADATA, "versions": ["x"]},
        {**METADATA, "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]},
        {**METADATA, "outputs": [{"name": "x", "datatype": "INT8", "shape": [-1]}]}, {"junk": "x" * 300_000},
    ],
)  # fmt: skip
def test_a_server_that_is_not_ours_is_not_served(scripted: Script, make: Make, metadata: object) -> None:
    scripted(*[GOOD] * 50, metadata=metadata)
    with pytest.raises(NotServed, match=r"main\.sock"):
        make(timeout_s=0.2).infer(STORED)


@pytest.mark.parametrize(("status", "error"), [(400, Refused), (413, Refused), (500, ModelFailed), (503, NotServed)])
def test_a_status_says_who_must_act(scripted: Script, make: Make, status: int, error: type[Exception]) -> None:
    scripted(*[_said(status, b'{"error": "for a reason"}')] * 50)
    with pytest.raises(error, match="for a reason"):
        make(timeout_s=0.2).infer(STORED)


def test_a_version_that_is_not_there_any_more_is_looked_for_anew(scripted: Script, make: Make) -> None:
    scripted(_said(404, b'{"error": "this slot serves version 2 of the model"}'), GOOD)
    assert make().infer(STORED).version == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "https://127.0.0.1", "http://", "http://boat/v2", "http://boat:x"])
def test_a_url_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:8000|[Pp]ort"):
        Client(url=url)


def test_an_address_is_read_from_a_url() -> None:
    assert address("http://localhost:8000/") == ("localhost", 8000)
