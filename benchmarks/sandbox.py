"""What the sandbox costs: the time of an inference and of a worker's start, inside of it and outside.

What is measured, and why it is fair:
- Both are the real worker with the same file and one thread; only the order to be confined differs.
- A worker times its golden vector itself, at least a hundred runs or for a second, and says the median.
- Inside and outside take turns, each in a new worker, so that what else the machine does meets both; of several
  medians the least is taken, for noise only adds.
"""

import queue
import re
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.form import Failed, Result, Row, main, progress, versions
from tests.support import hostile_models
from tests.support.hostile_models import PICTURE, SCORES
from tests.support.sandboxes import USUAL
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.worker.messages import Answer, Load, Loaded, Sandbox, SelfTest, SelfTested, Serve, Serving
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Tolerance
from wherry.protocol.runtime import Family

FAMILIES: tuple[Family, ...] = ("litert", "tflite-runtime")
LIMIT_S = 60.0
_MEDIAN = re.compile(r"p50 ([0-9.e+-]+) ms")
_Event = WorkerSaid | WorkerEnded
A = TypeVar("A", bound=Answer)


class Timed(NamedTuple):
    """`start_ms` is from asking for a process until it serves, without the self-test."""

    start_ms: float
    run_ms: float


class Pair(NamedTuple):
    inside: list[Timed]
    outside: list[Timed]

    @property
    def run_ms(self) -> tuple[float, float]:
        """The least medians, inside and outside."""
        return min(timed.run_ms for timed in self.inside), min(timed.run_ms for timed in self.outside)

    @property
    def start_ms(self) -> tuple[float, float]:
        """The medians, inside and outside."""
        inside, outside = ([timed.start_ms for timed in side] for side in self)
        return statistics.median(inside), statistics.median(outside)


def measure(pairs: int) -> Result:
    """So many pairs of workers for each runtime."""
    rows: list[Row] = []
    headline: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        for family in FAMILIES:
            pair = take_turns(Path(directory), family, pairs)
            name = family.replace("-", "_")
            headline[f"sandbox_speed_ratio_{name}"] = pair.run_ms[1] / pair.run_ms[0]
            headline[f"sandbox_start_added_ms_{name}"] = pair.start_ms[0] - pair.start_ms[1]
            rows.append(_row(f"an inference with {family}, least median", pair.run_ms, pairs))
            rows.append(_row(f"a worker with {family} until it serves, median", pair.start_ms, pairs))
    return Result(
        headline=headline,
        n={"sandbox_pairs": pairs},
        rows=tuple(rows),
        versions=versions("ai-edge-litert", "tflite-runtime"),
    )


def take_turns(directory: Path, family: Family, pairs: int) -> Pair:
    progress(f"{pairs} pairs of workers with {family}, inside and outside of the sandbox")
    path, golden = directory / "measured.tflite", directory / f"{family}.golden"
    path.write_bytes(hostile_models.picture_network())
    path.chmod(0o644)
    vector = GoldenVector(inputs=(bytes(_size(PICTURE.shape)),), outputs={family: (bytes(_size(SCORES.shape)),)})
    golden.write_bytes(encode_golden(GoldenSet(vectors=(vector,))))
    pair = Pair([], [])
    for _ in range(pairs):
        pair.inside.append(_timed(path, golden, family, USUAL))
        pair.outside.append(_timed(path, golden, family, None))
    return pair


def _size(shape: tuple[int, ...]) -> int:
    count = 4  # bytes of a float
    for length in shape:
        count *= length
    return count


def _timed(path: Path, golden: Path, family: Family, sandbox: Sandbox | None) -> Timed:
    heard: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    started_s = time.perf_counter()
    worker = WorkerProcess.start("main", "measured", heard.put)
    try:
        _ask(worker, Load(family=family, inputs=(PICTURE,), outputs=(SCORES,), sandbox=sandbox), path)
        _hear(heard, Loaded)
        loaded_s = time.perf_counter()
        _ask(worker, SelfTest(tolerance=Tolerance(family=family, max_abs=1e9, min_cosine=-1)), golden)
        told = _hear(heard, SelfTested).reason
        tested_s = time.perf_counter()
        with socket.create_server(("127.0.0.1", 0)) as lent:
            worker.send(Serve(listeners=("http",), files=1), [lent.fileno()])
            _hear(heard, Serving)
        start_ms = (time.perf_counter() - tested_s + loaded_s - started_s) * 1e3
    finally:
        worker.close()
    found = _MEDIAN.search(told)
    if found is None:
        raise Failed(f"a self-test that tells no median: {told}")
    return Timed(start_ms, float(found[1]))


def _ask(worker: WorkerProcess, order: Load | SelfTest, path: Path) -> None:
    with path.open("rb") as file:
        worker.send(order, [file.fileno()])


def _hear(heard: "queue.SimpleQueue[_Event]", kind: type[A]) -> A:
    event = heard.get(timeout=LIMIT_S)
    if not isinstance(event, WorkerSaid) or not isinstance(event.answer, kind):
        raise Failed(f"a worker did not do what was asked: {event}")
    return event.answer


def _row(figure: str, value: tuple[float, float], pairs: int) -> Row:
    inside, outside = value
    return Row(
        figure=figure, value=inside, unit="ms", n=f"{pairs} / {pairs}", bare="without a sandbox", bare_value=outside
    )


if __name__ == "__main__":
    sys.exit(main("benchmarks.sandbox", __doc__.splitlines()[0], lambda quick: measure(3 if quick else 15)))
