"""The feeder's word to the supervisor: a pulse every second, from a thread of its own.

Rules upheld here:
- A feed that hangs has no pulse: one that is stuck in a source or a sink for `STUCK_S` ends its process, and says in
  what. Waiting for a worker is no hang, for the supervisor watches that one itself.
- A feeder whose supervisor is gone ends.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import msgspec

from wherry.agent.feeder.messages import MAX_REMARKS, PULSE_S, Pulse
from wherry.protocol.types import clip_reason

STUCK_S = 45.0
"""Longer than the slowest card needs for a file, and than a camera that is given up (`camera.STUCK_S`)."""

STUCK = 3
"""Exit status."""


class Report:
    """Counted by the feed's thread, and said by another."""

    def __init__(self, sock: socket.socket, pulse_s: float = PULSE_S) -> None:
        self._socket, self._pulse_s = sock, pulse_s
        self._lock, self._speaking = threading.Lock(), threading.Lock()
        self._answered = self._failed = self._passed_over = self._dropped = 0
        self._remarks: dict[str, None] = {}
        self._doing = ""
        self._since_s = 0.0

    def start(self) -> None:
        self._say()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """What must not take long."""
        self._since_s, self._doing = time.monotonic(), what
        yield
        self._doing = ""

    def answered(self) -> None:
        with self._lock:
            self._answered += 1

    def failed(self) -> None:
        """The model gave no answer, which its worker counts as well."""
        with self._lock:
            self._failed += 1

    def passed_over(self, reason: str) -> None:
        with self._lock:
            self._passed_over += 1
        self.remark(reason)

    def dropped(self, count: int, reason: str) -> None:
        if count:
            with self._lock:
                self._dropped += count
            self.remark(reason)

    def remark(self, reason: str) -> None:
        with self._lock:
            if reason and len(self._remarks) < MAX_REMARKS:
                self._remarks[clip_reason(reason)] = None

    def _take(self) -> Pulse:
        with self._lock:
            pulse = Pulse(
                answered=self._answered, failed=self._failed, passed_over=self._passed_over, dropped=self._dropped,
                remarks=tuple(self._remarks),
            )  # fmt: skip
            self._answered = self._failed = self._passed_over = self._dropped = 0
            self._remarks = {}
        return pulse

    def last(self) -> None:
        """What has been counted and not been said."""
        with contextlib.suppress(OSError):
            self._send()

    def _say(self) -> None:
        try:
            self._send()
        except OSError:
            os._exit(0)  # the supervisor is gone

    def _send(self) -> None:
        with self._speaking:
            self._socket.sendall(msgspec.json.encode(self._take()) + b"\n")

    def _beat(self) -> None:
        while True:
            time.sleep(self._pulse_s)
            doing, since_s = self._doing, self._since_s
            if doing and time.monotonic() - since_s > STUCK_S:
                sys.stderr.write(f"the feed is stuck for {STUCK_S:g} s: {doing}\n")
                sys.stderr.flush()
                os._exit(STUCK)
            self._say()
