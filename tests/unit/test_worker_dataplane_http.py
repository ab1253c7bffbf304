"""HTTP as hostile, slow and hasty clients speak it, over real sockets to the data plane's server in this process."""

import itertools
import json
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.data_plane import IDENTITY, MAX_REQUEST_BYTES, Plane
from tests.support.fake_interpreter import FakeInterpreter
from tests.support.raw_http import BODY, LIVE, PATH, Gate, post, read_all, read_one, send_what_goes, statuses
from tests.support.wait import wait_until
from wherry.agent.worker.dataplane import connection, server
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.model import Model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tcp", [False, True])
def test_a_connection_is_used_again(plane: Plane, tcp: bool) -> None:
    with plane.connect(tcp=tcp) as sock:
        for _ in range(3):
            sock.sendall(post())
            status, headers, body = read_one(sock)
            assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [1, 2, 9, 4])
            assert "connection" not in headers


def test_a_request_may_come_byte_by_byte(plane: Plane) -> None:
    with plane.connect() as sock:
        for byte in post():
            sock.send(bytes([byte]))
        assert read_one(sock)[0] == 200


def test_requests_may_come_all_at_once_and_are_answered_in_order(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall((post() + LIVE) * 200 + post(BODY, "Connection: close"))
        answers = read_all(sock)
    assert statuses(answers) == [200] * 401
    assert answers.count(b"live") == 200


@pytest.mark.parametrize("head", ["Connection: close", "connection: CLOSE"])
def test_a_client_may_ask_for_the_end(plane: Plane, head: str) -> None:
    with plane.connect() as sock:
        sock.sendall(post(BODY, head))
        data = read_all(sock)
    assert b"Connection: close" in data


def test_http_1_0_ends_after_its_answer(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert statuses(read_all(sock)) == [200]


def test_a_client_that_has_said_all_still_gets_its_answer(gate: tuple[Gate, Plane]) -> None:
    model, plane = gate
    with plane.connect() as sock:
        sock.sendall(post())
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: plane.engine.running_s() > 0, "the model is asked")
        model.open.set()
        assert statuses(read_all(sock)) == [200]


def test_large_bodies_are_asked_to_come(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall(post(b"", "Expect: 100-continue", length=len(BODY)))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert read_one(sock)[0] == 200


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (413, post(b"", length=MAX_REQUEST_BYTES + 1)),
        (413, post(b"", "Expect: 100-continue", length=MAX_REQUEST_BYTES + 1)),
        (413, post(b"x" * 3_000_000)),
        (411, f"POST {PATH} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".encode()),
        (411, b"GET /v2 HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (400, post(b"", "Transfer-Encoding: chunked")),
        (400, post(b"", "Content-Length: 7")),
        (400, f"POST {PATH} HTTP/1.1\r\nContent-Length: -1\r\n\r\n".encode()),
        (400, f"POST {PATH} HTTP/1.1\r\nContent-Length: {'9' * 40}\r\n\r\n".encode()),
        (400, f"POST {PATH} HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n".encode()),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (400, b"GET / HTTP/9.9\r\n\r\n"),
        (400, b"GET /v2 HTTP/1.1\r\nBad Header: x\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (431, b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 2_000_000),
        (431, b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"),
        (431, b"GET /" + b"y" * 2_000_000),
        (431, b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 300_000),
    ],
)
def test_what_is_not_to_be_had_is_refused_before_it_is_read(plane: Plane, status: int, data: bytes) -> None:
    with plane.connect() as sock:
        writer = threading.Thread(target=lambda: send_what_goes(sock, data))
        writer.start()
        answer = read_all(sock)
        writer.join(20)
    assert statuses(answer) == [status]
    body = answer.partition(b"\r\n\r\n")[2]
    assert json.loads(body)["error"]
    assert b"Connection: close" in answer
    assert plane.is_live()


def test_a_refusal_waits_for_the_answers_before_it(gate: tuple[Gate, Plane]) -> None:
    model, plane = gate
    with plane.connect() as sock:
        sock.sendall(post() + b"garbage\r\n\r\n")
        wait_until(lambda: plane.engine.running_s() > 0, "the model is asked")
        model.open.set()
        assert statuses(read_all(sock)) == [200, 400]


def test_an_upgrade_to_another_protocol_is_answered_in_this_one(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall(b"GET /v2 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x00\x01\x02")
        assert statuses(read_all(sock)) == [200]


@pytest.mark.parametrize("sent", [b"GET /v2 HT", post(b"{", length=100), b"GET /v2 HTTP/1.1\r\nX: y\r\n"])
def test_a_request_that_never_ends_is_left(plane: Plane, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.1)
    with plane.connect() as sock:
        sock.sendall(sent)
        assert statuses(read_all(sock)) == [408]


def test_a_body_that_trickles_in_is_left_at_the_same_time(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.3)
    with plane.connect() as sock:
        sock.sendall(post(b"", length=MAX_REQUEST_BYTES))
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.01):
                send_what_goes(sock, b"x")

        writer = threading.Thread(target=trickle)
        writer.start()
        assert statuses(read_all(sock)) == [408]
        stop.set()
        writer.join(20)


def test_a_silent_connection_is_closed_after_a_while(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.1)
    with plane.connect() as fresh, plane.connect() as used:
        used.sendall(LIVE)
        assert statuses(read_all(used)) == [200]
        assert read_all(fresh) == b""


def test_who_never_reads_is_left_and_holds_up_nobody(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.2)
    with plane.connect() as sock:
        sock.setblocking(False)
        metadata = b"GET /v2/models/digits HTTP/1.1\r\n\r\n" * 100
        with pytest.raises((BlockingIOError, BrokenPipeError)):
            all(sock.send(metadata) for _ in itertools.count())
        assert plane.is_live()
        wait_until(lambda: not plane.server._connections or _is_gone(sock, metadata), "it is left")


def _is_gone(sock: socket.socket, data: bytes) -> bool:
    try:
        sock.send(data)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def test_the_connection_idle_longest_makes_room(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    socks = []
    for _ in range(3):
        socks.append(plane.connect())
        socks[-1].sendall(LIVE)
        assert read_one(socks[-1])[0] == 200
    with plane.connect() as late:
        late.sendall(LIVE)
        assert read_one(late)[0] == 200
        assert socks[0].recv(10) == b"", "the first is given up"
        for sock in socks[1:]:
            sock.sendall(LIVE)
            assert read_one(sock)[0] == 200
    for sock in socks:
        sock.close()


def test_without_room_a_connection_is_refused_in_words(
    gate: tuple[Gate, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plane = gate
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    busy = [plane.connect() for _ in range(2)]
    for sock in busy:
        sock.sendall(post())
    wait_until(lambda: len(plane.server._connections) == 2 and plane.engine.running_s() > 0, "both are busy")
    with plane.connect() as late:
        assert statuses(read_all(late)) == [503]
    model.open.set()
    for sock in busy:
        assert read_one(sock)[0] == 200
        sock.close()


def test_all_bodies_together_are_bounded(gate: tuple[Gate, Plane]) -> None:
    model, plane = gate
    body = b" " * (MAX_REQUEST_BYTES - len(BODY)) + BODY
    socks = [plane.connect() for _ in range(8)]
    answers: list[int] = []

    def ask(sock: socket.socket) -> None:
        send_what_goes(sock, post(body))
        answers.append(read_one(sock)[0])

    askers = [threading.Thread(target=ask, args=(sock,)) for sock in socks]
    for asker in askers:
        asker.start()
    wait_until(lambda: answers.count(503) >= 4, "the last are refused")
    model.open.set()
    for asker in askers:
        asker.join(20)
    assert sorted(answers) == [200] * 4 + [503] * 4
    assert plane.server._held_bytes == 0
    for sock in socks:
        sock.close()


def test_what_clients_that_left_had_sent_is_let_go(plane: Plane) -> None:
    for _ in range(20):
        with plane.connect() as sock:
            sock.sendall(post(b"x" * 100_000, length=200_000))
    wait_until(lambda: not plane.server._connections, "all are gone")
    assert plane.server._held_bytes == 0


def test_live_and_ready_answer_while_the_model_computes(
    gate: tuple[Gate, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plane = gate
    with plane.connect() as sock, plane.client() as client:
        sock.sendall(post())
        wait_until(lambda: plane.engine.running_s() > 0, "the model is asked")
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
        monkeypatch.setattr("wherry.agent.worker.dataplane.service.STUCK_S", 0.0)
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 400
        model.open.set()
        assert read_one(sock)[0] == 200
        wait_until(lambda: client.get("/v2/health/ready").status_code == 200, "it is ready again")


def test_a_socket_that_nobody_can_listen_on_is_refused_in_words() -> None:
    ours, theirs = socket.socketpair()
    asked = server.HttpServer(Engine(Model("litert", FakeInterpreter()), IDENTITY, 0.0), [theirs], MAX_REQUEST_BYTES)
    with ours, theirs, pytest.raises(OrderRefused, match="cannot listen"):
        asked.start()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([LIVE, post(), post()[:-3], b"\r\n", b"GET "]), max_size=5))
def test_whatever_bytes_come_no_answer_blames_the_server_and_it_goes_on(plane: Plane, parts: list[bytes]) -> None:
    with plane.connect() as sock:
        send_what_goes(sock, b"".join(parts))
        sock.shutdown(socket.SHUT_WR)
        assert all(status < 500 for status in statuses(read_all(sock)))
    with plane.connect() as sock:
        sock.sendall(LIVE)
        assert read_one(sock)[0] == 200


METADATA = b"GET /v2/models/digits HTTP/1.1\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("tcp", [False, True])
def test_an_answer_that_is_read_slowly_is_not_cut_because_it_is_the_last(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, tcp: bool
) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.0)
    with plane.connect(tcp=tcp) as sock:
        sock.sendall(METADATA * 3000 + METADATA.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        sweeps_s = time.monotonic() + 3 * server.SWEEP_S
        wait_until(lambda: time.monotonic() > sweeps_s, "some sweeps have passed")
        assert statuses(read_all(sock)) == [200] * 3001
    wait_until(lambda: not plane.server._connections, "it is gone")


@pytest.mark.parametrize("rest", [b"", LIVE[:-4], post()[:-4]])
def test_who_ends_its_side_while_answers_wait_to_be_read_gets_them_all(plane: Plane, rest: bytes) -> None:
    with plane.connect() as sock:
        writer = threading.Thread(target=lambda: (sock.sendall(METADATA * 5000 + rest), sock.shutdown(socket.SHUT_WR)))
        writer.start()
        assert statuses(read_all(sock)) == [200] * 5000
        writer.join(20)
        wait_until(lambda: not plane.server._connections, "it is gone")


@pytest.mark.parametrize("rest", [LIVE[:-4], post()[:-4]])
def test_who_ends_within_a_request_gets_the_answer_to_the_one_before(gate: tuple[Gate, Plane], rest: bytes) -> None:
    model, plane = gate
    with plane.connect() as sock:
        sock.sendall(post() + rest)
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: plane.engine.running_s() > 0, "the model is asked")
        model.open.set()
        assert statuses(read_all(sock)) == [200]


def test_what_follows_the_last_request_is_passed_over(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall(LIVE.replace(b"Host: slot", b"Connection: close") + LIVE)
        assert statuses(read_all(sock)) == [200]
