"""One-shot orders are carried out at most once, whenever the agent is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support import order_kill
from tests.support.order_kill import ORDER_ID
from tests.support.rig import Rig

KINDS = ("collect-logs", "self-test", "restart-slot", "forget-quarantine")
POINTS = ("before-save", "after-save", "after-effect")

pytestmark = pytest.mark.slow


def kill_at(directory: Path, kind: str, point: str, *options: str) -> None:
    command = [sys.executable, "-m", "tests.support.order_kill", str(directory), kind, point, *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def answers_after(directory: Path, kind: str) -> tuple[int, Rig]:
    """How often an agent that starts on what is left answers the order, which comes twice more."""
    rig = Rig(directory).boot()
    before = len(rig.yard.workers)
    for _ in range(2):
        order_kill.send(rig, kind)
    rig.wait(2)
    answered = [event for kind in ("action-done", "action-refused") for event in rig.events(kind)]
    assert all(event.action_id == ORDER_ID for event in answered)
    if not answered:
        assert len(rig.yard.workers) == before, "no worker was started or started again for it"
    return len(answered), rig


def test_a_killed_agent_does_not_carry_an_order_out_again(tmp_path: Path, tried: Tried) -> None:
    for kind in KINDS:
        for point in POINTS:
            directory = tmp_path / f"{kind} {point}"
            kill_at(directory, kind, point)
            count, rig = answers_after(directory, kind)
            assert count == (1 if point == "before-save" else 0), (kind, point)
            if (kind, point) == ("forget-quarantine", "after-save"):
                assert rig.slot.quarantine, "cut short, and not done"
            rig.cut()
    tried(f"{len(KINDS) * len(POINTS)} kills: {len(KINDS)} kinds of order at {len(POINTS)} points")


def test_an_agent_that_saves_the_id_too_late_would_do_it_again(tmp_path: Path) -> None:
    """The negative control."""
    kill_at(tmp_path / "state", "restart-slot", "after-effect", "--forgetful")
    count, _ = answers_after(tmp_path / "state", "restart-slot")
    assert count == 1
