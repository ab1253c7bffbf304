"""A real worker process, with what it says in a queue, and the tiny model on disk for it."""

import contextlib
import queue
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tests.support.tiny_model import Dense, random_dense
from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.client import Client
from wherry.agent.worker import runtimes
from wherry.agent.worker.messages import Answer, AnyOrder, Load, SelfTest, Serve, Serving
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Tolerance
from wherry.protocol.runtime import Family

A = TypeVar("A", bound=Answer)
DEADLINE_S = 20.0
FAMILIES: tuple[Family, ...] = ("litert", "tflite-runtime")


class Handed(NamedTuple):
    """An order with the file that goes with it."""

    order: Load | SelfTest
    path: Path


class LiveWorker:
    """Ends its process on leaving the `with` block."""

    def __init__(self, role: str = "candidate") -> None:
        self.events: queue.SimpleQueue[WorkerSaid | WorkerEnded] = queue.SimpleQueue()
        self.process = WorkerProcess.start("main", role, self.events.put)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.close()

    def send(self, what: AnyOrder | Handed) -> None:
        if not isinstance(what, Handed):
            self.process.send(what)
            return
        with what.path.open("rb") as file:
            self.process.send(what.order, [file.fileno()])

    @contextlib.contextmanager
    def asked(self, directory: Path, window_s: float, samples: SampleFile | None = None) -> Iterator[Client]:
        """Let it serve on a socket of its own, and ask it. What it is asked is kept in `samples`."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "main.fast.sock"))
            listener.listen()
            files = [listener.fileno(), *([] if samples is None else [samples.writable])]
            order = Serve(window_s=window_s, listeners=("fast",), files=len(files), samples=samples is not None)
            self.process.send(order, files)
            with Client(directory=directory) as client:
                self.said(Serving)
                yield client

    def said(self, *kinds: type[A]) -> A:
        """The next answer, which must be of one of `kinds`."""
        event = self.events.get(timeout=DEADLINE_S)
        assert isinstance(event, WorkerSaid), event
        assert event.worker_id == self.process.worker_id
        assert isinstance(event.answer, kinds), event.answer
        return event.answer

    def ended(self, deadline_s: float = DEADLINE_S) -> WorkerEnded:
        """The end; whatever was said before is passed over. Nothing may follow."""
        end_s = time.monotonic() + deadline_s
        while True:
            event = self.events.get(timeout=max(end_s - time.monotonic(), 0.01))
            if isinstance(event, WorkerEnded):
                assert self.events.empty()
                return event


class TinyCase:
    """The tiny model in a directory: its orders, golden vectors from the real runtimes, and labelled inputs."""

    def __init__(self, directory: Path, features: int = 16, classes: int = 4) -> None:
        self.directory = directory
        self.dense: Dense = random_dense(features, classes)
        self.path = directory / "tiny.tflite"
        self.path.write_bytes(self.dense.file())
        self.x = np.random.default_rng(1).integers(-128, 128, (60, features), dtype=np.int8)

    def load(self, family: Family, path: Path | None = None) -> Handed:
        order = Load(family=family, inputs=(self.dense.input_spec,), outputs=(self.dense.output_spec,))
        return Handed(order, path or self.path)

    def outputs(self, family: Family) -> npt.NDArray[np.int8]:
        """What the runtime itself gives for `x`, run in this process."""
        interpreter = runtimes.load(family, self.path, 1)
        return np.concatenate([interpreter.run([row[np.newaxis]])[0].astype(np.int8) for row in self.x])

    def self_test(self, family: Family, tamper_steps: int = 0) -> Handed:
        """Golden vectors of the family's own outputs, of which one value is moved by `tamper_steps`."""
        outputs = self.outputs(family)[:8].copy()
        outputs[3, 1] += -tamper_steps if outputs[3, 1] > 0 else tamper_steps
        vectors = tuple(
            GoldenVector(inputs=(x.tobytes(),), outputs={family: (y.tobytes(),)})
            for x, y in zip(self.x, outputs, strict=False)
        )
        path = self.directory / f"{family}-{tamper_steps}.golden"
        path.write_bytes(encode_golden(GoldenSet(vectors=vectors)))
        limits = Tolerance(family=family, max_abs=1, min_cosine=0.999, min_top1_share=1)
        return Handed(SelfTest(tolerance=limits), path)

    def ask(self, client: Client, count: int, labels: npt.NDArray[np.int64]) -> None:
        """`count` inferences, over and over `x`, so labelled."""
        for index in range(count):
            client.infer(self.x[index % len(self.x)], label=int(labels[index % len(labels)]))
