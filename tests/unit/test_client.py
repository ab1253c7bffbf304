"""The client and the fast mode: predictions, refusals, takeovers, crashes and bad peers, over real sockets."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.conftest import Tried
from tests.support.fake_interpreter import INPUT
from tests.support.fast_server import engine, listener, path_in, serve
from tests.support.wait import wait_until
from wherry.agent.client import Client, Lost, ModelFailed, NotServed, Refused
from wherry.agent.client.frames import ANSWER, REQUEST, Hello, encode_hello
from wherry.agent.worker.dataplane.server import HttpServer
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.fast import MAX_CONNECTIONS, FastServer
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import Preprocessing

pytestmark = pytest.mark.slow

STORED = np.array([[1, 2, 9, 4]], np.int8)
Make = Callable[..., Client]


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[socket.socket]:
    with listener(tmp_path) as listening:
        yield listening


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Client] = []

    def client(timeout_s: float = 20.0) -> Client:
        made.append(Client(directory=tmp_path, timeout_s=timeout_s))
        return made[-1]

    yield client
    for one in made:
        one.close()


def test_an_answer_has_stored_and_real_outputs_labels_and_who_gave_it(sock: socket.socket, make: Make) -> None:
    serve(sock, engine(version=7))
    answer = make().infer(STORED)
    assert answer.stored[0].tolist() == STORED.tolist()
    assert answer.outputs["scores"].tolist() == [[-0.5, -0.25, 1.5, 0.25]]
    assert [(entry.index, entry.label, entry.score) for entry in answer.top(2)] == [
        (2, "cedar", 1.5),
        (3, "dogwood", 0.25),
    ]
    assert (answer.model, answer.version) == ("trees", 7)
    assert answer.latency_ms >= 0


@pytest.mark.parametrize("given", [STORED, STORED[0], [[1.0, 1.5, 5.0, 2.5]], {"x": STORED}, np.asfortranarray(STORED)])
def test_stored_values_go_in_as_they_are_and_real_ones_are_quantized(
    sock: socket.socket, make: Make, given: object
) -> None:
    serve(sock, engine())
    assert make().infer(given).stored[0].tolist() == STORED.tolist()  # type: ignore[arg-type]


def test_raw_values_are_prepared_as_the_manifest_says(sock: socket.socket, make: Make) -> None:
    spec = msgspec.structs.replace(INPUT, preprocessing=Preprocessing(scale=0.5, mean=(1.0,)))
    serve(sock, engine(inputs=(spec,)))
    raw = np.array([4, 5, 12, 7], np.uint8)
    assert make().infer(raw).stored[0].tolist() == [[1, 2, 9, 4]]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (np.zeros((1, 5), np.int8), r"x is \[1, 5\], the model takes \[1, 4\]"),
        (np.zeros((1, 4), np.int32), "x is int32, the model takes int8"),
        ([[1.0, float("nan"), 1.0, 1.0]], "not finite"),
        ({"y": STORED}, "the model takes x; given were y"),
        ([[1, 2], [3]], "x is no array"),
        ({"x": [[1, 2], [3]]}, "x is no array"),
    ],
)
def test_what_does_not_fit_is_refused_in_words_and_the_next_is_answered(
    sock: socket.socket, make: Make, given: object, word: str
) -> None:
    serve(sock, engine())
    client = make()
    with pytest.raises(Refused, match=word):
        client.infer(given)  # type: ignore[arg-type]
    assert client.infer(STORED).version == 1


FLOATS = msgspec.structs.replace(INPUT, dtype="float32", quantization=None)


def test_what_is_not_finite_is_the_askers_fault_and_not_the_models(sock: socket.socket, make: Make) -> None:
    served = engine(lambda x: x.astype(np.int8), inputs=(FLOATS,))
    serve(sock, served)
    client = make()
    with pytest.raises(Refused, match="x has values that are not finite"):
        client.infer(np.array([[1, np.nan, 3, np.inf]], np.float32))
    assert client.infer(np.ones((1, 4), np.float32)).version == 1
    window = served.window(1.0)
    assert (window.inferences, window.errors) == (1, 0)


def test_a_connection_that_no_thread_can_be_started_for_is_refused_and_the_next_is_taken(
    sock: socket.socket, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(sock, engine())
    start, failures = threading.Thread.start, itertools.count()

    def fail_first(thread: threading.Thread) -> None:
        if thread.name == "fast" and next(failures) == 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_first)
    assert make().infer(STORED).version == 1, "asked again"
    assert next(failures) > 1
    assert server.drain(10)


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_no_time_at_all_is_refused(tmp_path: Path, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Client(directory=tmp_path, timeout_s=timeout_s)


def test_a_model_that_fails_is_told_and_the_next_is_answered(sock: socket.socket, make: Make) -> None:
    calls = itertools.count()

    def fail_first(x: Tensor) -> Tensor:
        if next(calls) == 0:
            raise RuntimeError("broken arena")
        return x

    served = engine(fail_first)
    serve(sock, served)
    client = make()
    with pytest.raises(ModelFailed, match="RuntimeError: broken arena"):
        client.infer(STORED)
    client.infer(STORED)
    window = served.window(1.0)
    assert (window.inferences, window.errors) == (1, 1)


def test_an_answer_is_never_read_from_the_middle_of_another(sock: socket.socket, make: Make) -> None:
    """Of a model that gives more once than it said, and then less."""
    calls = itertools.count()
    serve(sock, engine(lambda x: (np.tile(x, 5), x[:, :2], x)[min(next(calls), 2)]))
    client = make(timeout_s=2.0)
    for _ in range(2):
        with pytest.raises(ModelFailed, match="and should have 4"):
            client.infer(STORED)
    assert client.infer(STORED).stored[0].tolist() == STORED.tolist()


def test_labels_are_counted_for_accuracy(sock: socket.socket, make: Make) -> None:
    served = engine()
    serve(sock, served)
    client = make()
    for label in (2, 2, 0, None):
        client.infer(STORED, label=label)
    window = served.window(1.0)
    assert (window.inferences, window.labelled, window.correct) == (4, 3, 2)


@pytest.fixture
def ways(sock: socket.socket, tmp_path: Path) -> Iterator[tuple[Engine, list[Client]]]:
    """One engine, and clients that ask it by the fast mode and over HTTP."""
    served = engine()
    serve(sock, served)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "main.sock"))
        listening.listen(8)
        server = HttpServer(served, [listening.dup()], 4096)
        server.start()
        with Client(directory=tmp_path) as fast, Client(directory=tmp_path, http=True) as http:
            yield served, [fast, http]
        server.begin_drain(0.0)
        server.join()


@pytest.mark.parametrize("label", [-1, -5, 4, 9, 2**40, 1.0, "cedar"])
def test_a_label_that_is_no_class_of_the_model_is_refused_either_way(
    ways: tuple[Engine, list[Client]], label: object
) -> None:
    served, clients = ways
    for client in clients:
        with pytest.raises(Refused, match="label must be the index of the right class, from 0 to 3"):
            client.infer(STORED, label=label)  # type: ignore[arg-type]
        client.infer(STORED, label=np.int64(2))  # type: ignore[arg-type]  # as arrays of labels have them
    window = served.window(1.0)
    assert (window.inferences, window.labelled, window.correct, window.errors) == (2, 2, 2, 0)


@pytest.mark.parametrize("label", [-5, 4, 2**31 - 1])
def test_a_label_of_somebody_elses_client_is_judged_by_the_worker_as_well(
    sock: socket.socket, tmp_path: Path, label: int
) -> None:
    served = engine()
    serve(sock, served)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path_in(tmp_path)))
        assert other.recv(4096)
        other.sendall(REQUEST.pack(4, label) + STORED.tobytes())
        assert b"label must be the index of the right class, from 0 to 3" in other.recv(4096)
        other.sendall(REQUEST.pack(4, 2) + STORED.tobytes())
        assert other.recv(ANSWER.size + 4, socket.MSG_WAITALL).endswith(STORED.tobytes())
    window = served.window(1.0)
    assert (window.inferences, window.labelled, window.errors) == (1, 1, 0)


@pytest.mark.parametrize("path", ["missing", "nobody listens"])
def test_without_an_agent_it_says_so_and_what_to_do(tmp_path: Path, make: Make, path: str) -> None:
    if path == "nobody listens":
        with listener(tmp_path):
            pass
    with pytest.raises(NotServed, match=r"main\.fast\.sock.*is wherry-agent running"):
        make(timeout_s=0.1).infer(STORED)


def test_whoever_asks_before_a_worker_answers_waits_for_it(sock: socket.socket, make: Make) -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(make().infer(STORED).version))
    thread.start()
    serve(sock, engine(version=3))
    thread.join(20)
    assert answers == [3]


def test_takeovers_under_steady_load_lose_nothing(sock: socket.socket, make: Make, tried: Tried) -> None:
    takeovers, asked = 20, [0, 0, 0]
    stop = threading.Event()
    failures: list[Exception] = []
    seen: list[list[int]] = [[], [], []]

    def ask(number: int) -> None:
        client = make()
        while not stop.is_set():
            try:
                seen[number].append(client.infer(STORED).version)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                failures.append(error)
            asked[number] += 1

    server = serve(sock, engine(version=0))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for version in range(1, takeovers + 1):
        target = [count + 20 for count in asked]
        wait_until(lambda target=target: all(a >= b for a, b in zip(asked, target, strict=True)), "they ask")  # type: ignore[misc]
        newer = serve(sock, engine(version=version))
        assert server.drain(10)
        server = newer
    wait_until(lambda: all(takeovers in versions for versions in seen), "the last one answers everybody")
    stop.set()
    for thread in threads:
        thread.join(20)
    server.drain(10)
    assert failures == []
    assert all(versions == sorted(versions) for versions in seen), "nobody goes back to an older one"
    tried(f"{sum(asked)} requests over {takeovers} takeovers, {len(failures)} failed")


def _scripted(sock: socket.socket, *replies: bytes) -> threading.Thread:
    """A worker that greets, reads a request, says what it is told, and ends: once for each of `replies`."""
    hello = encode_hello(Hello(identity=engine().identity, inputs=engine().inputs, outputs=engine().outputs))

    def run() -> None:
        for reply in replies:
            connection, _ = sock.accept()
            with connection:
                connection.sendall(hello)
                connection.recv(REQUEST.size + 4, socket.MSG_WAITALL)
                connection.sendall(reply)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


GOOD = ANSWER.pack(4, 0, 0, 0, 1) + STORED.tobytes()


def test_a_request_over_which_a_worker_ended_is_asked_once_more(sock: socket.socket, make: Make) -> None:
    _scripted(sock, GOOD[:6], GOOD)
    assert make().infer(STORED).stored[0].tolist() == STORED.tolist()


def test_a_request_that_ends_two_workers_is_not_given_to_a_third(sock: socket.socket, make: Make) -> None:
    """The negative control of the takeovers: what a worker cannot answer is an error here."""
    _scripted(sock, b"", b"", GOOD)
    with pytest.raises(Lost, match="2 workers ended over this request"):
        make().infer(STORED)


def _fickle(sock: socket.socket) -> None:
    """Workers that greet whoever comes and hang up, for ever."""

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = sock.accept()
                with connection:
                    connection.sendall(encode_hello(Hello(inputs=engine().inputs, outputs=engine().outputs)))
                    connection.shutdown(socket.SHUT_RD)

    threading.Thread(target=run, daemon=True).start()


def test_workers_that_greet_and_read_nothing_are_given_up_at_the_deadline(sock: socket.socket, make: Make) -> None:
    _fickle(sock)
    with pytest.raises((NotServed, Lost)):
        make(timeout_s=0.3).infer(STORED)


@pytest.mark.parametrize(
    "reply", [ANSWER.pack(5, 0, 0, 0, 1) + b"12345", ANSWER.pack(2**32 - 1, 0, 0, 0, 0), b"\xff" * 30]
)
def test_an_answer_that_is_none_is_never_taken_for_one(sock: socket.socket, make: Make, reply: bytes) -> None:
    _scripted(sock, reply, reply)
    with pytest.raises((Lost, ModelFailed)):
        make().infer(STORED)


def test_no_answer_in_time_is_not_served(sock: socket.socket, make: Make) -> None:
    hold = threading.Event()
    serve(sock, engine(lambda x: (hold.wait(20), x)[1]))
    with pytest.raises(NotServed, match="not answered in time"):
        make(timeout_s=0.2).infer(STORED)
    hold.set()


def test_the_deadline_holds_over_all_that_is_tried_again(sock: socket.socket, make: Make) -> None:
    """A worker that greets late and ends over the request, and one after it that greets and says nothing more."""
    timeout_s, over = 2.0, threading.Event()

    def serve_badly() -> None:
        for late_s, held_s in ((0.75 * timeout_s, 0.0), (0.0, 60.0)):
            connection, _ = sock.accept()
            with connection:
                over.wait(late_s)
                connection.sendall(encode_hello(Hello(inputs=engine().inputs, outputs=engine().outputs)))
                connection.recv(REQUEST.size + 4, socket.MSG_WAITALL)
                over.wait(held_s)

    thread = threading.Thread(target=serve_badly, daemon=True)
    thread.start()
    client, began_s = make(timeout_s), time.monotonic()
    with pytest.raises(NotServed):
        client.infer(STORED)
    assert time.monotonic() - began_s < 1.5 * timeout_s, "each wait had the whole time to itself"
    over.set()
    thread.join(20)


def test_a_request_after_one_that_had_little_time_left_has_its_own(sock: socket.socket, make: Make) -> None:
    """The connection was made late in the first request's time, and the second takes longer than what was left."""
    timeout_s, late, slow = 4.0, threading.Event(), threading.Event()
    compute_s = iter((0.0, 0.5 * timeout_s))
    client = make(timeout_s)

    def come_late() -> None:
        late.wait(0.75 * timeout_s)
        serve(sock, engine(lambda x: (slow.wait(next(compute_s)), x)[1]))

    thread = threading.Thread(target=come_late)
    thread.start()
    assert client.infer(STORED).version == 1
    assert client.infer(STORED).version == 1
    thread.join(20)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\xff" * 64, REQUEST.pack(5, 0) + b"12345", REQUEST.pack(4, 0)]
)
def test_garbage_ends_its_connection_and_nothing_else(
    sock: socket.socket, tmp_path: Path, make: Make, garbage: bytes
) -> None:
    served = engine()
    serve(sock, served)
    with socket.socket(socket.AF_UNIX) as bad:
        bad.connect(str(path_in(tmp_path)))
        bad.sendall(garbage)
        bad.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while bad.recv(4096):
                pass
    assert make().infer(STORED).version == 1
    assert served.window(1.0).errors == 0


@pytest.fixture
def server(sock: socket.socket) -> FastServer:
    return serve(sock, engine())


@pytest.fixture
def crowd(server: FastServer, tmp_path: Path) -> Iterator[list[socket.socket]]:
    """As many connections as are taken, all greeted and silent; the oldest is the first."""
    held = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
    for one in held:
        one.connect(str(path_in(tmp_path)))
        assert one.recv(4096), "greeted, so counted"
    yield held
    for one in held:
        one.close()


def _is_open(connection: socket.socket) -> bool:
    try:
        connection.sendall(REQUEST.pack(4, 0) + STORED.tobytes())
    except BrokenPipeError:
        return False
    return connection.recv(ANSWER.size + 4, socket.MSG_WAITALL).endswith(STORED.tobytes())


def test_the_connection_that_is_silent_for_the_longest_makes_room(crowd: list[socket.socket], make: Make) -> None:
    assert all(_is_open(one) for one in crowd[:5]), "so that the sixth is silent for the longest"
    assert make().infer(STORED).version == 1
    assert [_is_open(one) for one in crowd] == [number != 5 for number in range(MAX_CONNECTIONS)]


def test_who_asks_is_not_given_up_and_more_are_told_so(
    server: FastServer, crowd: list[socket.socket], make: Make
) -> None:
    """The negative control: a connection in the middle of a request is never the one that makes room."""
    for one in crowd:
        one.sendall(REQUEST.pack(4, 0))
    wait_until(lambda: not any(one.silent_since_s for one in [*server._exchanges.values()]), "all are being asked")
    with pytest.raises(NotServed, match="32 connections are open"):
        make(timeout_s=0.1).infer(STORED)
    for one in crowd:
        one.sendall(STORED.tobytes())
        assert one.recv(ANSWER.size + 4, socket.MSG_WAITALL).endswith(STORED.tobytes())
    assert make().infer(STORED).version == 1


def test_more_clients_than_there_is_room_for_are_all_answered(
    crowd: list[socket.socket], make: Make, tried: Tried
) -> None:
    """An app that makes a client for each of its parts and closes none, beside another that does the same."""
    clients = [make() for _ in range(2 * MAX_CONNECTIONS)]
    rounds = 5
    for _ in range(rounds):
        for client in clients:
            assert client.infer(STORED).version == 1
    assert not _is_open(crowd[0])
    tried(f"{rounds * len(clients)} requests of {len(clients)} clients in turn, each on a connection that was given up")
