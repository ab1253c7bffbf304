"""What the board and Wherry's processes use, and how the board does, read from the system."""

import shutil
from pathlib import Path
from time import monotonic

import psutil

from wherry.agent.adapters import thermal
from wherry.agent.adapters.thermal import temperature_c
from wherry.protocol.up.telemetry import SystemReading

__all__ = ["SystemMetrics", "disk_free_bytes", "rss_bytes", "temperature_c"]


SAME_READING_S = 1.0
"""All slots say their telemetry in one turn."""


class SystemMetrics:
    """Reads the board that holds `state_dir`. One for a process: the CPU's share is since it was measured last.

    It is measured once for all who ask within a second: each measurement ends the last one, and the next slot's would
    be of no time at all. `root` stands before the paths of what the kernel shows.
    """

    def __init__(self, state_dir: Path, root: Path = thermal.ROOT) -> None:
        self._state_dir, self._root = state_dir, root
        self._self = psutil.Process()
        psutil.cpu_percent()  # the first reading has nothing to compare with
        self._cpu_share, self._measured_s = 0.0, float("-inf")

    def read(self, worker_pid: int | None) -> SystemReading:
        """Read now. A worker that is gone counts as 0 bytes."""
        return SystemReading(
            cpu_share=self._measure_cpu(),
            load_1min=psutil.getloadavg()[0],
            ram_available_bytes=psutil.virtual_memory().available,
            disk_free_bytes=disk_free_bytes(self._state_dir),
            supervisor_rss_bytes=self._self.memory_info().rss,
            worker_rss_bytes=0 if worker_pid is None else rss_bytes(worker_pid),
            temperature_c=temperature_c(self._root),
            throttling=thermal.throttling(self._root),
            frequency_share=thermal.frequency_share(self._root),
        )

    def _measure_cpu(self) -> float:
        now_s = monotonic()
        if now_s - self._measured_s >= SAME_READING_S:
            self._cpu_share, self._measured_s = min(max(psutil.cpu_percent() / 100, 0.0), 1.0), now_s
        return self._cpu_share


def disk_free_bytes(directory: Path) -> int:
    """Free space on the disk of `directory`; of one that does not answer 0."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, 0 where it is gone or not ours to look at."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
