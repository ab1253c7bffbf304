"""A batch of structured log lines, rate limited on the device."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Count, Message, Struct

Level = Literal["debug", "info", "warning", "error", "critical"]


class LogLine(Struct, frozen=True, kw_only=True):
    """`at_s` is the device's clock, seconds since 1970. `fields` are already text."""

    at_s: float
    level: Level
    event: Annotated[str, msgspec.Meta(max_length=500)]
    fields: dict[str, str] = {}


class Log(Message, frozen=True, kw_only=True, tag="log"):
    """`dropped` lines were left out since the batch before, because of the rate limit.

    `boot_id` and `batch` order the batches; a repeated one is ignored.
    """

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    batch: Count
    lines: Annotated[tuple[LogLine, ...], msgspec.Meta(max_length=500)]
    dropped: Count = 0
