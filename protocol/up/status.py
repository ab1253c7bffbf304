"""Whether a device is connected: retained, and the broker publishes `lost` as its last will."""

from typing import Literal

from wherry.protocol.types import Count, Message

Presence = Literal["online", "offline", "lost"]
"""`offline` was said by the device before it left; `lost` was said by the broker for it."""


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """`session` counts the device's connections: a will of an earlier session is stale."""

    presence: Presence
    session: Count
