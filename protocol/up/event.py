"""Something that happened once: spooled on the device's disk until the broker has taken it.

Delivered at least once and unique by (device, boot id, seq), so that its effect is exactly once.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Count, Digest, Message, Name, Reason, VersionRef

EventKind = Literal[
    "started",
    "transition",
    "rejected",
    "committed",
    "reverted",
    "worker-crashed",
    "worker-recovered",
    "block-damaged",
    "block-repaired",
    "safe-mode",
    "action-done",
    "action-refused",
    "error",
]


class Event(Message, frozen=True, kw_only=True, tag="event"):
    """`at_s` is the device's clock, seconds since 1970, which may be wrong.

    `ref` is the version that it happened to. `digest` and `block` name a block that arrived damaged
    or was repaired; `transport` says over which transport. `action_id` names the action answered.
    """

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    seq: Count
    at_s: float
    kind: EventKind
    slot: Name | None = None
    ref: VersionRef | None = None
    from_phase: str = ""
    to_phase: str = ""
    reason: Reason = ""
    digest: Digest | None = None
    block: Count | None = None
    transport: Literal["", "mqtt", "http"] = ""
    action_id: str = ""
