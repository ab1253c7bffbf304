"""The data plane's server in this process, over a fake model, on a Unix socket and on TCP."""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from tests.support.fake_interpreter import FakeInterpreter
from wherry.agent.worker.dataplane.server import HttpServer
from wherry.agent.worker.engine import Engine
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import Preprocessing, Quantization, TensorSpec

IDENTITY = Identity(slot="main", model="digits", version=3, variant="int8", labels=("zero", "one", "two"))
MAX_REQUEST_BYTES = 1 << 20

PICTURE = TensorSpec(
    name="picture",
    shape=(1, 2, 2, 1),
    dtype="int8",
    quantization=Quantization(scale=0.5, zero_point=-1),
    layout="NHWC",
    preprocessing=Preprocessing(scale=0.25),
)
ASIDE = TensorSpec(name="aside", shape=(1, 2), dtype="float32")
SCORES = TensorSpec(name="scores", shape=(1, 4), dtype="int8", quantization=Quantization(scale=0.25, zero_point=3))
SUM = TensorSpec(name="sum", shape=(1,), dtype="float32")


class Pair(FakeInterpreter):
    """A model of two inputs and two outputs: `scores` is the picture's four values, `sum` that of `aside`."""

    def __init__(self) -> None:
        super().__init__(inputs=(PICTURE, ASIDE), outputs=(SCORES, SUM))

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        self.ran += 1
        return [inputs[0].reshape(1, 4).copy(), np.array([inputs[1].sum()], np.float32)]


class Plane(NamedTuple):
    server: HttpServer
    engine: Engine
    path: Path
    port: int

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.path)), base_url="http://slot")

    def is_live(self) -> bool:
        with self.client() as client:
            return client.get("/v2/health/live").status_code == 200

    def connect(self, *, tcp: bool = False) -> socket.socket:
        sock = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.port) if tcp else str(self.path))
        return sock


def listening(directory: Path) -> tuple[socket.socket, socket.socket]:
    """A Unix socket and a TCP socket that are listened on, as the agent opens them."""
    unix, tcp = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)
    unix.bind(str(directory / "main.sock"))
    tcp.bind(("127.0.0.1", 0))
    for sock in (unix, tcp):
        sock.listen(512)
    return unix, tcp


@contextlib.contextmanager
def served(
    interpreter: FakeInterpreter, directory: Path, max_request_bytes: int = MAX_REQUEST_BYTES
) -> Iterator[Plane]:
    """Drained at the end, without patience."""
    unix, tcp = listening(directory)
    port = tcp.getsockname()[1]
    engine = Engine(Model("litert", interpreter), IDENTITY, 0.0)
    server = HttpServer(engine, [unix, tcp], max_request_bytes)
    server.start()
    try:
        yield Plane(server, engine, directory / "main.sock", port)
    finally:
        server.begin_drain(0)
        server.join()
