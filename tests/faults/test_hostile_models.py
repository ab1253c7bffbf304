"""Real files that eat memory or time, crash or lie: each ends its worker, with a reason, and touches nobody else."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
import pytest

from tests.conftest import Tried
from tests.support import hostile_models
from tests.support.hostile_models import GIB, SPECS
from tests.support.live_worker import DEADLINE_S, FAMILIES, Handed, LiveWorker
from tests.support.sandboxes import USUAL
from tests.support.soak import SOAKING
from tests.support.wait import wait_until
from wherry.agent.adapters import priority
from wherry.agent.adapters.sandbox import MAPPED_BYTES
from wherry.agent.adapters.worker_process import WorkerEnded
from wherry.agent.worker.messages import Load, Loaded, Refused, Sandbox, SelfTest, SelfTested, Stop
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import Tolerance
from wherry.protocol.runtime import Family

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("family", FAMILIES)
any_one = pytest.mark.parametrize("family", FAMILIES if SOAKING else FAMILIES[:1])
"""Where the kernel decides, whatever the runtime is."""

ANSWER = np.array([[1, 2, 3, 4]], np.float32)
"""What the honest model gives for zeros."""


@pytest.fixture(autouse=True)
def as_much_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that serve nobody yet give way, and on a busy machine a loop would take long to use up its second."""
    monkeypatch.setattr(priority, "NICE", 0)


class Case:
    """One model in a directory, its orders, and a golden vector that the honest model meets."""

    def __init__(self, directory: Path, data: bytes, family: Family, sandbox: Sandbox | None, threads: int = 1) -> None:
        path, golden = directory / f"{len(data)}.tflite", directory / "golden"
        path.write_bytes(data)
        vector = GoldenVector(inputs=(bytes(16),), outputs={family: (ANSWER.tobytes(),)})
        golden.write_bytes(encode_golden(GoldenSet(vectors=(vector,))))
        tolerance = Tolerance(family=family, max_abs=0, min_cosine=1)
        load = Load(family=family, inputs=SPECS[:1], outputs=SPECS[1:], threads=threads, sandbox=sandbox)
        self.load = Handed(load, path)
        self.test = Handed(SelfTest(tolerance=tolerance), golden)


class End(NamedTuple):
    """How a worker ended: what it refused in words, or how it died, in the supervisor's words; and what it loaded."""

    exit_code: int
    reason: str
    loaded: bool


def end_of(case: Case) -> End:
    """Load, test, and go on until the end, which must come by itself."""
    with LiveWorker() as worker:
        worker.send(case.load)
        loaded, reason = False, ""
        while True:
            event = worker.events.get(timeout=DEADLINE_S)
            if isinstance(event, WorkerEnded):
                return End(event.exit_code, reason or event.detail, loaded)
            match event.answer:
                case Loaded():
                    loaded = True
                    worker.send(case.test)
                case SelfTested(ok=False, reason=reason):
                    worker.send(Stop())
                case SelfTested():
                    worker.send(case.test)
                case Refused(reason=reason):
                    pass


SMALL = msgspec.structs.replace(USUAL, memory_bytes=GIB + GIB // 4)
SHORT = msgspec.structs.replace(USUAL, cpu_s=1)


class Row(NamedTuple):
    """The file, what its worker may have, and for each runtime the exit code and a part of the reason."""

    make: Callable[[], bytes]
    sandbox: Sandbox
    litert: tuple[int, str]
    tflite_runtime: tuple[int, str]


OUT_OF_TIME = (-signal.SIGXCPU, "it used up its processor time before it served")
CRASHED = (-signal.SIGSEGV, "killed by signal 11 (SIGSEGV)")
REFUSED = (1, "cannot run the model")
FAILED = (1, "a golden vector failed to run")
LYING = (0, "an output is not a finite number")
CASES = {
    "a 10 GB arena": Row(hostile_models.huge_arena, SMALL, REFUSED, REFUSED),
    "an endless loop": Row(hostile_models.endless_loop, SHORT, OUT_OF_TIME, OUT_OF_TIME),
    "an endless recursion": Row(hostile_models.endless_recursion, USUAL, CRASHED, CRASHED),
    "a leak": Row(hostile_models.leak, SMALL, FAILED, CRASHED),
    "not a number": Row(hostile_models.not_a_number, USUAL, LYING, LYING),
}

ANSWERING = ("a leak", "not a number")
"""Those whose first runs go well; the others do not get beyond the warm-up."""


@both
def test_a_hostile_model_ends_its_own_worker_only(tmp_path: Path, family: Family, tried: Tried) -> None:
    told = []
    honest = Case(tmp_path, hostile_models.honest(), family, USUAL)
    with LiveWorker("incumbent") as incumbent:
        incumbent.send(honest.load)
        incumbent.said(Loaded)
        for name, row in CASES.items():
            end = end_of(Case(tmp_path, row.make(), family, row.sandbox))
            exit_code, said = row.litert if family == "litert" else row.tflite_runtime
            assert (end.exit_code, said in end.reason) == (exit_code, True), (name, end)
            assert end.loaded == (name in ANSWERING), (name, end)
            told.append(f"{name}: {end.reason}")
            incumbent.send(honest.test)
            assert incumbent.said(SelfTested).ok
    tried(f"{len(told)} models: " + "; ".join(told))
    assert own_zombies() == []


@any_one
def test_without_a_sandbox_an_arena_is_had_and_a_loop_goes_on(tmp_path: Path, family: Family) -> None:
    """The negative control of both limits, with an arena that the machine of the test has."""
    arena = hostile_models.huge_arena(GIB)
    tight = msgspec.structs.replace(USUAL, memory_bytes=GIB)
    assert not end_of(Case(tmp_path, arena, family, tight)).loaded
    assert end_of(Case(tmp_path, arena, family, None)).loaded
    with LiveWorker() as worker:
        worker.send(Case(tmp_path, hostile_models.endless_loop(), family, None).load)
        used = psutil.Process(worker.process.pid).cpu_times
        wait_until(lambda: used().user > SHORT.cpu_s + 1, "it goes on beyond the limit that the others had")
        assert worker.events.empty()


@both
def test_the_usual_limits_leave_room_for_four_threads(tmp_path: Path, family: Family) -> None:
    """With the least board in mind: half a gigabyte, and what is mapped but never used."""
    sandbox = msgspec.structs.replace(USUAL, memory_bytes=GIB // 2 + MAPPED_BYTES)
    case = Case(tmp_path, hostile_models.honest(), family, sandbox, threads=4)
    with LiveWorker() as worker:
        worker.send(case.load)
        worker.said(Loaded)
        worker.send(case.test)
        assert worker.said(SelfTested).ok
        worker.send(Stop())
        assert worker.ended().exit_code == 0


def test_another_file_by_the_same_name_changes_nothing(tmp_path: Path) -> None:
    """Between the check of the bytes and the loading, and after it: what was opened is what runs."""
    case = Case(tmp_path, hostile_models.honest(), "litert", USUAL)
    other = tmp_path / "other"
    with LiveWorker() as worker, case.load.path.open("rb") as verified:
        other.write_bytes(hostile_models.not_a_number())
        other.rename(case.load.path)
        worker.process.send(case.load.order, [verified.fileno()])
        worker.said(Loaded)
        case.load.path.write_bytes(b"nothing of use")
        worker.send(case.test)
        assert worker.said(SelfTested).ok
    with LiveWorker() as worker:
        worker.send(case.load)
        worker.said(Refused)


def own_zombies() -> list[psutil.Process]:
    children = psutil.Process(os.getpid()).children()
    return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]
