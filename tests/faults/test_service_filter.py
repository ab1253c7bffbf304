"""The system calls that the service leaves to the agent are enough for it, and for a worker to go into its sandbox."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

UNIT = Path(__file__).parents[2] / "firmware-images" / "common" / "wherry-agent.service"

UNDER_THE_FILTER = """
import errno, pathlib, sys
import msgspec, pyseccomp
from tests.support.live_worker import Handed, LiveWorker, TinyCase
from tests.support.sandboxes import SANDBOX
from wherry.agent.adapters.sandbox import shortcomings
from wherry.agent.config import Config
from wherry.agent.worker.messages import Loaded, Refused

allowed = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
for name in sys.argv[2:]:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number >= 0:
        allowed.add_rule(pyseccomp.ALLOW, number)
tiny = TinyCase(pathlib.Path(sys.argv[1]))
allowed.load()
print("lacking:", *shortcomings(Config(device="b", fleet="h", state_dir="/nowhere")), sep=" ")
order, path = tiny.load("tflite-runtime")
with LiveWorker() as worker:
    worker.send(Handed(msgspec.structs.replace(order, sandbox=SANDBOX), path))
    answer = worker.said(Loaded, Refused)
    print("loaded" if isinstance(answer, Loaded) else answer.reason)
"""


def _filters() -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [word for line in lines if line.startswith("SystemCallFilter=") for word in line.split("=", 1)[1].split()]


def _expanded(words: list[str]) -> set[str]:
    """Names of system calls, with those of the groups, as this machine's systemd has them."""
    found: set[str] = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
            continue
        told = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
        inner = [line.strip() for line in told.stdout.splitlines() if line.startswith("    ")]
        found |= _expanded([name for name in inner if not name.startswith("#")])
    return found


def _under(tmp_path: Path, calls: set[str]) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", UNDER_THE_FILTER, str(tmp_path), *sorted(calls)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [line.strip() for line in run.stdout.splitlines()]


@pytest.fixture
def calls() -> set[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here to say what the groups of system calls are")
    return _expanded(_filters())


def test_a_worker_goes_into_its_whole_sandbox_under_the_service(tmp_path: Path, calls: set[str]) -> None:
    assert _under(tmp_path, calls) == ["lacking:", "loaded"]


def test_where_the_service_forbids_the_sandbox_it_is_told_and_the_model_loads(tmp_path: Path, calls: set[str]) -> None:
    """The negative control, and what an older systemd or a container does."""
    of_the_sandbox = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"}
    lacking, loaded = _under(tmp_path, calls - of_the_sandbox)
    assert "system calls are not filtered" in lacking
    assert "files are not closed off" in lacking
    assert loaded == "loaded"
