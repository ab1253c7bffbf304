"""What the kernel counts for a worker: memory, processor time, open files, threads, and whom it kills first.

Rules upheld here:
- A limit is never raised, except the soft one on processor time when serving begins.
- A worker is killed before its supervisor where the board runs out of memory.
- The kernel counts threads over all processes of a user, so what the user has already is added to the limit; what may
  come later, of other workers and feeders, is in the order.
"""

import contextlib
import os
import resource
from pathlib import Path

from wherry.agent.worker.messages import Sandbox

OOM_STEP = 500
"""Added to what the supervisor has; 1000 is the most that the kernel takes."""


def offer_to_the_oom_killer() -> None:
    """Where /proc is closed, as in some containers, the kernel's own choice stands."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        path.write_text(str(min(int(path.read_text()) + OOM_STEP, 1000)))


def threads_of(uid: int) -> int:
    """How many threads the processes of a user have at present."""
    found = 0
    for process in os.scandir("/proc"):
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it is gone already
                found += _threads(process) if process.stat().st_uid == uid else 0
    return found


def _threads(process: "os.DirEntry[str]") -> int:
    return os.stat(f"{process.path}/task").st_nlink - 2  # noqa: PTH116 - one of hundreds: quickly


def limit(order: Sandbox, threads: int) -> None:
    """Lower the limits of this process, soft and hard, as ordered. `threads` are those that its user has."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, order.open_files)
    _lower(resource.RLIMIT_NPROC, threads + order.processes)
    if order.memory_bytes:
        _lower(resource.RLIMIT_AS, order.memory_bytes)
    if order.cpu_s:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (_least(order.cpu_s, hard), hard))


def lift_cpu_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = _least(value, hard)
    resource.setrlimit(kind, (value, value))


def _least(value: int, hard: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
