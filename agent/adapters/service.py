"""What the service manager is told, over the socket that it named in NOTIFY_SOCKET (see sd_notify(3)).

Rules upheld here:
- Without a service manager nothing is said and nothing is different.
- Nothing waits and nothing is raised: a manager that does not listen is not the agent's trouble.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

MAX_STATUS_CHARS = 400


class ServiceManager:
    """`watchdog_s` is how long the manager waits for a heartbeat; None where it does not watch this process."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace, which has a zero byte there.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_s = _watchdog_s(environment) if name else None

    def tell(self, *lines: str) -> None:
        """`READY=1` and the like, in one message."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(lines).encode(errors="replace"), socket.MSG_DONTWAIT, self._address)


def status_line(text: str) -> str:
    """`STATUS=` with what a person reads; one line, whatever `text` holds."""
    return "STATUS=" + "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_STATUS_CHARS]


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    limit_us, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit_us.isdecimal() or int(limit_us) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(limit_us) / 1e6
