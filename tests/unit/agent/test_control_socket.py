"""The socket for the person at the board outlives whatever is said on it."""

import contextlib
import itertools
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.agent.adapters import control
from wherry.agent.adapters.control import NAME, Asked, ControlSocket, Request, ask


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Of a socket whose questions are answered at once."""
    asked: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
    control = ControlSocket(tmp_path, asked.put)
    assert control.start() is None

    def answer() -> None:
        while (one := asked.get()) is not None:
            one.reply(b'{"ok":true}')

    thread = threading.Thread(target=answer)
    thread.start()
    yield tmp_path
    control.close()
    asked.put(None)
    thread.join()


@pytest.mark.parametrize(
    "said", [b"\xff\xfe\n", b'{"ask":"\xff"}\n', b"{\n", b"[" * 3000 + b"\n", b"x" * 9000, b"\n", b""]
)
def test_garbage_is_hung_up_on_and_the_next_is_answered(directory: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / NAME))
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    assert ask(directory, Request("status")) == b'{"ok":true}'


def test_a_client_that_drips_is_hung_up_on(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte comes long before each read would be given up."""
    with socket.socket(socket.AF_UNIX) as client, monkeypatch.context() as patch:
        patch.setattr(control, "CLIENT_LIMIT_S", 0.5)
        client.connect(str(directory / NAME))
        client.settimeout(0.05)
        for count in itertools.count(1):
            assert count < 200, "it goes on listening"
            try:
                client.sendall(b" ")
                assert client.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
    assert ask(directory, Request("status")) == b'{"ok":true}'
