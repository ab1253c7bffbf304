"""What a device can do, as probed at start: retained, and sent at every connection."""

from typing import Annotated

import msgspec

from wherry.protocol.runtime import Runtime
from wherry.protocol.types import Count, Message, Name


class Birth(Message, frozen=True, kw_only=True, tag="birth"):
    """`runtimes` are those for which an interpreter was really built, not those merely installed.

    `boot_id` is new at every start of the agent. `labels` are as configured on the board.
    """

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    agent_version: str
    protocol_versions: tuple[int, ...] = (1,)
    machine: str
    os: str
    python: str
    cpu_count: Count
    ram_bytes: Count
    disk_total_bytes: Count
    disk_free_bytes: Count
    runtimes: Annotated[tuple[Runtime, ...], msgspec.Meta(max_length=8)]
    accelerators: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    slots: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] = ("main",)
    labels: dict[str, str] = {}
