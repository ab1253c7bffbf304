"""Crashes and updates as an app feels them, through the client of a real agent.

What is measured, and why it is fair:
- A crash is `kill -9` of the serving worker; the app asks at once, and the figure is the time until it has its answer.
  Each kill counts as a first failure, which is followed by a start at once.
- An update is a real one: published on a real broker, fetched, tested, switched to, probation, committed. 200 requests
  are due each second, whatever happens; the second around the first answer of the new version stands against quiet
  seconds before. The candidate's start and tests, on the same cores, lie partly in that second.
- Whatever a client raised, or did not answer, is a dropped request.
"""

import os
import signal
import statistics
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.agent_cargo import SmallModel
from benchmarks.agent_load import Load
from benchmarks.agent_shipping import Shipping
from benchmarks.fleet import Agent
from benchmarks.form import Failed, Result, Row, progress
from benchmarks.serving import bare_worker_s
from wherry.agent.client import Client

RATE_HZ = 200.0
QUIET_S = 3.0
"""Before each update, with requests and nothing else."""

AROUND_S = 0.5
"""Before and after the first answer of the new version."""

SETTLE_S = 1.0
"""Longer than the agent's `stable_s`, so that each kill counts as a first failure."""


def crashes(agent: Agent, model: SmallModel, sockets: Path, *, kills: int) -> Result:
    recoveries_s = [_recovery_s(agent, model, sockets) for _ in range(kills)]
    bare_s = bare_worker_s(model.path)
    rows = tuple(
        Row(
            figure=f"kill -9 of the worker until the app's next answer, {name}", value=of(recoveries_s), unit="s",
            n=f"{kills} / {len(bare_s)}", bare=f"bare worker: start, load, answer, {name}", bare_value=of(bare_s),
        )
        for name, of in (("median", statistics.median), ("maximum", max))
    )  # fmt: skip
    return Result(
        headline={"crash_to_answer_s": statistics.median(recoveries_s), "crash_to_answer_max_s": max(recoveries_s)},
        n={"crash_kills": kills},
        rows=rows,
    )


def switches(shipping: Shipping, model: SmallModel, sockets: Path, *, updates: int) -> Result:
    steady_s: list[float] = []
    around_s: list[float] = []
    with Load(sockets, model.sample, RATE_HZ) as load:
        for _ in range(updates):
            quiet, near = _update(shipping, load)
            steady_s += quiet
            around_s += near
    load.require_whole()
    asked, dropped = len(load.asked), sum(one.version is None for one in load.asked)
    for failure in load.failures[:3]:
        progress(f"dropped: {failure}")
    steady_ms, around_ms = _p99_ms(steady_s), _p99_ms(around_s)
    row = Row(
        figure="p99 in the second around a switch, 200 requests/s", value=around_ms, unit="ms",
        n=f"{len(around_s)} / {len(steady_s)}", bare="p99 while steady", bare_value=steady_ms,
    )  # fmt: skip
    return Result(
        headline={"switch_p99_ratio": around_ms / steady_ms, "switch_dropped": dropped},
        n={"switches": updates, "switch_requests": asked},
        rows=(row,),
        detail={"switch_longest_ms": max(around_s) * 1e3},
    )


def _recovery_s(agent: Agent, model: SmallModel, sockets: Path) -> float:
    with Client(directory=sockets, timeout_s=60) as client:
        client.infer(model.sample)
        time.sleep(SETTLE_S)
        (worker,) = psutil.Process(agent.process.pid).children()
        killed_s = time.perf_counter()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(10)
        client.infer(model.sample)
        recovery_s = time.perf_counter() - killed_s
    progress(f"a killed worker's app had its answer after {recovery_s:.3f} s")
    return recovery_s


def _update(shipping: Shipping, load: Load) -> tuple[list[float], list[float]]:
    """Latencies of a quiet time and of the second around the switch."""
    begun_s = time.perf_counter()
    time.sleep(QUIET_S)
    quiet_to_s = time.perf_counter()
    version = shipping.ship()
    switched_s = load.first_of(version)
    if switched_s is None:
        raise Failed(f"version {version} was committed and never answered")
    time.sleep(max(switched_s + 2 * AROUND_S - time.perf_counter(), 0.0))  # until these requests have been answered
    near = [one.latency_s for one in load.between(switched_s - AROUND_S, switched_s + AROUND_S)]
    progress(f"switch to version {version}: p99 {_p99_ms(near):.2f} ms around it")
    return [one.latency_s for one in load.between(begun_s, quiet_to_s)], near


def _p99_ms(latencies_s: list[float]) -> float:
    return float(np.percentile(latencies_s, 99)) * 1e3
