"""Structured logs: JSON lines on standard error, a bounded buffer that is sent over MQTT, and the last lines of all.

Rules upheld here:
- Whatever is logged, memory is bounded: by lines and by bytes.
- Who logs in to a URL does not leave the board.
- What the buffer drops, because it is sent too seldom, is still among the last lines.
"""

import logging
import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, cast

import msgspec
import structlog

from wherry.agent.bundle import without_credentials
from wherry.protocol.up.log import Level, LogLine

MAX_LINES = 200
"""Lines kept between two batches: this is the rate limit; what is more is counted and dropped."""

MAX_BATCH_BYTES = 48 * 1024
MAX_FIELD_CHARS = 500

RECENT_LINES = 2000
RECENT_BYTES = 1024 * 1024
"""Kept for whoever asks for logs: hours of an agent that is well, and little of a board's memory."""


class Recent:
    """The last lines, each as JSON, within both limits."""

    def __init__(self, max_lines: int = RECENT_LINES, max_bytes: int = RECENT_BYTES) -> None:
        self._lines: deque[bytes] = deque()
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self.size_bytes = self.forgotten = 0

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self.size_bytes += len(line)
        while len(self._lines) > self._max_lines or self.size_bytes > self._max_bytes:
            self.size_bytes -= len(self._lines.popleft())
            self.forgotten += 1

    def lines(self) -> tuple[bytes, ...]:
        """Oldest first."""
        return tuple(self._lines)


class LogBuffer:
    """A structlog processor that keeps a copy of each line for the next batch. Not for several threads."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        self._lines: deque[LogLine] = deque()
        self._max_lines = max_lines
        self._dropped = 0
        self.recent = Recent()

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        fields = {
            key: without_credentials(str(value))[:MAX_FIELD_CHARS]
            for key, value in line.items()
            if key not in ("event", "level", "at_s")
        }
        level, event = cast(Level, line["level"]), without_credentials(str(line["event"]))[:MAX_FIELD_CHARS]
        kept = LogLine(at_s=line["at_s"], level=level, event=event, fields=fields)
        self.recent.add(msgspec.json.encode(kept))
        if len(self._lines) >= self._max_lines:
            self._dropped += 1
        else:
            self._lines.append(kept)
        return line

    def take(self) -> tuple[tuple[LogLine, ...], int]:
        """The lines of the next batch, and how many were dropped before them; both are forgotten here."""
        taken, size = [], 0
        while self._lines and size < MAX_BATCH_BYTES:
            line = self._lines.popleft()
            size += len(msgspec.json.encode(line))
            taken.append(line)
        dropped, self._dropped = self._dropped, 0
        return tuple(taken), dropped

    def __len__(self) -> int:
        return len(self._lines)


def configure(level: str, buffer: LogBuffer, device: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes JSON lines to standard error and keeps copies in `buffer`."""
    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(key="at_s"),
            buffer,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=True,
    )
    return cast(structlog.typing.FilteringBoundLogger, logger.bind(device=device))
