"""Devices that serve: memory of their supervisors, and how long a killed worker is missed.

What is measured, and why it is fair:
- The agents are the real program with real workers, which have downloaded a model of 5 MiB over MQTT,
  tested it, committed it, and answer a feed while they are looked at.
- Memory is the resident set of the supervisor alone, the largest of many looks at every device; the bare
  processes are the same Python, importing nothing, or importing the three packages that the
  supervisor cannot do without.
- A worker is missed from `kill -9` until an app that asks at once has its answer, while the feed asks as well. Each
  kill counts as a first failure, which is followed by a start at once.
- The bare worker imports the same runtime, loads the same file and answers once: no digest is checked,
  no tensors compared, no warm-up, no supervisor.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarks import cargo, fleet
from benchmarks.fleet import Agent
from benchmarks.form import ROOT, Failed, Result, Row, progress
from benchmarks.shore import Shore
from tests.support.cargo_hold import Version
from tests.support.children import workers
from wherry.agent.client import Client
from wherry.protocol.up import Event, Reported, Telemetry

LIMIT_S = 60.0
STABLE_S = 0.5
"""A worker that served this long has recovered. No longer than a telemetry window, for which every kill
waits, so that each counts as a first failure."""

RATE_HZ = 100.0
LOOKS = 10
LOOK_EVERY_S = 0.2
BARE_RUNS = 10
MEGABYTE = 1e6
REQUIRED = "import msgspec, paho.mqtt.client, psutil"
WAITING = "; import sys; print(flush=True); sys.stdin.read()"


def measure(directory: Path, port: int, shore: Shore, *, devices: int, kills: int) -> Result:
    names = [f"ferry-{number}" for number in range(1, devices + 1)]
    for name in names:
        _write_feed(directory / name / "feed")
    setting = fleet.Setting(window_s=STABLE_S, stable_s=STABLE_S, feed_rate_hz=RATE_HZ)
    version = cargo.version(1)
    progress(f"starting {devices} agents with real workers")
    with fleet.running(directory, names, port, shore, setting) as agents:
        _serve(agents, version, shore)
        rss_mb = _supervisor_rss_mb(agents)
        recoveries_s = [_recovery_s(agents[number % devices], shore) for number in range(kills)]
        bare_s = bare_worker_s(agents[0].blob(version.assignment.artifact))
    return Result(
        headline={
            "supervisor_rss_mb": max(rss_mb),
            "worker_recovery_s": statistics.median(recoveries_s),
            "worker_recovery_max_s": max(recoveries_s),
        },
        n={"supervisor_devices": devices, "worker_kills": kills},
        rows=(*_memory_rows(max(rss_mb), devices), *_recovery_rows(recoveries_s, bare_s)),
    )


def _write_feed(directory: Path) -> None:
    directory.mkdir(parents=True)
    cargo.write_feed(directory / "inputs.npz", 50)


def _serve(agents: list[Agent], version: Version, shore: Shore) -> None:
    shore.publish(version)
    started_s = shore.want(1, version, [agent.device for agent in agents])

    def committed() -> bool:
        reports = {device: report.slots[0] for _, device, report in shore.heard(Reported, started_s)}
        outcomes = [reports[agent.device].outcome for agent in agents if agent.device in reports]
        bad = [outcome for outcome in outcomes if outcome is not None and outcome.result != "committed"]
        if bad:
            raise Failed(f"an agent did not keep the version: {bad[0].reason}")
        return sum(outcome is not None for outcome in outcomes) == len(agents)

    shore.wait_for(committed, "every agent has committed the version", LIMIT_S)
    _await_inferences([agent.device for agent in agents], shore)


def _await_inferences(devices: list[str], shore: Shore) -> None:
    """The proof that they serve: a telemetry window that begins after now counts answered inferences."""
    since_s = time.perf_counter()

    def answered() -> bool:
        windows = shore.heard(Telemetry, since_s)
        late = {device for at_s, device, window in windows if window.inferences and at_s - window.window_s > since_s}
        return late >= set(devices)

    shore.wait_for(answered, "every agent answers its feed", LIMIT_S)


def _supervisor_rss_mb(agents: list[Agent]) -> list[float]:
    """The largest of many looks, for each agent."""
    progress("looking at the supervisors' memory")
    processes = [psutil.Process(agent.process.pid) for agent in agents]
    looks = []
    for _ in range(LOOKS):
        looks.append([process.memory_info().rss / MEGABYTE for process in processes])
        time.sleep(LOOK_EVERY_S)
    return [max(of_one) for of_one in zip(*looks, strict=True)]


def _recovery_s(agent: Agent, shore: Shore) -> float:
    (worker,) = workers(agent.process.pid)
    sample = np.zeros((1, cargo.FEATURES), np.int8)
    with Client(directory=agent.directory / "state" / "sockets", timeout_s=LIMIT_S) as client:
        client.infer(sample)
        killed_s = time.perf_counter()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(LIMIT_S)
        client.infer(sample)
        answered_s = time.perf_counter()
    recovered = _await_event(agent.device, "worker-recovered", shore, killed_s)
    progress(f"{agent.device}: a killed worker answered again after {answered_s - killed_s:.3f} s ({recovered})")
    _await_inferences([agent.device], shore)
    return answered_s - killed_s


def _await_event(device: str, kind: str, shore: Shore, since_s: float) -> str:
    def found() -> str | None:
        events = [event for _, sender, event in shore.heard(Event, since_s) if sender == device]
        return next((event.kind for event in events if event.kind == kind), None)

    return shore.wait_for(found, f"{device} says {kind}", LIMIT_S) or kind


def bare_worker_s(model: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.bare_worker", str(model)]
    return [
        _until_first_line(command, lambda _pid, started_s: time.perf_counter() - started_s) for _ in range(BARE_RUNS)
    ]


def bare_mb(code: str = REQUIRED) -> float:
    """Resident memory of Python once it has run `code`: by default what the supervisor cannot do without."""
    command = [sys.executable, "-c", code + WAITING]
    looks = [
        _until_first_line(command, lambda pid, _started_s: psutil.Process(pid).memory_info().rss / MEGABYTE)
        for _ in range(3)
    ]
    return max(looks)


def _memory_rows(rss_mb: float, devices: int) -> tuple[Row, ...]:
    what, n = "resident memory of the supervisor while it serves, largest", str(devices)
    return tuple(
        Row(figure=what, value=rss_mb, unit="MB", n=n, bare=bare, bare_value=bare_mb(code))
        for bare, code in (("Python alone", "pass"), ("Python with paho, psutil and msgspec", REQUIRED))
    )


def _recovery_rows(recoveries_s: list[float], bare_s: list[float]) -> tuple[Row, ...]:
    n = f"{len(recoveries_s)} / {len(bare_s)}"
    return tuple(
        Row(
            figure=f"kill -9 of a worker until its next answer, {name}",
            value=of(recoveries_s),
            unit="s",
            n=n,
            bare=f"bare worker: start, load, answer, {name}",
            bare_value=of(bare_s),
        )
        for name, of in (("median", statistics.median), ("maximum", max))
    )


def _until_first_line(command: list[str], look: Callable[[int, float], float]) -> float:
    """What `look(pid, started_s)` says when the process has written its first line."""
    started_s = time.perf_counter()
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=quiet) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed(f"a bare process ended at once: {' '.join(command[1:3])}")
        return look(process.pid, started_s)
