"""A board that has run out of file descriptors, or a process that talks without end: the supervisor outlives both."""

import queue
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.hostile_server import endless, misbehaving
from wherry.agent.adapters import feeder_process, worker_process
from wherry.agent.adapters.feeder_process import FeederEnded, FeederProcess, FeederSaid
from wherry.agent.adapters.http_upload import HttpUpload, HttpUploaded
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess, WorkerSaid
from wherry.agent.config import FeedConfig
from wherry.agent.feeder.messages import Job, Pulse
from wherry.agent.worker.channel import encode
from wherry.agent.worker.messages import Stopped

pytestmark = pytest.mark.slow

SCARCE = """
import os, queue, resource, sys
from wherry.agent.adapters import priority
from wherry.agent.adapters.feeder_process import FeederEnded, FeederProcess
from wherry.agent.adapters.worker_process import WorkerEnded, WorkerProcess
from wherry.agent.config import FeedConfig
from wherry.agent.feeder.messages import Job

job = Job(slot="main", sockets="/nowhere", feed=FeedConfig(directory="/nowhere"))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
priority._can_raise()
for left in range(12):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(left):
        os.close(held.pop())
    events = queue.SimpleQueue()
    workers = [WorkerProcess.start("main", "candidate", events.put), FeederProcess.start(job, events.put)]
    workers[0].kill()
    workers[1].kill("over")
    ended = []
    while len(ended) < 2:
        event = events.get(timeout=20)
        if isinstance(event, (WorkerEnded, FeederEnded)):
            ended.append(event)
    for file in held:
        os.close(file)
    print(left, sum("could not be started" in event.detail for event in ended), flush=True)
"""


def test_a_process_that_there_is_no_descriptor_for_has_ended_and_nothing_else_has(tried: Tried) -> None:
    run = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    told = [line.split() for line in run.stdout.splitlines()]
    assert [int(left) for left, _ in told] == list(range(12))
    assert int(told[0][1]) == 2, "with none left neither can be started"
    assert int(told[-1][1]) == 0, "the negative control: with some left both are"
    tried(f"{len(told)} numbers of descriptors left, 2 processes each")


TALKS = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[-1]))
word = bytes.fromhex("{word}")
try:
    while True:
        sock.sendall(word * 100)
except OSError:
    pass
"""


def _talking(word: bytes) -> list[str]:
    return [sys.executable, "-c", TALKS.format(word=word.hex())]


def test_a_worker_that_talks_without_end_is_killed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    word = encode(Stopped())
    monkeypatch.setattr(worker_process, "command", lambda fd: [*_talking(word), str(fd)])
    events: queue.SimpleQueue[WorkerSaid | WorkerEnded] = queue.SimpleQueue()
    worker = WorkerProcess.start("main", "serving", events.put)
    said = 0
    while isinstance(event := events.get(timeout=20), WorkerSaid):
        said += 1
    worker.close()
    assert "killed because of what it said: more than" in event.detail
    assert said <= 2 * worker_process.MAX_ANSWERS_PER_S


def test_a_feeder_that_talks_without_end_is_killed_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        feeder_process, "command", lambda fd: [*_talking(msgspec.json.encode(Pulse()) + b"\n"), str(fd)]
    )
    events: queue.SimpleQueue[FeederSaid | FeederEnded] = queue.SimpleQueue()
    job = Job(slot="main", sockets=str(tmp_path), feed=FeedConfig(directory="/nowhere"))
    feeder = FeederProcess.start(job, events.put)
    said = 0
    while isinstance(event := events.get(timeout=20), FeederSaid):
        said += 1
    feeder.close()
    assert "killed because of what it said: more than" in event.detail
    assert said <= 2 * feeder_process.MAX_PULSES_PER_S


def test_what_a_server_says_without_end_to_an_upload_is_not_read() -> None:
    events: queue.SimpleQueue[HttpUploaded] = queue.SimpleQueue()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with misbehaving(endless, b"x" * 4096) as url:
        HttpUpload(events.put).put(f"{url}/logs", "a-1", b"data", "0" * 64)
        assert events.get(timeout=20).problem in ("", f"{url}/logs: HTTP status 206")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KiB"
