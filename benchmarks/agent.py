"""What apps and boards feel of the agent: latency, crashes, updates, memory and writes to disk.

`make bench`, or `python benchmarks/agent.py [--json] [--quick]`, or `python -m benchmarks.agent`.
docs/reference/benchmarks.md says what each figure means.
"""

import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

if __package__ in (None, ""):  # started as a file, so that Python looks beside it instead of at the top
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import agent_footprint, agent_latency, agent_switch, board, fleet, form
from benchmarks.agent_cargo import SmallModel
from benchmarks.agent_load import Load
from benchmarks.agent_shipping import Shipping
from benchmarks.fleet import Agent
from benchmarks.form import Result, progress
from benchmarks.shore import Shore
from benchmarks.voyage import broker_version
from tests.support import broker
from wherry.controller.adapters import broker_process

PROG = "benchmarks/agent.py"
DISTRIBUTIONS = ("wherry", "ai-edge-litert", "numpy", "paho-mqtt", "httptools")
DEVICE = "ferry"
SETTING = fleet.Setting(window_s=10.0, stable_s=0.5)
"""Telemetry as often as it is by default; a worker has soon recovered, so that each kill counts as a first failure."""


@dataclass(frozen=True)
class Scale:
    """How many of each."""

    latency_runs: int
    latency_calls: int
    kills: int
    switches: int
    updates: int
    idle_s: float


FULL = Scale(latency_runs=7, latency_calls=1000, kills=20, switches=10, updates=60, idle_s=180)
QUICK = Scale(latency_runs=1, latency_calls=100, kills=2, switches=1, updates=2, idle_s=3)


def measure(scale: Scale) -> Result:
    """Raises Failed where a figure would stand for nothing."""
    kind = broker_process.choose_kind()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name, broker.running(kind, Path(name)) as port:
        directory = Path(name)
        with closing(Shore(port)) as shore:
            progress(f"starting a real agent with a real worker, {board.DESCRIPTION}")
            setting = replace(SETTING, python=str(board.python(directory / "board")))
            with fleet.running(directory, [DEVICE], port, shore, setting) as (agent,):
                result = _measure(agent, Shipping(shore, DEVICE, model := SmallModel(directory)), model, scale)
    return replace(result, versions=form.versions(*DISTRIBUTIONS) | broker_version(kind))


def _measure(agent: Agent, shipping: Shipping, model: SmallModel, scale: Scale) -> Result:
    sockets = agent.directory / "state" / "sockets"
    with Load(sockets, model.sample, agent_switch.RATE_HZ):
        shipping.ship()
    latency = agent_latency.measure(model, sockets, runs=scale.latency_runs, calls=scale.latency_calls)
    crashes = agent_switch.crashes(agent, model, sockets, kills=scale.kills)
    switches = agent_switch.switches(shipping, model, sockets, updates=scale.switches)
    with Load(sockets, model.sample, agent_switch.RATE_HZ):
        memory = agent_footprint.memory(agent, shipping, updates=scale.updates)
    writes = agent_footprint.writes(agent, idle_s=scale.idle_s)
    return form.joined([latency, crashes, switches, memory, writes])


if __name__ == "__main__":
    sys.exit(form.main(PROG, __doc__.splitlines()[0], lambda quick: measure(QUICK if quick else FULL)))
