"""Agents as processes, each a device of its own with a directory of its own; what they say goes to `agent.log`."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.form import ROOT, Failed
from benchmarks.shore import FLEET, HOST, Shore
from wherry.protocol.up import Birth

AGENT = "wherry.agent"
STOP_LIMIT_S = 20.0
START_LIMIT_S = 120.0

CONFIGURATION = """
device = "{device}"
fleet = "{fleet}"
state_dir = "state"
runtime = "litert"
telemetry_window_s = {window_s}
[broker]
host = "{host}"
port = {port}
[worker]
stable_s = {stable_s}
[artifacts]
disk_reserve_bytes = 0
ram_reserve_bytes = 0
"""

FEED = """
[slots.main.feed]
directory = "feed"
rate_hz = {rate_hz}
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the agents of a fleet run. `module` is the program; `stable_s` as in the agent's configuration."""

    python: str = sys.executable
    module: str = AGENT
    window_s: float = 30.0
    stable_s: float = 30.0
    feed_rate_hz: float | None = None

    def configuration(self, device: str, port: int) -> str:
        text = CONFIGURATION.format(
            device=device, fleet=FLEET, host=HOST, port=port, window_s=self.window_s, stable_s=self.stable_s
        )
        return text if self.feed_rate_hz is None else text + FEED.format(rate_hz=self.feed_rate_hz)


class Agent:
    def __init__(self, directory: Path, device: str, port: int, setting: Setting) -> None:
        self.device, self.directory = device, directory
        directory.mkdir(exist_ok=True)
        config = directory / "agent.toml"
        config.write_text(setting.configuration(device, port))
        with (directory / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [setting.python, "-m", setting.module, "run", "--config", str(config)], cwd=ROOT, stderr=log
            )

    def blob(self, digest: str) -> Path:
        return self.directory / "state" / "blobs" / digest

    def last_words(self) -> str:
        lines = (self.directory / "agent.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def running(directory: Path, devices: list[str], port: int, shore: Shore, setting: Setting) -> Iterator[list[Agent]]:
    """The agents, connected; they are stopped at the end. Raises Failed where one does not come up."""
    agents: list[Agent] = []
    try:
        agents.extend(Agent(directory / device, device, port, setting) for device in devices)
        shore.wait_for(lambda: _all_born(agents, shore), "all agents connect", START_LIMIT_S)
        yield agents
    finally:
        for agent in agents:
            agent.process.send_signal(signal.SIGTERM)
        for agent in agents:
            _await_end(agent.process)


def _all_born(agents: list[Agent], shore: Shore) -> bool:
    for agent in agents:
        if agent.process.poll() is not None:
            raise Failed(f"agent {agent.device} ended: {agent.last_words()}")
    births = {sender: birth for _, sender, birth in shore.heard(Birth)}
    here = [births[agent.device] for agent in agents if agent.device in births]
    if any(not birth.runtimes for birth in here):
        raise Failed("ai-edge-litert does not work here, so no model can be served")
    return len(here) == len(agents)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
