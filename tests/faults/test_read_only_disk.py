"""A board whose disk became read-only, as cards do when they wear out: what is on it is still served."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess
from tests.support.cargo_hold import make_version
from tests.support.rig import Rig
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow
V1 = make_version(1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of its own, which takes root."""
    directory = tmp_path / "state"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], capture_output=True).returncode:
        pytest.skip("mounting a disk of its own takes root")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def agent(disk: Path) -> Iterator[Callable[[], AgentProcess]]:
    """Starts an agent on that disk, without a broker."""
    started: list[AgentProcess] = []

    def start() -> AgentProcess:
        started.append(AgentProcess(disk.parent, port=1))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def _make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def test_the_version_on_a_read_only_disk_is_served(disk: Path) -> None:
    rig = Rig(disk).boot()
    rig.deploy(1, V1)
    rig.cut()
    _make_read_only(disk)
    rig.troubles = []
    rig.boot()
    rig.wait(10)
    assert [worker.artifact for worker in rig.yard.serving] == [V1.assignment.artifact]
    assert rig.reported().slots[0].serving == V1.assignment.ref
    assert set(rig.troubles) == {"keeping an event: Read-only file system"}
    rig.cut()


def test_the_agent_starts_on_a_read_only_disk_that_has_something_to_serve(
    disk: Path, agent: Callable[[], AgentProcess]
) -> None:
    rig = Rig(disk).boot()
    rig.deploy(1, V1)
    rig.cut()
    _make_read_only(disk)
    started = agent()
    wait_until(lambda: "no broker" in started.log.read_text(), "the agent looks for its broker")
    (place,) = re.findall(r"apps find them in (/[^\s\"]+)", started.log.read_text())
    assert {entry.name for entry in Path(place).iterdir()} == {"agent.sock", "main.sock", "main.fast.sock"}
    assert started.stop() == 0
    assert not Path(place).exists()
    log = started.log.read_text()
    assert "the disk cannot be written, what is on it is served" in log
    assert "Traceback" not in log


def test_the_agent_does_not_start_on_a_read_only_disk_with_nothing_on_it(
    disk: Path, agent: Callable[[], AgentProcess]
) -> None:
    Rig(disk).boot().cut()
    _make_read_only(disk)
    started = agent()
    assert started.process.wait(20) == 2
    assert "set state_dir to a directory that this user can write" in started.log.read_text()
