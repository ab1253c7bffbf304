"""The fast mode's server in this process, over a model whose arithmetic is a Python function."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.fake_interpreter import INPUT, OUTPUT, FakeInterpreter, echo
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.fast import FastServer
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

LABELS = ("ash", "beech", "cedar", "dogwood")


def path_in(directory: Path) -> Path:
    return directory / "main.fast.sock"


@contextlib.contextmanager
def listener(directory: Path) -> Iterator[socket.socket]:
    """The slot's listening socket, as the supervisor holds it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path_in(directory)))
        sock.listen(64)
        yield sock


def engine(
    compute: Callable[[Tensor], Tensor] = echo, version: int = 1, inputs: tuple[TensorSpec, ...] = (INPUT,)
) -> Engine:
    interpreter = FakeInterpreter(compute, inputs=inputs, outputs=(OUTPUT,))
    return Engine(
        Model("litert", interpreter, inputs), Identity(model="trees", version=version, labels=LABELS), now_s=0.0
    )


def serve(sock: socket.socket, served: Engine) -> FastServer:
    """One more server on the socket, as a worker is that takes over."""
    server = FastServer(served, [sock.dup()])
    server.start()
    return server
