"""Threads that meet a message's type at the same time, in a process that has just started."""

import re
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


LEARN = """
import threading
import wherry.protocol.first_use as first

learn = first.learn_types

def learn_types(package=""):
    raise SystemExit(f"learnt {learn(package)} types beside {threading.active_count() - 1} threads")

first.learn_types = learn_types
"""
"""Has whoever learns its types end there and say so."""

PROCESSES = {
    "controller": "import asyncio, wherry.controller.service as it; asyncio.run(it.run(None, None))",
    "agent": "import wherry.agent.__main__ as it; it._run(None)",
    "worker": "import sys, wherry.agent.worker.__main__ as it; sys.argv = ['worker', '--fd', '0']; it.main()",
    "client": "import wherry.agent.client",
}


@pytest.mark.parametrize("begin", PROCESSES.values(), ids=PROCESSES)
def test_a_process_with_threads_learns_its_types_first(begin: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEARN + begin], capture_output=True, text=True, check=False)
    told = re.fullmatch(r"learnt (\d+) types beside 0 threads\n", done.stderr)
    assert told is not None, done.stderr
    assert int(told[1]) > 10
