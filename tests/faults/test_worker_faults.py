"""Hostile models, killed and stuck workers, garbage on the channel, and a supervisor that dies."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.live_worker import DEADLINE_S, FAMILIES, LiveWorker, TinyCase
from wherry.agent.adapters import worker_process
from wherry.agent.adapters.probe import probe_runtimes
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.client import Client
from wherry.agent.worker.messages import Identity, Load, Loaded, Refused, Serve, Serving, Stop, Stopped, Window
from wherry.protocol.runtime import Family

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
both = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def tiny(tmp_path: Path) -> TinyCase:
    return TinyCase(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated early": lambda data: data[:20],
    "truncated in half": lambda data: data[: len(data) // 2],
    "garbage": lambda data: random.Random(1).randbytes(len(data)),
    "garbage with the right magic": lambda data: data[:8] + random.Random(2).randbytes(len(data) - 8),
    "text": lambda data: b"<html>404</html>" * 10,
}


@both
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_refused_or_kills_only_its_worker(tiny: TinyCase, family: Family, damage: str) -> None:
    path = tiny.directory / "damaged.tflite"
    path.write_bytes(DAMAGE[damage](tiny.path.read_bytes()))
    with LiveWorker() as worker:
        worker.send(tiny.load(family, path))
        event = worker.events.get(timeout=DEADLINE_S)
        if isinstance(event, WorkerSaid):
            assert isinstance(event.answer, Refused), event.answer
            assert event.answer.reason
            assert worker.ended().exit_code == 1
        else:
            assert event.exit_code < 0


def test_runtimes_are_found_where_no_temporary_file_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board with a full disk, started again, has no directory to make one in."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(FileNotFoundError):
        tempfile.mkdtemp()
    assert [runtime.family for runtime in probe_runtimes("auto")] == [*FAMILIES]


@both
def test_a_model_without_its_last_bytes_gets_an_answer_or_ends(tiny: TinyCase, family: Family) -> None:
    # tflite-runtime does not check the file and may well load it; only the digest tells, before any of this.
    path = tiny.directory / "damaged.tflite"
    path.write_bytes(tiny.path.read_bytes()[:-7])
    with LiveWorker() as worker:
        worker.send(tiny.load(family, path))
        event = worker.events.get(timeout=DEADLINE_S)
        assert isinstance(event, WorkerEnded) or isinstance(event.answer, Loaded | Refused)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_worker_is_told_with_its_signal(tiny: TinyCase, number: signal.Signals) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        os.kill(worker.process.pid, number)
        end = worker.ended()
        assert end.exit_code == -number
        assert end.detail == f"killed by signal {int(number)} ({number.name})"
        worker.send(Stop())
        worker.process.kill()


def test_ctrl_c_does_not_end_a_worker(tiny: TinyCase) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        os.kill(worker.process.pid, signal.SIGINT)
        worker.send(Stop())
        worker.said(Stopped)
        assert worker.ended().exit_code == 0


def test_a_stopped_process_is_closed_by_force(tiny: TinyCase) -> None:
    with LiveWorker() as worker:
        worker.send(tiny.load("litert"))
        worker.said(Loaded)
        os.kill(worker.process.pid, signal.SIGSTOP)
        worker.process.close(grace_s=0.1)
        assert worker.ended().exit_code == -signal.SIGKILL


def test_a_worker_that_reads_no_orders_is_killed_and_never_waited_for(tiny: TinyCase) -> None:
    order = Load(family="litert", inputs=(), outputs=(), identity=Identity(model="x" * 60_000), files=0)
    with LiveWorker() as worker:
        os.kill(worker.process.pid, signal.SIGSTOP)
        for _ in range(20):
            worker.send(order)
        end = worker.ended()
        assert end.exit_code == -signal.SIGKILL
        assert "does not read its orders" in end.detail


@pytest.mark.parametrize(
    "stray", [b"\x00\x00\x00\x04junk", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"GET / HTTP/1.1\r\n"]
)
def test_garbage_from_a_worker_ends_the_worker_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stray: bytes
) -> None:
    impostor = f"import socket, time; socket.socket(fileno=FD).sendall({stray!r}); time.sleep(600)"
    run_instead(monkeypatch, impostor)
    with LiveWorker() as worker:
        end = worker.ended()
        assert end.exit_code == -signal.SIGKILL
        assert "killed because of what it said" in end.detail


def test_a_worker_that_leaves_the_channel_but_stays_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "GRACE_S", 0.2)
    run_instead(monkeypatch, "import os, time; os.close(FD); time.sleep(600)")
    with LiveWorker() as worker:
        end = worker.ended()
        assert end.exit_code == -signal.SIGKILL
        assert "left the channel" in end.detail


def test_floods_on_standard_error_are_drained_and_only_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import sys; sys.stderr.write('noise\\n' * 10**6 + 'arena overflow\\n'); sys.exit(3)")
    with LiveWorker() as worker:
        end = worker.ended()
        assert (end.exit_code, end.detail) == (3, "exited with status 3: arena overflow")


def test_a_worker_that_cannot_be_started_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with LiveWorker() as worker:
        end = worker.ended()
        assert end.exit_code == 127
        assert "could not be started" in end.detail
        assert worker.process.pid == 0
        worker.send(Stop())


def test_a_worker_whose_thread_cannot_be_started_has_ended() -> None:
    usual = threading.stack_size(1 << 46)
    try:
        worker = LiveWorker()
    finally:
        threading.stack_size(usual)
    with worker:
        assert worker.ended().detail == "could not be started: can't start new thread"
        assert worker.process.pid == 0
        worker.send(Stop())


def run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let workers run `program`, in which FD is the number of their channel."""
    honest = worker_process.command
    monkeypatch.setattr(worker_process, "command", lambda fd: [*honest(fd)[:1], "-c", program.replace("FD", str(fd))])


def test_garbage_from_the_supervisor_ends_the_worker() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = worker_process.command(theirs.fileno())
        with subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE) as worker:
            ours.sendall(b"\x00\x00\x00\x04junk")
            _, stderr = worker.communicate(timeout=DEADLINE_S)
    assert worker.returncode == 1
    assert stderr.decode().startswith("wherry.agent.worker: not a message")


def test_a_slow_consumer_loses_no_inference_and_stops_no_worker(tiny: TinyCase) -> None:
    asked = 5000
    gate = threading.Event()
    windows: list[Window] = []
    serving, ended = threading.Event(), threading.Event()

    def slow(event: WorkerSaid | WorkerEnded) -> None:
        if isinstance(event, WorkerEnded):
            ended.set()
        elif isinstance(event.answer, Serving):
            serving.set()
        elif isinstance(event.answer, Window):
            gate.wait(DEADLINE_S)
            windows.append(event.answer)

    worker = WorkerProcess.start("main", "incumbent", slow)
    try:
        order, path = tiny.load("litert")
        with path.open("rb") as file:
            worker.send(order, [file.fileno()])
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tiny.directory / "main.fast.sock"))
            listener.listen()
            worker.send(Serve(window_s=0.0005, listeners=("fast",), files=1), [listener.fileno()])
        assert serving.wait(DEADLINE_S)
        with Client(directory=tiny.directory) as client:
            tiny.ask(client, asked, np.zeros(60, np.int64))
        gate.set()
        worker.send(Stop())
        assert ended.wait(DEADLINE_S)
    finally:
        worker.close()
    assert sum(window.labelled for window in windows) == sum(window.inferences for window in windows) == asked
    assert max(window.window_s for window in windows) > 0.05, "some windows must have waited for their reader"


SUPERVISOR = """
import os, pathlib, sys, threading
from tests.support.sandboxes import USUAL
from wherry.agent.adapters import probe_model
from wherry.agent.adapters.worker_process import WorkerProcess
from wherry.agent.worker.messages import Load, SelfTest
from wherry.protocol.manifest import Tolerance

directory, state = pathlib.Path(sys.argv[1]), sys.argv[2]
sandbox = USUAL if "sandbox" in state else None
path = directory / "probe.tflite"
path.write_bytes(probe_model.FILE)
loaded = threading.Event()
worker = WorkerProcess.start("main", "incumbent", lambda event: loaded.set())
with path.open("rb") as file:
    load = Load(family="litert", inputs=(probe_model.INPUT,), outputs=(probe_model.OUTPUT,), sandbox=sandbox)
    worker.send(load, [file.fileno()])
loaded.wait()
if "stuck" in state:
    limits = Tolerance(family="litert", max_abs=0, min_cosine=1)
    pipe = os.open(directory / "pipe", os.O_RDWR)  # who reads it waits for ever, and never sees the end of the channel
    worker.send(SelfTest(tolerance=limits), [pipe])
print(worker.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("state", ["waiting", "stuck", "waiting in a sandbox", "stuck in a sandbox"])
def test_a_worker_dies_with_its_supervisor(tmp_path: Path, state: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert not is_gone(pid)
        supervisor.kill()
        supervisor.wait()
    wait_until(lambda: is_gone(pid))
