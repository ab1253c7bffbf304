"""Feeders of real agents: killed, stopped, talking nonsense; workers killed under them; and an agent that dies.

One agent that has committed its version is there for all tests that need no new one. What they look at is what came
after they began.
"""

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import Tried
from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import running
from tests.support.children import feeders, workers
from tests.support.live_feeder import LiveFeeder, lines
from tests.support.shore import Shore
from tests.support.soak import scaled
from tests.support.wait import wait_until
from wherry.agent.adapters import feeder_process
from wherry.agent.config import FeedConfig
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Event

pytestmark = pytest.mark.slow

KILLS = scaled(2, soak=200)
WORKER_KILLS = scaled(3, soak=100)
SILENCE_S = 3.0
SAMPLES = 20
V1 = dense_versions.make(1)


class Sea:
    """A broker, an agent with a feed that writes its results down, and the shore."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.results = directory, directory / "results.jsonl"
        dense_versions.write_feed(directory / "feed", 1, SAMPLES)
        self.shore = Shore(port)
        self.agent = AgentProcess(directory, port, runtime="litert")

        self._usual = self.agent.config.read_text()

    def serve(self) -> None:
        self.shore.publish(V1)
        self.shore.want(1, V1)
        outcome = self.shore.await_outcome(1).outcome
        assert outcome is not None
        assert outcome.result == "committed", outcome.reason

    def serve_on(self) -> None:
        """With the configuration that it had at first, whatever became of the agent."""
        if self.agent.process.poll() is not None:
            self.agent.config.write_text(self._usual)
            self.agent.start_again()
        self.await_more()

    def crashes(self) -> int:
        return sum(event.kind == "worker-crashed" for event in self.shore.all(Event))

    def feeder(self) -> psutil.Process:
        return wait_until(lambda: feeders(self.agent.process.pid), "it has a feeder")[0]

    def await_more(self) -> None:
        count = len(lines(self.results))
        wait_until(lambda: len(lines(self.results)) > count, "the feed goes on")

    def close(self) -> None:
        if self.agent.process.poll() is None:
            self.agent.kill()
        self.shore.close()


@contextmanager
def opened(directory: Path) -> Iterator[Sea]:
    with pytest.MonkeyPatch.context() as patch, running("mosquitto", directory) as port:
        patch.setenv("WHERRY_AGENT_SLOTS__MAIN__RESULTS__LOG", str(directory / "results.jsonl"))
        patch.setenv("WHERRY_AGENT_WORKER_SILENCE_LIMIT_S", str(SILENCE_S))
        sea = Sea(directory, port)
        try:
            yield sea
        finally:
            sea.close()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sea]:
    """Its agent has committed a version, and may be dead."""
    with opened(tmp_path_factory.mktemp("sea")) as sea:
        sea.serve()
        yield sea


@pytest.fixture
def sea(known: Sea) -> Sea:
    """Its agent serves."""
    known.serve_on()
    return known


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_killed_and_stopped_feeders_are_replaced_and_no_worker_minds(sea: Sea, tried: Tried) -> None:
    worker, crashes, logged = workers(sea.agent.process.pid), sea.crashes(), len(sea.agent.log.read_text())
    for number, kind in zip(range(KILLS), itertools.cycle((signal.SIGKILL, signal.SIGSTOP)), strict=False):
        sea.await_more()
        feeder = sea.feeder()
        feeder.send_signal(kind)
        wait_until(lambda: is_gone(feeder) and feeders(sea.agent.process.pid), f"replaced after {kind.name}")  # noqa: B023
        assert workers(sea.agent.process.pid) == worker, number
    sea.await_more()
    assert sea.crashes() == crashes
    log = sea.agent.log.read_text()[logged:]
    assert "killed because it said nothing" in log
    assert "SIGKILL" in log
    tried(f"{KILLS} feeders killed or stopped")


def test_a_feeder_and_its_callback_end_with_an_agent_that_is_killed(sea: Sea) -> None:
    feeder = sea.feeder()
    sea.agent.kill()
    wait_until(lambda: is_gone(feeder), "it is gone")
    sea.agent.config.write_text(sea.agent.config.read_text() + '[slots.main.results]\ncommand = ["cat"]\n')
    sea.agent.start_again()
    feeder = sea.feeder()
    (callback,) = wait_until(feeder.children, "it has a callback")
    sea.agent.kill()
    wait_until(lambda: is_gone(feeder) and is_gone(callback), "both are gone")


def test_a_feed_keeps_its_place_over_killed_workers(sea: Sea, tried: Tried) -> None:
    before = len(lines(sea.results))
    for _ in range(WORKER_KILLS):
        sea.await_more()
        (worker,) = wait_until(lambda: workers(sea.agent.process.pid), "a worker")
        worker.send_signal(signal.SIGKILL)
        wait_until(lambda: is_gone(worker), "it is gone")  # noqa: B023
    sea.await_more()
    results = lines(sea.results)[before:]
    indices = [result["source"]["index"] for result in results]
    assert all(after == (before + 1) % SAMPLES for before, after in itertools.pairwise(indices))
    assert not [result for result in results if "error" in result]
    tried(f"{WORKER_KILLS} killed workers under {len(indices)} samples, none lost and none asked twice")


def test_an_agent_that_leaves_takes_its_feeder_along(sea: Sea) -> None:
    feeder, logged = sea.feeder(), len(sea.agent.log.read_text())
    assert sea.agent.stop() == 0
    assert is_gone(feeder)
    assert "feeder ended" not in sea.agent.log.read_text()[logged:]


def test_without_a_limit_on_silence_a_stopped_feeder_stays(known: Sea, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what replaces a feeder that hangs is this limit."""
    if known.agent.process.poll() is None:
        known.agent.kill()
    monkeypatch.setenv("WHERRY_AGENT_WORKER_SILENCE_LIMIT_S", "600")
    known.agent.start_again()
    feeder = known.feeder()
    feeder.send_signal(signal.SIGSTOP)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: is_gone(feeder), "replaced", 1.5 * SILENCE_S)
    known.agent.kill()


def test_what_ails_a_feed_is_logged_once_and_is_the_reason_of_a_version_without_evidence(tmp_path: Path) -> None:
    hasty = dense_versions.make(1, HealthLimits(min_inferences=30, probation_s=1, deadline_s=2))
    with opened(tmp_path) as sea:
        (sea.directory / "feed" / "feed.npz").write_bytes(b"no archive")
        sea.shore.publish(hasty)
        sea.shore.want(1, hasty)
        reason = sea.shore.await_event("reverted").reason
        log = sea.agent.log.read_text()
    assert reason.startswith("0 of 30 inferences within 2 s; feed: ")
    assert "feed.npz: File is not a zip file" in reason or "has no usable .npz file" in reason
    assert log.count("feed.npz: File is not a zip file") - reason.count("feed.npz") <= 1 + log.count("reverted")
    assert '"level": "error"' not in log


@pytest.mark.parametrize("stray", ["junk\\n", "[]\\n", '{"answered": -1}\\n', "x" * 70_000, "\\xff\\n"])
def test_nonsense_from_a_feeder_ends_that_feeder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stray: str
) -> None:
    program = f"import socket, time; socket.socket(fileno=FD).sendall('{stray}'.encode('latin-1')); time.sleep(600)"
    _run_instead(monkeypatch, program)
    with LiveFeeder(tmp_path, FeedConfig(directory=str(tmp_path))) as feeder:
        (end,) = wait_until(lambda: feeder.ended, "it has ended")
    assert "killed because of what it said" in end


def test_a_feeder_that_leaves_its_socket_but_stays_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder_process, "GRACE_S", 0.2)
    path = tmp_path / "pid"
    program = (
        "import os, pathlib, subprocess, time; child = subprocess.Popen(['sleep', '600']);"
        f"pathlib.Path('{path}').write_text(str(child.pid)); os.close(FD); time.sleep(600)"
    )
    _run_instead(monkeypatch, program)
    with LiveFeeder(tmp_path, FeedConfig(directory=str(tmp_path))) as feeder:
        wait_until(lambda: feeder.ended, "it has ended")
    child = int(path.read_text())
    wait_until(lambda: not psutil.pid_exists(child) or is_gone(psutil.Process(child)), "its child is gone")


def test_a_feeder_that_cannot_be_started_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with LiveFeeder(tmp_path, FeedConfig(directory=str(tmp_path))) as feeder:
        (end,) = wait_until(lambda: feeder.ended, "it has ended")
        assert feeder.process.pid == 0
    assert "could not be started" in end


def test_a_camera_without_opencv_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('No module named cv2')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(":"))
    with LiveFeeder(tmp_path, FeedConfig(camera="0")) as feeder:
        (end,) = wait_until(lambda: feeder.ended, "it has ended")
    assert "a camera needs OpenCV (pip install wherry[camera])" in end


def _run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let feeders run `program`, in which FD is the number of their socket."""
    honest = feeder_process.command
    monkeypatch.setattr(feeder_process, "command", lambda fd: [*honest(fd)[:1], "-c", program.replace("FD", str(fd))])
