"""Threads that meet a message's type at the same time, in a process that has just started."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.soak import scaled

ROUNDS = scaled(200, soak=20_000)
TRIES = 5

Tried = Callable[[str], None]


def _run(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "tests.support.first_use", *arguments], check=False).returncode


@pytest.mark.slow
def test_types_that_are_learnt_before_there_are_threads_crash_nobody(tried: Tried) -> None:
    assert _run(str(ROUNDS), "learnt") == 0
    tried(f"{ROUNDS} times six threads at once")


@pytest.mark.slow
def test_types_that_threads_meet_first_crash_the_process() -> None:
    """The negative control. Once it fails msgspec has mended it, and `learn_types` can go."""
    assert any(_run("2000") == -signal.SIGSEGV for _ in range(TRIES))


@pytest.mark.parametrize(
    "module",
    ["wherry.controller.service", "wherry.agent.__main__", "wherry.agent.worker.__main__", "wherry.agent.client"],
)
def test_a_process_with_threads_learns_its_types_first(module: str) -> None:
    """All of them can be learnt, and there are as many as the process may meet."""
    count = f"import {module}, wherry.protocol.first_use as first; print(first.learn_types('wherry.'))"
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10
    source = subprocess.run(
        [sys.executable, "-c", f"import inspect, {module} as of; print(inspect.getsource(of))"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "learn_types(" in source
