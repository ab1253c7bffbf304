"""What the agent takes from a board: memory of the supervisor over many updates, and bytes on its disk while idle.

What is measured, and why it is fair:
- An hour of updates at one a minute is 60 updates; here they follow each other without the waiting in between. What
  grows with the number of updates shows; what would grow with time alone does not.
- The agent runs in an environment as a board has it (see board.py). Memory is the resident set of the supervisor after
  each update. Its slope is fitted over the second half: allocators and caches fill at first.
- Bytes are what the kernel counts for the supervisor and its worker (`write_bytes` of /proc/PID/io), plus a few blocks
  of the file system's journal for each file or directory of the state that changes, which the kernel counts for nobody.
  Nobody asks for predictions meanwhile, and what an agent writes once a start is over. A day is extrapolated from
  minutes, and what is written once an hour is added to it.
"""

import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import board
from benchmarks.agent_shipping import Shipping
from benchmarks.fleet import Agent
from benchmarks.form import Failed, Result, Row, progress
from benchmarks.serving import bare_mb
from wherry.agent.core.boots import STEADY_S

MEGABYTE = 1e6
DAY_S = 24 * 3600.0
LOOK_EVERY_S = 1.0
JOURNAL_BYTES = 16 * 1024
"""Of ext4, for one change that is synced: descriptor, inode, directory or bitmap, commit, 4 KiB each."""


HOURLY_BYTES = 8 * 1024
"""Of the record, which holds the time that it is at least; as the kernel counted one save."""


def memory(agent: Agent, shipping: Shipping, *, updates: int) -> Result:
    supervisor = psutil.Process(agent.process.pid)
    looks_mb = [supervisor.memory_info().rss / MEGABYTE]
    for number in range(updates):
        shipping.ship()
        looks_mb.append(supervisor.memory_info().rss / MEGABYTE)
        if number % 10 == 9:
            progress(f"{number + 1} updates: the supervisor has {looks_mb[-1]:.1f} MB")
    late_mb = looks_mb[len(looks_mb) // 2 :]
    slope_mb = float(np.polyfit(range(len(late_mb)), late_mb, 1)[0]) if len(late_mb) > 1 else 0.0
    row = Row(
        figure=f"resident memory of the supervisor over updates, {board.DESCRIPTION}, largest",
        value=max(looks_mb), unit="MB", n=str(len(looks_mb)),
        bare="Python with paho, psutil and msgspec", bare_value=bare_mb(),
    )  # fmt: skip
    return Result(
        headline={"supervisor_rss_mb": max(looks_mb)},
        n={"memory_updates": updates},
        rows=(row,),
        detail={
            "supervisor_rss_first_mb": looks_mb[0],
            "supervisor_rss_last_mb": looks_mb[-1],
            "supervisor_rss_slope_mb_per_60_updates": slope_mb * 60,
        },
    )


def writes(agent: Agent, *, idle_s: float) -> Result:
    """Raises Failed where the state lies on a disk that is none."""
    _require_disk(agent.directory)
    settle_s = min(STEADY_S + 5, idle_s)
    progress(f"leaving the agent alone for {settle_s:g} s")
    time.sleep(settle_s)
    progress(f"looking at an idle agent's disk for {idle_s:g} s")
    begun = {pid: _written_bytes(pid) for pid in _pids(agent)}
    if not begun[agent.process.pid]:
        raise Failed("the kernel counts no bytes here, although a version has been fetched and stored")
    changed, started_s, seen = 0, time.perf_counter(), _changes(agent.directory / "state")
    while time.perf_counter() - started_s < idle_s:
        time.sleep(LOOK_EVERY_S)
        now = _changes(agent.directory / "state")
        changed += len(now.items() ^ seen.items()) // 2
        seen = now
    elapsed_s = time.perf_counter() - started_s
    if set(_pids(agent)) != set(begun):
        raise Failed("the agent's processes changed while it was idle")
    counted_bytes = sum(_written_bytes(pid) - at_first for pid, at_first in begun.items())
    minutes_bytes = (counted_bytes + changed * JOURNAL_BYTES) * DAY_S / elapsed_s
    return Result(
        headline={"idle_day_written_mb": (minutes_bytes + 24 * (HOURLY_BYTES + JOURNAL_BYTES)) / MEGABYTE},
        n={"idle_seconds": round(elapsed_s)},
        rows=(),
        detail={"idle_bytes_counted_by_the_kernel": counted_bytes, "idle_changes_of_the_state": changed},
    )


def _pids(agent: Agent) -> list[int]:
    return [agent.process.pid, *(child.pid for child in psutil.Process(agent.process.pid).children(recursive=True))]


def _written_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _changes(directory: Path) -> dict[Path, tuple[int, int]]:
    """When every file and directory was changed last, and its size."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # gone between the listing and the look
        found[path] = (stat.st_ctime_ns, stat.st_size)
    return found


def _require_disk(directory: Path) -> None:
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    holders = [(point, kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    _, kind = max(holders, key=lambda holder: len(holder[0]))
    if kind in ("tmpfs", "ramfs"):
        raise Failed(f"{directory} is in memory ({kind}), where nothing is written; name a disk in TMPDIR")
