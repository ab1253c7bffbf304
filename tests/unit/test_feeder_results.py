"""Where answers go: what a line says, and that no sink holds up the feed."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.fast_server import engine, listener, serve
from tests.support.loop_disk import NoLoopDisk
from tests.support.small_disk import small_disk
from tests.support.wait import wait_until
from wherry.agent.client import Answer, Client
from wherry.agent.client.frames import Hello
from wherry.agent.feeder import callback
from wherry.agent.feeder.callback import Callback
from wherry.agent.feeder.log_file import LogFile
from wherry.agent.feeder.results import line, line_of_failure
from wherry.agent.feeder.samples import Sample
from wherry.agent.worker.messages import Identity
from wherry.protocol.manifest import TensorSpec

ORIGIN: dict[str, str | int] = {"file": "a.npz", "index": 3}


def sample(label: int | None = None) -> Sample:
    return Sample([np.array([[1, 9, 3, 4]], np.int8)], label, ORIGIN)


def answered(directory: Path) -> Answer:
    with listener(directory) as sock:
        server = serve(sock, engine())
        with Client(directory=directory) as client:
            answer = client.infer(sample().inputs[0])
        server.drain()
    return answer


def test_a_line_has_the_best_classes_who_answered_and_where_from(tmp_path: Path) -> None:
    said = json.loads(line(sample(2), answered(tmp_path), 1_700_000_000.12345))
    assert said.pop("latency_ms") >= 0
    assert said == {
        "time": 1_700_000_000.123,
        "model": "trees",
        "version": 1,
        "top": [
            {"label": "beech", "index": 1, "score": 1.5},
            {"label": "dogwood", "index": 3, "score": 0.25},
            {"label": "cedar", "index": 2, "score": 0.0},
        ],
        "label": 2,
        "source": {"file": "a.npz", "index": 3},
    }


def test_small_outputs_are_told_and_large_ones_by_their_shape() -> None:
    specs = (
        TensorSpec(name="box", shape=(1, 2, 2), dtype="float32"),
        TensorSpec(name="mask", shape=(1, 20, 20), dtype="float32"),
    )
    stored = [np.array([[[0.1, 0.2], [np.nan, 4]]], np.float32), np.zeros((1, 20, 20), np.float32)]
    answer = Answer(Hello(identity=Identity(model="m", version=2), outputs=specs), stored, 0.5)
    said = json.loads(line(sample(), answer, 1.0))
    assert said["outputs"] == {"box": [[[0.1, 0.2], [None, 4.0]]], "mask": {"shape": [1, 20, 20]}}


def test_a_failure_has_a_line_too() -> None:
    said = json.loads(line_of_failure(sample(), "node 7 failed", 1.0))
    assert said == {"time": 1.0, "error": "node 7 failed", "source": ORIGIN}


def test_a_log_is_begun_anew_at_its_limit_and_the_one_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    log = LogFile(path, 100)
    for number in range(100):
        assert log.put(f"{number:09d}".encode())
    lines = [*(tmp_path / "results.jsonl.1").read_text().split(), *path.read_text().split()]
    assert lines == [f"{number:09d}" for number in range(100 - len(lines), 100)]
    assert len(lines) > 10
    assert {entry.name for entry in tmp_path.iterdir()} == {"results.jsonl", "results.jsonl.1"}
    assert all(entry.stat().st_size <= 100 for entry in tmp_path.iterdir())


def test_a_line_longer_than_the_limit_is_a_file_of_its_own(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", 10)
    assert log.put(b"x" * 50)
    assert log.put(b"y" * 50)
    assert (tmp_path / "log").read_bytes() == b"y" * 50 + b"\n"


def test_a_log_that_cannot_be_written_is_told_and_goes_on_when_it_can(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "later" / "log", 1000)
    assert not log.put(b"lost")
    assert "later/log: No such file" in log.trouble
    (tmp_path / "later").mkdir()
    assert log.put(b"kept")
    assert (log.trouble, (tmp_path / "later" / "log").read_text()) == ("", "kept\n")


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    log = LogFile(Path("/dev/full"), 1000)
    assert not log.put(b"lost")
    assert "No space left" in log.trouble


def test_a_line_that_found_room_for_its_half_is_taken_back_and_told(tmp_path: Path) -> None:
    """A disk that fills up takes what there is room for, without an error."""
    try:
        with small_disk(tmp_path, "tmpfs") as disk:
            path, lines = disk.path / "log", [f"{number:0999d}".encode() for number in range(100)]
            log = LogFile(path, 10**9)
            kept = [lines[0]] if log.put(lines[0]) else []
            disk.fill(leave_bytes=12_000)
            kept += [one for one in lines[1:50] if log.put(one)]
            assert "No space left" in log.trouble
            assert 0 < len(kept) < 50
            assert path.read_bytes().splitlines() == kept
            disk.relieve()
            kept += [one for one in lines[50:] if log.put(one)]
            assert path.read_bytes() == b"".join(one + b"\n" for one in kept)
            assert kept[-50:] == lines[50:]
    except NoLoopDisk as error:
        pytest.skip(str(error))


Start = Callable[[Sequence[str]], Callback]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(callback, "RETRY_BASE_S", 0.02)
    monkeypatch.setattr(callback, "RETRY_LIMIT_S", 0.1)
    monkeypatch.setattr(callback, "LEAVE_S", 5.0)
    found: list[Callback] = []

    def start(command: Sequence[str]) -> Callback:
        found.append(Callback(command))
        return found[-1]

    yield start
    for one in found:
        one.close()


def copying(path: Path) -> list[str]:
    return ["/bin/sh", "-c", f"exec cat >> {path}"]


def test_a_process_gets_a_line_for_each_answer_and_ends_with_the_feed(tmp_path: Path, started: Start) -> None:
    sink = started(copying(tmp_path / "out"))
    for number in range(1000):
        sink.put(str(number).encode())
        if number % 100 == 99:
            wait_until(lambda: not sink._lines, "they are taken")
    pid = wait_until(lambda: sink.pid, "it runs")
    sink.close()
    assert (tmp_path / "out").read_text().split() == [str(number) for number in range(1000)]
    assert not psutil.pid_exists(pid)


def test_a_process_that_ends_is_told_and_started_again(tmp_path: Path, started: Start) -> None:
    sink = started(["/bin/sh", "-c", f"head -n 1 >> {tmp_path}/out; exit 7"])

    told: set[str] = set()

    def often() -> bool:
        """Lines go on coming: one that a new process takes ends the trouble with the one before."""
        sink.put(b"line")
        told.add(sink.trouble)
        return sink.started >= 4 and any("exited with status 7" in trouble for trouble in told)

    wait_until(often, "it is started again and again, and it is told how it ended")


def test_a_program_that_is_not_there_is_told_and_tried_again(tmp_path: Path, started: Start) -> None:
    program = tmp_path / "program"
    sink = started([str(program)])
    sink.put(b"line")
    wait_until(lambda: "cannot be started: No such file" in sink.trouble, "it is told")
    program.write_text(f"#!/bin/sh\nexec cat >> {tmp_path}/out\n")
    program.chmod(0o755)
    wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "line\n", "the line arrives")


def test_a_process_that_does_not_read_costs_its_oldest_lines_and_no_time(started: Start) -> None:
    sink = started([sys.executable, "-c", "import time; time.sleep(600)"])
    wide = b"x" * 4096
    for _ in range(1000):
        assert sink.put(wide), "it never waits, and never refuses"
    assert sink.take_dropped() >= 1000 - callback.WAITING_BYTES // len(wide) - 100
    pid = wait_until(lambda: sink.pid, "it runs")
    callback.LEAVE_S = 0.2  # put back by the fixture's monkeypatch
    sink.close()
    assert not psutil.pid_exists(pid)


def test_lines_are_whole_but_for_the_one_that_a_kill_cut_off(tmp_path: Path, started: Start) -> None:
    sink = started(copying(tmp_path / "out"))

    def put_until(count: int) -> bool:
        sink.put(json.dumps({"number": count, "pad": "x" * 500}).encode())
        return sink.started >= count

    for count in range(1, 6):
        wait_until(lambda: put_until(count), "one runs")  # noqa: B023 - called in this turn only
        pid = wait_until(lambda: sink.pid, "it has a number")
        os.kill(pid, signal.SIGKILL)
    sink.close()
    lines = (tmp_path / "out").read_text().splitlines()
    broken = [text for text in lines if not (text.startswith('{"number"') and text.endswith('"}'))]
    assert len(broken) <= 5
