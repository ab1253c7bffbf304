"""`wherry-agent status`, `doctor` and `reset`, as a person gives them: beside a running agent and without one."""

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.support import dense_versions
from tests.support.agent_process import AgentProcess
from tests.support.broker import free_port, running
from tests.support.shore import Shore
from tests.support.wait import wait_until
from wherry.agent.__main__ import main
from wherry.agent.adapters.control import NAME
from wherry.agent.adapters.store.record import RecordFile
from wherry.agent.cli import check_network
from wherry.agent.core.record import DeviceRecord
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.up import Status

pytestmark = pytest.mark.slow

V1 = dense_versions.make(1, HealthLimits(min_inferences=0, probation_s=0.5, deadline_s=60))
LIMIT_S = 60


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def board(directory: Path, *arguments: str, **environment: str) -> Said:
    """In this process: importing everything anew would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.stdin", io.StringIO())
        for name, value in environment.items():
            patch.setenv(name, value)
        status = main([*arguments, "--config", str(directory / "agent.toml")])
    return Said(status, out.getvalue(), err.getvalue())


def test_the_command_is_a_program_of_its_own(alone: Path) -> None:
    command = [sys.executable, "-m", "wherry.agent", "--config", str(alone / "agent.toml"), "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr, json.loads(done.stdout)["running"]) == (1, "", False)


def verdicts(directory: Path, **environment: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in board(directory, "doctor", "--json", **environment).json}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, AgentProcess, Shore]]:
    """A board that has committed a version and serves it, with its broker."""
    directory = tmp_path_factory.mktemp("board")
    dense_versions.write_feed(directory / "feed", 1)
    with running("mosquitto", directory) as port:
        agent, shore = AgentProcess(directory, port, runtime="litert"), Shore(port)
        try:
            shore.publish(V1)
            shore.want(1, V1)
            shore.await_outcome(1)
            yield directory, agent, shore
        finally:
            shore.close()
            agent.process.kill()
            agent.process.wait()


def test_a_running_agent_is_asked(fleet: tuple[Path, AgentProcess, Shore]) -> None:
    directory, agent, _ = fleet
    found = board(directory, "status", "--json").json
    (slot,) = found["slots"]
    assert (found["running"], found["connected"], slot["phase"]) == (True, True, "running")
    assert slot["serving"].startswith("dense:1 (")
    assert slot["worker"]["rss_bytes"] > 1_000_000
    assert slot["worker"]["pid"] in {child.pid for child in psutil.Process(agent.process.pid).children()}
    said = board(directory, "status")
    assert said.status == 0
    assert "connected" in said.out
    assert "slot main: running, serves dense:1" in said.out


def test_the_doctor_finds_nothing_wrong_and_does_not_disturb_the_session(
    fleet: tuple[Path, AgentProcess, Shore],
) -> None:
    directory, _, shore = fleet
    connections = len(shore.all(Status))
    found = board(directory, "doctor", "--json")
    assert [check for check in found.json if check["verdict"] == "fail"] == []
    assert found.status == 0
    said = {check["name"]: check["says"] for check in found.json}
    assert "takes connections over MQTT 5" in said["broker"]
    assert said["files of versions"] == "2 verified"
    assert said["agent"].startswith("runs, and is connected")
    assert len(shore.all(Status)) == connections


def test_a_running_agent_is_not_reset(fleet: tuple[Path, AgentProcess, Shore]) -> None:
    directory, _, _ = fleet
    said = board(directory, "reset", "--yes")
    assert said.status == 2
    assert "another agent uses this state directory" in said.err


def test_an_agent_that_hangs_is_told_from_one_that_is_not_there(fleet: tuple[Path, AgentProcess, Shore]) -> None:
    directory, agent, _ = fleet
    agent.process.send_signal(signal.SIGSTOP)
    try:
        said = board(directory, "status")
        assert said.status == 1
        assert "an agent runs but does not answer" in said.out
        assert "serves dense:1" in said.out, "what is on disk is shown"
    finally:
        agent.process.send_signal(signal.SIGCONT)


def test_clients_that_say_nothing_or_nonsense_hold_nobody_up(fleet: tuple[Path, AgentProcess, Shore]) -> None:
    directory, _, _ = fleet
    path = str(directory / "state" / "sockets" / NAME)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    try:
        for client, said in zip(clients, (b"", b"nonsense\n", b'{"ask":"reboot"}\n'), strict=True):
            client.connect(path)
            client.sendall(said)
        wait_until(lambda: board(directory, "status").status == 0, "the next one is answered")
        assert Path(path).stat().st_mode & 0o777 == 0o600
    finally:
        for client in clients:
            client.close()


def test_a_killed_agent_is_shown_from_its_disk_and_reset_and_begins_anew(
    fleet: tuple[Path, AgentProcess, Shore],
) -> None:
    """The last one: it ends what the others ask."""
    directory, agent, shore = fleet
    agent.kill()
    found = board(directory, "status", "--json")
    assert (found.status, found.json["running"], found.json["slots"][0]["phase"]) == (1, False, "running")
    boots = found.json["boots"]
    assert "nobody is there to confirm" in board(directory, "reset", "--slot", "main").err
    assert "has no slot side; it has main" in board(directory, "reset", "--slot", "side", "--yes").err
    assert board(directory, "status", "--json").json["slots"][0]["phase"] == "running", "nothing was done"
    (directory / "state" / "blobs" / V1.assignment.artifact).chmod(0o600)
    with (directory / "state" / "blobs" / V1.assignment.artifact).open("r+b") as file:
        file.write(b"\0\0\0\0")
    assert verdicts(directory)["files of versions"]["verdict"] == "fail"
    assert board(directory, "reset", "--all", "--yes").status == 0
    found = board(directory, "status", "--json").json
    assert (found["slots"][0]["phase"], found["boots"], found["order"]) == ("empty", boots, [0, 0])
    assert list((directory / "state" / "blobs").iterdir()) == []
    heard = len(shore.heard)
    agent.start_again()
    wait_until(lambda: any(getattr(entry, "to_phase", "") == "download" for entry in shore.heard[heard:]), "it fetches")
    online = [entry for entry in shore.heard[heard:] if isinstance(entry, Status) and entry.presence == "online"]
    assert online[-1].session > boots * 1_000_000, "sessions go on growing"
    wait_until(lambda: board(directory, "status", "--json").json["slots"][0]["phase"] == "running", "it serves", 40)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A board that never ran, and whose broker is not there."""
    (tmp_path / "agent.toml").write_text(
        f'device = "boat-1"\nfleet = "test"\nstate_dir = "state"\nruntime = "litert"\n[broker]\nport = {free_port()}\n'
    )
    return tmp_path


def test_without_anything_every_command_says_what_is_missing(alone: Path) -> None:
    said = board(alone, "status")
    assert (said.status, "not running" in said.out, "nothing yet" in said.out) == (1, True, True)
    found = verdicts(alone)
    assert (found["broker"]["verdict"], found["state directory"]["verdict"]) == ("fail", "warn")
    assert "nobody answers at 127.0.0.1" in found["broker"]["says"]
    assert all(check["fix"] for check in found.values() if check["verdict"] == "fail")
    assert "there is nothing to forget" in board(alone, "reset", "--yes").err
    assert not (alone / "state").exists(), "looking changes nothing"


def test_the_file_of_variables_beside_the_configuration_is_read(alone: Path) -> None:
    (alone / "agent.env").write_text("# of this board\nWHERRY_AGENT_DEVICE='boat-7'\n")
    assert board(alone, "status", "--json").json["device"] == "boat-7"
    assert board(alone, "status", "--json", WHERRY_AGENT_DEVICE="boat-8").json["device"] == "boat-8"
    (alone / "agent.env").write_text("nonsense\n")
    said = board(alone, "status")
    assert (said.status, said.err) == (2, f"wherry-agent: {alone}/agent.env: not NAME=value: nonsense\n")


def test_something_that_is_no_broker_is_named(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_network, "LIMIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen(8)
        port = server.getsockname()[1]
        found = verdicts(alone, WHERRY_AGENT_BROKER_PORT=str(port), WHERRY_AGENT_BROKER_PROTOCOL="3.1.1")
        assert "does not let a client in (MQTT 3.1.1: no answer)" in found["broker"]["says"]


def test_damaged_copies_of_the_record_are_found(alone: Path) -> None:
    (alone / "state").mkdir()
    file = RecordFile(alone / "state")
    for boots in (1, 2):
        file.save(DeviceRecord(boots=boots))
    assert verdicts(alone)["state record"]["verdict"] == "ok"
    for name, verdict in (("state.a", "warn"), ("state.b", "fail")):
        (alone / "state" / name).write_bytes(b"garbage")
        assert verdicts(alone)["state record"]["verdict"] == verdict
        assert "damaged" in board(alone, "status").out


def test_a_record_that_this_user_cannot_read_is_said_in_one_line(alone: Path) -> None:
    for name in ("state.a", "state.b"):
        (alone / "state" / name).mkdir(parents=True)
    said = board(alone, "status")
    assert (said.status, said.out) == (2, "")
    assert said.err.endswith("ask as root or as the agent's user\n")
    assert verdicts(alone)["state record"]["verdict"] == "fail"
