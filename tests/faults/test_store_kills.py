"""The store killed at every call that changes the disk: what is named by the record is always there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Tried

pytestmark = pytest.mark.slow


def _run(directory: Path, kind: str) -> tuple[list[str], int]:
    command = [sys.executable, "-m", "tests.support.crash_points", str(directory), kind]
    *problems, points = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return problems, int(points)


def test_a_kill_at_any_point_leaves_the_old_or_the_new_version(tmp_path: Path, tried: Tried) -> None:
    problems, points = _run(tmp_path, "two-copies")
    tried(f"{points} kill points")
    assert problems == []
    assert points > 100


def test_a_record_of_one_copy_is_lost_by_a_kill(tmp_path: Path) -> None:
    """The negative control."""
    problems, _ = _run(tmp_path, "one-copy")
    assert [line for line in problems if "generation 0" in line]
