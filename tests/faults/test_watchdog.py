"""systemd's side: the real agent tells when it is ready, and a loop that hangs gives no heartbeat.

The loop is hung as a stuck journal hangs it: the pipe of its log lines is full. Every other thread goes on.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Tried
from tests.support.broker import free_port
from tests.support.cargo_hold import make_version
from tests.support.fake_worker import Conduct
from tests.support.rig import Rig
from tests.support.service_manager import Notified
from tests.support.wait import wait_until
from wherry.agent.adapters.service import ServiceManager
from wherry.agent.config import SlotConfig
from wherry.agent.core.heartbeat import Pulse, patience_s, starved, well_since
from wherry.protocol.runtime import Runtime

WATCHDOG_S = 0.6
LIMIT_S = 20

pytestmark = pytest.mark.slow


@contextmanager
def serving(
    directory: Path, manager: Notified, module: str = "wherry.agent"
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An agent without a broker, and the writing end of the pipe that its log lines go into."""
    config = directory / "agent.toml"
    config.write_text(
        'device = "boat-1"\nfleet = "test"\nstate_dir = "state"\nruntime = "litert"\n'
        f"[broker]\nport = {free_port()}\nreconnect_limit_s = 0.2\n"
    )
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [sys.executable, "-m", module, "run", "--config", str(config)],
        stderr=writer, env=os.environ | manager.environment(WATCHDOG_S),
    )  # fmt: skip
    os.set_blocking(reader, False)
    try:
        yield process, reader
    finally:
        process.kill()
        process.wait(LIMIT_S)
        os.close(reader)
        os.close(writer)
        manager.close()


def drained(reader: int) -> bool:
    """Whether the log had anything to read; it is read."""
    try:
        return bool(os.read(reader, 65536))
    except BlockingIOError:
        return False


def test_it_is_ready_without_a_broker_and_says_how_it_does(tmp_path: Path) -> None:
    """To a manager whose socket has no file; the others' have one."""
    manager = Notified(tmp_path, abstract=True)
    with serving(tmp_path, manager) as (process, reader):
        manager.await_line("READY=1")
        wait_until(lambda: drained(reader) and manager.read() == 0, "its log is read")
        manager.await_line("STATUS=no broker; main empty", times=2)
        manager.await_line("WATCHDOG=1", times=2)
        process.send_signal(signal.SIGTERM)
        manager.await_line("STOPPING=1")
        assert process.wait(LIMIT_S) == 0


def test_a_loop_that_hangs_or_is_stopped_gives_no_heartbeat_until_it_goes_on(tmp_path: Path, tried: Tried) -> None:
    manager = Notified(tmp_path)
    with serving(tmp_path, manager) as (process, reader):
        manager.await_line("WATCHDOG=1")
        assert manager.is_starved(WATCHDOG_S), "its log is full, and nobody reads it"
        for _ in range(3):
            wait_until(lambda: drained(reader) and manager.read() > 0, "it goes on")
        process.send_signal(signal.SIGSTOP)
        assert manager.is_starved(WATCHDOG_S), "it is stopped, and its log has room"
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: manager.read() > 0, "it goes on again")
        tried("1 loop hung on a full pipe, and stopped")


def test_a_heartbeat_from_a_thread_of_its_own_would_hide_the_hang(tmp_path: Path) -> None:
    """The negative control: the same agent, fed carelessly."""
    manager = Notified(tmp_path)
    with serving(tmp_path, manager, "tests.support.careless_agent"):
        manager.await_line("WATCHDOG=1", times=3)
        assert not manager.is_starved(WATCHDOG_S, limit_s=3)


def test_a_worker_that_never_comes_back_starves_the_heartbeat_after_its_patience(tmp_path: Path, tried: Tried) -> None:
    """A whole supervisor, fake workers, a real socket. Restarts within their limits starve nothing."""
    manager = Notified(tmp_path)
    rig = Rig(tmp_path / "state")
    rig.manager = ServiceManager(manager.environment(40.0))
    rig.boot()
    rig.supervisor._heartbeat.start()
    version = make_version(1)
    rig.deploy(1, version)
    rig.wait(60)
    assert manager.beats() > 4
    rig.yard.is_full = True  # no worker can be started from now on
    rig.yard.serving[0].die(-9, "killed")
    limits = rig.config.worker
    patience = patience_s(
        silence_limit_s=limits.silence_limit_s, load_limit_s=limits.load_limit_s,
        restart_limit_s=limits.restart_limit_s, max_failures=limits.max_failures,
    )  # fmt: skip
    rig.wait(patience - 60)
    assert manager.beats() > 10, "it is given the time that its own remedies take"
    rig.wait(120)
    manager.beats()
    rig.wait(60)
    assert manager.beats() == 0
    assert "STATUS=connected; main running digits:1" in manager.said[-1]
    rig.yard.is_full = False
    rig.wait(60)
    assert manager.beats() > 2, "it serves again"
    manager.close()
    tried(f"{patience:.0f} s of patience, on the clock of a test")


def test_a_slot_that_nothing_here_runs_does_not_take_the_other_down(tmp_path: Path) -> None:
    """The runtime was replaced by an older one: no restart mends that. The negative control is above."""
    manager = Notified(tmp_path)
    rig = Rig(tmp_path / "state")
    rig.config = msgspec.structs.replace(rig.config, slots={"main": SlotConfig(), "bow": SlotConfig()})
    rig.manager = ServiceManager(manager.environment(40.0))
    rig.boot(runtimes=(Runtime(family="litert", version="2.5.0"),))
    versions = make_version(1), make_version(2, floor="2.4.0", slot="bow")
    for version in versions:
        rig.publish(version)
    rig.want(1, *versions)
    rig.wait(6)
    assert {slot.state for slot in rig.store.record.slots.values()} == {"running"}
    rig.cut().boot(runtimes=(Runtime(family="litert", version="2.3.0"),))
    rig.supervisor._heartbeat.start()
    rig.wait(900)
    manager.beats()
    rig.wait(120)
    assert [worker.slot for worker in rig.yard.serving] == ["main"]
    assert manager.beats() > 5
    assert "does not serve" in rig.events("error")[-1].reason
    manager.close()


def test_a_crashing_worker_that_comes_back_starves_nothing(tmp_path: Path) -> None:
    manager = Notified(tmp_path)
    rig = Rig(tmp_path / "state")
    rig.manager = ServiceManager(manager.environment(40.0))
    rig.boot()
    rig.supervisor._heartbeat.start()
    version = make_version(1)
    rig.conduct[version.assignment.artifact] = Conduct()
    rig.deploy(1, version)
    for _ in range(4):
        rig.yard.serving[0].die(-11, "killed")
        rig.wait(40)
        assert manager.beats() >= 3
    manager.close()


@pytest.mark.parametrize(
    ("should_serve", "heard_s", "silent"),
    [(True, 95.0, ()), (True, 10.0, ("main",)), (False, 10.0, ())],
)
def test_silence_counts_only_for_a_slot_that_should_serve(
    heard_s: float, silent: tuple[str, ...], *, should_serve: bool
) -> None:
    pulse = Pulse(slot="main", should_serve=should_serve, heard_s=heard_s)
    assert starved(well_since({"main": 20.0}, [pulse], 100.0), 100.0, 60.0) == silent


def test_silence_counts_from_when_a_slot_should_serve() -> None:
    idle = Pulse(slot="main", should_serve=False, heard_s=0.0)
    due = Pulse(slot="main", should_serve=True, heard_s=0.0)
    well = well_since({}, [idle], 1000.0)
    assert starved(well_since(well, [due], 1030.0), 1030.0, 60.0) == ()
    assert starved(well_since(well, [due], 1090.0), 1090.0, 60.0) == ("main",)


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "5000000"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5000000"}, 5.0),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "five"}, None),
    ],
)
def test_only_a_manager_that_watches_this_process_waits(environment: dict[str, str], watchdog_s: float | None) -> None:
    manager = ServiceManager(environment)
    manager.tell("READY=1")
    assert manager.watchdog_s == watchdog_s
