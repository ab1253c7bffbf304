"""What an image carries: the service and the configuration agree with the agent and with each other."""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.agent import __main__ as agent
from wherry.agent import config as configuration
from wherry.agent.adapters import priority
from wherry.agent.adapters.probe import PROBE_S
from wherry.agent.config import Config
from wherry.agent.errors import BadConfig
from wherry.agent.heartbeat import BEATS

COMMON = Path(__file__).parents[2] / "firmware-images" / "common"
SERVICE = COMMON / "wherry-agent.service"
HIDES_THE_BOARD = {"ProcSubset", "PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock", "InaccessiblePaths"}
STARVES_THE_WORKERS = {"MemoryMax", "MemoryHigh", "LimitAS", "LimitDATA", "CPUQuota", "TasksMax", "LimitNPROC"}
PROGRAM = "/usr/local/bin/wherry-agent"


def _service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys of systemd have capitals
    unit.read_string(SERVICE.read_text())
    return unit["Service"]


def _config() -> Config:
    return configuration.load(COMMON / "agent.toml", {})


def test_the_example_configuration_is_one() -> None:
    config = _config()
    assert (config.device, config.fleet, config.broker.host) == ("boat-1", "harbour", "broker.example")


def test_every_key_that_is_commented_out_is_one_too(tmp_path: Path) -> None:
    lines = (COMMON / "agent.toml").read_text().splitlines()
    keys = [line for line in lines if line.startswith("# [") or (line[:2] == "# " and " = " in line)]
    path = tmp_path / "agent.toml"
    path.write_text("\n".join(line.removeprefix("# ") if line in keys else line for line in lines))
    config = configuration.load(path, {})
    assert config.labels == {"site": "north"}
    assert config.slots["main"].feed is not None
    assert len(keys) > 10


def test_the_service_starts_the_agent_with_arguments_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def load(path: Path, _environment: dict[str, str]) -> Config:
        asked.append(path)
        raise BadConfig(str(path), "", "enough seen")

    monkeypatch.setattr(configuration, "load", load)
    program, *arguments = shlex.split(_service()["ExecStart"])
    assert program == PROGRAM
    assert agent.main(arguments) == 2
    assert asked == [Path("/etc/wherry/agent.toml")]


def test_service_and_configuration_agree() -> None:
    service, config = _service(), _config()
    assert config.state_dir == f"/var/lib/{service['StateDirectory']}"
    assert float(service["TimeoutStopSec"]) > config.worker.stop_limit_s + 5
    assert config.data_plane.directory == f"/run/{service['RuntimeDirectory']}"


def test_systemd_watches_the_agent_and_believes_nobody_else() -> None:
    service = _service()
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    feeding_s = float(service["WatchdogSec"]) / BEATS
    assert feeding_s >= 15, "a turn that verifies a large file from a slow card is no hang"
    assert float(service["TimeoutStartSec"]) > 2 * PROBE_S


def test_the_service_leaves_the_workers_to_the_supervisor() -> None:
    service = _service()
    assert (service["KillMode"], service["OOMPolicy"], service["Restart"]) == ("mixed", "continue", "always")
    assert not STARVES_THE_WORKERS & set(service)


AS_THE_SERVICE = """
import os, resource, sys
from wherry.agent.adapters import priority

try:
    resource.setrlimit(resource.RLIMIT_NICE, (int(sys.argv[1]), int(sys.argv[1])))
except ValueError as error:
    sys.exit(str(error))
os.setgroups([])
os.setuid(65534)
print(priority._can_raise())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.skipif(priority.own() != 0, reason="the limit is for nice 0, which this process does not have")
@pytest.mark.parametrize("limit", ["as the service says", "none"])
def test_the_service_lets_a_worker_give_way_and_come_back(limit: str) -> None:
    """Without the limit, the negative control, only root can."""
    nice = int(_service()["LimitNICE"])  # with a sign it is a nice value, and the kernel's limit is 20 less that
    given = 20 - nice if limit != "none" else 0
    assert _service()["LimitNICE"].startswith(("+", "-"))
    run = subprocess.run([sys.executable, "-c", AS_THE_SERVICE, str(given)], capture_output=True, text=True)
    if "raise maximum limit" in run.stderr:
        pytest.skip("giving the limit takes CAP_SYS_RESOURCE, which some containers lack")
    assert run.stdout.strip() == str(limit != "none"), run.stderr


def test_the_service_is_locked_down_but_sees_the_board() -> None:
    service = _service()
    assert service["User"] == "wherry"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[key] == "yes"
    assert not HIDES_THE_BOARD & set(service)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """With the program that is installed here; keys that an older systemd does not know are no mistake."""
    here = tmp_path / SERVICE.name
    here.write_text(SERVICE.read_text().replace(PROGRAM, str(Path(sys.executable).parent / "wherry-agent")))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if here.name in line]
    assert [line for line in said if "RestartSteps" not in line and "RestartMaxDelaySec" not in line] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_would_find_a_mistake(tmp_path: Path) -> None:
    """The negative control."""
    here = tmp_path / SERVICE.name
    here.write_text(SERVICE.read_text().replace("KillMode=mixed", "KilMode=mixed"))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    assert "KilMode" in done.stderr
