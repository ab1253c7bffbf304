"""How much of the processor a worker gets that serves nobody yet: what those that serve leave over.

Rules upheld here:
- A worker that is being tried loads, warms up and is tested at a lower priority, so that apps do not feel it.
- It is lowered only where it can be raised again. Who may (root, CAP_SYS_NICE, `LimitNICE=` of the service, and not in
  some containers) is found by trying it on a thread that then ends.
- Linux has a priority for each thread: whoever is raised is raised with all threads, and new ones inherit it.
"""

import contextlib
import functools
import os
import threading
from pathlib import Path

NICE = 10
"""About a tenth of what others get where all want the processor: also on a busy board a version is ready in time."""


def lower(pid: int) -> None:
    """Of a process that has one thread yet. Does nothing where it could not be raised again, or nobody knows."""
    with contextlib.suppress(OSError, RuntimeError):  # it has ended; there is no thread to try it on
        if _can_raise():
            os.setpriority(os.PRIO_PROCESS, pid, own() + NICE)


def raise_again(pid: int) -> None:
    """Of all threads that a process has."""
    with contextlib.suppress(OSError):  # it has ended
        for thread in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(OSError):  # so has a thread
                os.setpriority(os.PRIO_PROCESS, int(thread.name), own())


def own() -> int:
    """The nice value of whoever asks, which a worker that serves has too."""
    return os.getpriority(os.PRIO_PROCESS, 0)


@functools.cache
def _can_raise() -> bool:
    """Found once. Raises RuntimeError where no thread can be started now."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_falls_and_rises()), name="priority")
    thread.start()
    thread.join()
    return found == [True]


def _falls_and_rises() -> bool:
    """Whether this thread, which must end soon, comes back from a lower priority."""
    before = own()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, before + 1)
        os.setpriority(os.PRIO_PROCESS, 0, before)
    except OSError:
        return False
    return own() == before
