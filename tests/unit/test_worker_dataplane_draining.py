"""Draining: the data plane's server gives way to another on the same sockets, and drops nothing."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.data_plane import Plane, served
from tests.support.fake_interpreter import FakeInterpreter
from tests.support.raw_http import (
    LIVE,
    Gate,
    post,
    read_and_close,
    read_one,
    statuses,
)
from tests.support.wait import wait_until


class Draining:
    """The server of a plane, told to drain; `patience_s` for idle connections."""

    def __init__(self, plane: Plane, patience_s: float) -> None:
        plane.server.begin_drain(patience_s)
        self._thread = threading.Thread(target=plane.server.join)
        self._thread.start()
        wait_until(lambda: plane.server.draining, "it drains")

    @property
    def is_over(self) -> bool:
        self._thread.join(0)
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join(20)
        assert self.is_over


def test_draining_answers_what_is_asked_and_says_that_it_is_the_last(gate: tuple[Gate, Plane]) -> None:
    model, plane = gate
    with plane.connect() as busy, plane.connect(tcp=True) as queued:
        busy.sendall(post())
        queued.sendall(post())
        wait_until(lambda: plane.engine.running_s() > 0 and len(plane.server._connections) == 2, "it is asked")
        draining = Draining(plane, 0)
        assert not draining.is_over
        model.open.set()
        for sock in (busy, queued):
            status, headers, _ = read_one(sock)
            assert (status, headers["connection"]) == (200, "close")
            assert sock.recv(10) == b""
    draining.wait()


@pytest.mark.parametrize("tcp", [False, True])
def test_draining_lets_an_idle_connection_be_used_once_more(plane: Plane, tcp: bool) -> None:
    with plane.connect(tcp=tcp) as sock:
        sock.sendall(LIVE)
        read_one(sock)
        draining = Draining(plane, 60)
        sock.sendall(post() + LIVE)
        assert "connection" not in read_one(sock)[1], "another was asked with it"
        status, headers, _ = read_one(sock)
        assert (status, headers["connection"]) == (200, "close")
        assert sock.recv(10) == b""
    draining.wait()


def test_draining_waits_for_a_request_that_is_half_sent(plane: Plane) -> None:
    with plane.connect() as sock:
        sock.sendall(post()[:-5])
        wait_until(lambda: any(each._partial for each in plane.server._connections), "it begins")
        draining = Draining(plane, 0)
        assert not draining.is_over
        sock.sendall(post()[-5:])
        assert read_one(sock)[0] == 200
    draining.wait()


def test_draining_gives_up_idle_connections_after_a_while(plane: Plane) -> None:
    with plane.connect() as unix, plane.connect(tcp=True) as tcp:
        for sock in (unix, tcp):
            sock.sendall(LIVE)
            read_one(sock)
        Draining(plane, 0).wait()
        assert [sock.recv(10) for sock in (unix, tcp)] == [b"", b""]
        with pytest.raises(BrokenPipeError):
            unix.sendall(LIVE)


@pytest.mark.parametrize("tcp", [False, True])
def test_what_arrived_before_a_connection_is_given_up_is_answered(plane: Plane, tcp: bool) -> None:
    """The race of closing: nothing was read yet of what was sent, and the connection looks idle."""
    with plane.connect(tcp=tcp) as sock:
        sock.sendall(LIVE)
        read_one(sock)
        entered, leave = threading.Event(), threading.Event()

        def hold_the_loop() -> None:
            entered.set()
            assert leave.wait(20)
            for each in [*plane.server._connections]:
                each.give_up()

        plane.server._loop.call_soon_threadsafe(hold_the_loop)
        assert entered.wait(20)
        sock.sendall(post())
        leave.set()
        assert read_one(sock)[0] == 200
        assert sock.recv(10) == b""


def test_draining_takes_no_more_connections_and_others_do(tmp_path: Path) -> None:
    with served(FakeInterpreter(), tmp_path) as plane:
        spare = socket.socket(fileno=socket.dup(plane.server._listeners[0].fileno()))
        Draining(plane, 0).wait()
        with spare, plane.connect() as sock:
            sock.sendall(LIVE)
            spare.settimeout(20)
            accepted, _ = spare.accept()
            with accepted:
                assert accepted.recv(1000) == LIVE


@pytest.mark.parametrize("tcp", [False, True])
def test_connections_that_were_just_accepted_when_draining_began_are_answered(plane: Plane, tcp: bool) -> None:
    """A burst is accepted in one turn of the loop, in which draining begins as well."""
    entered, leave = threading.Event(), threading.Event()
    spare = socket.socket(fileno=socket.dup(plane.server._listeners[tcp].fileno()))  # as the supervisor has one

    def hold_the_loop() -> None:
        entered.set()
        assert leave.wait(20)

    plane.server._loop.call_soon_threadsafe(hold_the_loop)
    assert entered.wait(20)
    socks = [plane.connect(tcp=tcp) for _ in range(50)]
    for sock in socks:
        sock.sendall(LIVE)
    plane.server.begin_drain(0)
    leave.set()
    with ThreadPoolExecutor(50) as readers:
        answers = [readers.submit(read_and_close, sock) for sock in socks]
        plane.server.join()
        with spare:
            left_to_others = _waiting(spare)
            for sock in left_to_others:
                sock.close()
        answered = [statuses(each.result()) for each in answers]
    assert answered.count([200]) + len(left_to_others) == 50


def _waiting(listener: socket.socket) -> list[socket.socket]:
    listener.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(listener.accept()[0])
    return found
