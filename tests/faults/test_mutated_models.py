"""Damaged models by the thousand through the real worker: each is loaded, refused, or a death that is told.

That a digest keeps damaged files out is another matter, and tested elsewhere: these were signed.
"""

import os
import queue
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from tests.conftest import Tried
from tests.support import hostile_models
from tests.support.hostile_models import GIB, SPECS
from tests.support.live_worker import FAMILIES, Handed, LiveWorker
from tests.support.mutate import fields_of, mutated
from tests.support.sandboxes import USUAL
from tests.support.soak import scaled
from tests.support.tiny_model import random_dense
from tests.support.wait import wait_until
from wherry.agent.adapters.worker_process import WorkerEnded
from wherry.agent.worker import runtimes
from wherry.agent.worker.messages import Load, Loaded, Refused, SelfTest, SelfTested, Stop, Stopped
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import TensorSpec, Tolerance
from wherry.protocol.runtime import Family

pytestmark = pytest.mark.slow

MODELS = scaled(100, soak=5000)
AT_ONCE = 4
LIMIT_S = 60.0
"""What a worker has for one model, as `worker.load_limit_s`; the sandbox gives it far less of processor time."""

SANDBOX = msgspec.structs.replace(USUAL, memory_bytes=2 * GIB, cpu_s=3)


class Source:
    """One good model with what its manifest would say: its tensors, and what it gives for zeros."""

    def __init__(
        self, directory: Path, family: Family, name: str, data: bytes, specs: tuple[TensorSpec, TensorSpec]
    ) -> None:
        self.name, self.data, self.fields = name, data, fields_of(data)
        self.family, self.directory, self._specs = family, directory, specs
        path, self.golden = directory / f"{name}.good", directory / f"{name}.golden"
        path.write_bytes(data)
        zeros = np.zeros(specs[0].shape, specs[0].dtype)
        (answer,) = runtimes.load(family, path, 1).run([zeros])
        vector = GoldenVector(inputs=(zeros.tobytes(),), outputs={family: (answer.tobytes(),)})
        self.golden.write_bytes(encode_golden(GoldenSet(vectors=(vector,))))

    def load(self, path: Path) -> Handed:
        inputs, outputs = self._specs[:1], self._specs[1:]
        order = Load(family=self.family, inputs=inputs, outputs=outputs, warm_up=1, sandbox=SANDBOX)
        return Handed(order, path)

    def test(self) -> Handed:
        return Handed(SelfTest(tolerance=Tolerance(family=self.family, max_abs=1, min_cosine=0.99)), self.golden)


def sources(directory: Path, family: Family) -> list[Source]:
    directory.mkdir()
    dense = random_dense(16, 4)
    return [
        Source(directory, family, "network", hostile_models.network(), SPECS),
        Source(directory, family, "loop", hostile_models.countdown(), SPECS),
        Source(directory, family, "dense", dense.file(), (dense.input_spec, dense.output_spec)),
    ]


def outcome(source: Source, data: bytes, number: int) -> str:
    """What a worker made of `data`, in a few words."""
    path = source.directory / f"{number}.tflite"
    path.write_bytes(data)
    with LiveWorker() as worker:
        try:
            return followed(worker, source, path)
        except queue.Empty:
            return "killed at its time limit"
        finally:
            path.unlink()


def followed(worker: LiveWorker, source: Source, path: Path) -> str:
    said = ""
    worker.send(source.load(path))
    while True:
        event = worker.events.get(timeout=LIMIT_S)
        if isinstance(event, WorkerEnded):
            assert event.detail
            assert worker.events.empty()
            if event.exit_code == -signal.SIGKILL:
                return event.detail  # by the supervisor, which says why
            return said if event.exit_code >= 0 else signal.Signals(-event.exit_code).name
        match event.answer:
            case Loaded():
                worker.send(source.test())
            case SelfTested(ok=ok):
                said = "good" if ok else "failed its self-test"
                worker.send(Stop())
            case Refused(reason=reason):
                assert reason
                said = "refused"
            case other:
                assert isinstance(other, Stopped), other


def test_every_damaged_model_is_loaded_or_refused_or_ends_its_own_worker(tmp_path: Path, tried: Tried) -> None:
    found = [source for family in FAMILIES for source in sources(tmp_path / family, family)]
    supervisor = psutil.Process()
    before = (supervisor.num_threads(), supervisor.num_fds())
    others = supervisor.children()  # of tests before this one

    def try_one(number: int) -> tuple[str, str]:
        source = found[number % len(found)]
        what, data = mutated(source.data, source.fields, number)
        return what, outcome(source, data, number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [*pool.map(try_one, range(MODELS))]
    ends = Counter(end for _, end in results)
    deaths = Counter(f"{what} → {end}" for what, end in results if end.startswith(("SIG", "killed")))
    tried(f"{len(results)} damaged models: {dict(ends.most_common())}; what killed: {dict(deaths.most_common(8))}")
    assert "" not in ends, "some worker ended well without having said a word"
    assert ends["good"], "some damages do no harm; where none is good, the harness is what is broken"
    assert ends["refused"] > MODELS / 10
    wait_until(lambda: set(supervisor.children()) <= set(others), "no worker outlives its trial, not even as a zombie")
    # A thread that was joined is still the kernel's for a moment.
    wait_until(lambda: (supervisor.num_threads(), supervisor.num_fds()) == before, "no thread or open file is left")


def test_the_good_models_are_good(tmp_path: Path) -> None:
    for family in FAMILIES:
        for source in sources(tmp_path / family, family):
            assert outcome(source, source.data, 0) == "good", (family, source.name)


def test_who_loads_such_a_model_himself_dies_of_it(tmp_path: Path) -> None:
    """The negative control: a supervisor without workers."""
    path = tmp_path / "deadly.tflite"
    path.write_bytes(hostile_models.endless_recursion())
    for family in FAMILIES:
        program = (
            "import sys, pathlib, numpy; from wherry.agent.worker import runtimes; "
            "runtimes.load(sys.argv[1], pathlib.Path(sys.argv[2]), 1).run([numpy.zeros((1, 4), 'float32')])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program, family, str(path)], capture_output=True, check=False, env=os.environ
        )
        assert ended.returncode == -signal.SIGSEGV
