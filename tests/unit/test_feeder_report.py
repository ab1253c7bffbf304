"""The feeder's pulse: what it carries, and that a feed that hangs has none."""

import json
import socket
import subprocess
import sys

import pytest

from wherry.agent.feeder.messages import MAX_REMARKS, Pulse
from wherry.agent.feeder.report import STUCK, Report

STUCK_FEED = """
import socket, sys, threading
from wherry.agent.feeder import report
report.STUCK_S = float(sys.argv[2])
said = report.Report(socket.socket(fileno=int(sys.argv[1])), pulse_s=0.05)
said.start()
with said.doing("taking a sample"):
    threading.Event().wait(1.0)
"""


def pulses(sock: socket.socket) -> list[Pulse]:
    return [Pulse(**json.loads(line)) for line in sock.recv(1 << 16).splitlines()]


def test_a_pulse_has_what_happened_since_the_one_before_and_each_remark_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        report = Report(theirs)
        for _ in range(3):
            report.answered()
            report.passed_over("b.npz: damaged")
        report.dropped(5, "too fast")
        report.dropped(0, "never said")
        report.last()
        report.last()
        first, second = pulses(ours)
    assert (first.answered, first.passed_over, first.dropped) == (3, 3, 5)
    assert list(first.remarks) == ["b.npz: damaged", "too fast"]
    assert second == Pulse()


def test_remarks_are_bounded_in_number_and_length() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        report = Report(theirs)
        for number in range(100):
            report.remark(f"{number} \udce9" + "x" * 10_000)
        report.last()
        (pulse,) = pulses(ours)
    assert len(pulse.remarks) == MAX_REMARKS
    assert max(map(len, pulse.remarks)) <= 500


@pytest.mark.parametrize(("stuck_s", "status"), [(0.2, STUCK), (600.0, 0)])
def test_a_feed_that_is_stuck_ends_its_process_and_says_in_what(stuck_s: float, status: int) -> None:
    """The second row is the negative control: without the limit it stays until it is done."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", STUCK_FEED, str(theirs.fileno()), str(stuck_s)]
        ended = subprocess.run(command, pass_fds=(theirs.fileno(),), capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stderr
    assert ("stuck for 0.2 s: taking a sample" in ended.stderr) == (status == STUCK)


def test_a_feeder_whose_supervisor_is_gone_ends() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        command = [sys.executable, "-c", STUCK_FEED, str(theirs.fileno()), "600"]
        ended = subprocess.run(
            command, pass_fds=(theirs.fileno(),), capture_output=True, text=True, check=False, timeout=20
        )
    assert (ended.returncode, ended.stderr) == (0, "")
