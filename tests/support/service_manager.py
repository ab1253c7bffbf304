"""What systemd is to a service: a datagram socket that is told things, and a limit on silence."""

import os
import select
import socket
import time
from pathlib import Path

from tests.support.wait import wait_until


class Notified:
    """Keeps all that was said. With `abstract`, its name has no file, as systemd's own may have none."""

    def __init__(self, directory: Path, *, abstract: bool = False) -> None:
        self.said: list[str] = []
        self._counted = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        name = f"\0wherry-test-{os.getpid()}-{id(self)}" if abstract else str(directory / "notify")
        self._socket.bind(name)
        self.name = name.replace("\0", "@")

    def environment(self, watchdog_s: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.name, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def read(self) -> int:
        """Take in what has come; how many messages that were."""
        before = len(self.said)
        while select.select([self._socket], [], [], 0)[0]:
            self.said.append(self._socket.recv(4096).decode())
        return len(self.said) - before

    def await_line(self, line: str, times: int = 1) -> None:
        def found() -> bool:
            self.read()
            return sum(line in message.split("\n") for message in self.said) >= times

        wait_until(found, f"{times} times {line}")

    def beats(self) -> int:
        """Heartbeats since this was asked last."""
        self.read()
        fresh, self._counted = self.said[self._counted :], len(self.said)
        return sum("WATCHDOG=1" in message for message in fresh)

    def is_starved(self, watchdog_s: float, limit_s: float = 20.0) -> bool:
        """Whether, within the limit, no heartbeat came for as long as the manager would wait."""
        self.read()
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            if not select.select([self._socket], [], [], watchdog_s)[0]:
                return True
            if not any("WATCHDOG=1" in message for message in self.said[-self.read() :]):
                return True
        return False

    def close(self) -> None:
        self._socket.close()
