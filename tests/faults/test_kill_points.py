"""An agent killed at every system call of an update, as the kernel sees them, and in the middle of every write."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.kill_points import Point
from tests.support.update_voyage import COURSES, Course

pytestmark = pytest.mark.slow

PERSISTED: dict[Course, set[str]] = {
    "good": {"empty", "preflight", "download", "verify", "self-test", "switch", "probation", "running"},
    "bad": {"running", "rolling-back"},
    "sinking": {"running", "safe-mode", "preflight", "download", "verify", "self-test", "switch", "probation"},
}
"""The states that must be on disk at some kill of each course."""

CALLS = {"open", "write", "pwrite64", "ftruncate", "fsync", "rename", "unlink", "sendto"}

PROTECTIONS = {
    "one-copy": ("state.", "although"),
    "events-in-memory": ("socket", "events were kept and never went up"),
    "blobs-in-place": ("blobs/", "ends with digits:1"),
}
"""The negative controls: at calls on which paths a careless store is killed, and what must be found then."""


def _killed(base: Path, *arguments: str) -> list[Point]:
    command = [sys.executable, "-m", "tests.support.kill_points", str(base), *arguments]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return msgspec.json.decode(found, type=list[Point])


@pytest.mark.parametrize("course", COURSES)
def test_a_kill_at_any_system_call_leaves_a_version_that_serves_and_an_agent_that_converges(
    base: Path, course: Course, tried: Tried
) -> None:
    points = _killed(base, course)
    states = Counter(point.state for point in points)
    tried(f"{len(points)} kill points ({', '.join(f'{count} in {state}' for state, count in sorted(states.items()))})")
    assert [point for point in points if point.problem] == []
    assert states.keys() >= PERSISTED[course]
    assert {point.call.name.removesuffix("at") for point in points} >= CALLS
    assert {point.call.name for point in points if point.how == "tear"} == {"write", "pwrite64"}


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_careless_store_is_found_out(base: Path, protection: str, tried: Tried) -> None:
    """The negative control."""
    about, complaint = PROTECTIONS[protection]
    points = _killed(base, "good", protection, about)
    found = [point.problem for point in points if point.problem and complaint in point.problem]
    tried(f"{len(found)} of {len(points)} kill points found it out")
    assert found
