"""Sockets for HTTP that a slow or silent server cannot hold: a deadline for the head, a minimum speed for the body.

Rules upheld here:
- The limits are for what was asked and not for each read, so that a byte now and then is no way around them.
- Deadlines are on a clock that never steps.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import msgspec


class SlowLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What is given up: a connection or the head of an answer after `head_s`, and a body that brings less than
    `min_bytes_per_s` over `window_s`."""

    head_s: float = 15.0
    min_bytes_per_s: float = 512.0
    """Half of what a poor GPRS link gives: a block in two minutes."""
    window_s: float = 20.0


class TooSlow(Exception):
    """The server does not say enough."""


class Meter:
    """How long the next read of one request may wait."""

    def __init__(self, limits: SlowLimits, now_s: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._now_s = limits, now_s
        self._deadline_s = now_s() + limits.head_s
        self._is_body = False
        self._got_bytes = 0

    def begin_body(self) -> None:
        """The head is here; from now on speed counts."""
        self._is_body = True
        self._begin_window()

    def left_s(self) -> float:
        """More than nothing. Raises TooSlow."""
        left_s = self._deadline_s - self._now_s()
        if left_s > 0:
            return left_s
        if not self._is_body:
            raise TooSlow(f"gave no answer within {self._limits.head_s:g} s")
        if self._got_bytes < self._limits.min_bytes_per_s * self._limits.window_s:
            raise TooSlow(
                f"sent {self._got_bytes} bytes in {self._limits.window_s:g} s, "
                f"slower than {self._limits.min_bytes_per_s:g} bytes/s"
            )
        self._begin_window()
        return self._limits.window_s

    def got(self, size_bytes: int) -> None:
        self._got_bytes += size_bytes

    def _begin_window(self) -> None:
        self._deadline_s, self._got_bytes = self._now_s() + self._limits.window_s, 0


class MeteredBackend(httpcore.NetworkBackend):
    """Connections whose reads wait as long as `meter` allows, which belongs to the request that is under way."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  the meter knows better
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._plain.connect_tcp(host, port, self.meter.left_s(), local_address, socket_options)
        return _MeteredStream(stream, self)


class _MeteredStream(httpcore.NetworkStream):
    def __init__(self, plain: httpcore.NetworkStream, backend: MeteredBackend) -> None:
        self._plain, self._backend = plain, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  the meter knows better
        meter = self._backend.meter
        while True:
            try:
                data = self._plain.read(max_bytes, meter.left_s())
            except httpcore.ReadTimeout:
                continue  # the meter says whether that was too long
            meter.got(len(data))
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  the meter knows better
        self._plain.write(buffer, self._backend.meter.left_s())

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None  # noqa: ARG002
    ) -> httpcore.NetworkStream:  # fmt: skip
        # The time limit of a handshake is for the whole of it, as ssl counts.
        return _MeteredStream(
            self._plain.start_tls(ssl_context, server_hostname, self._backend.meter.left_s()), self._backend
        )

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)
