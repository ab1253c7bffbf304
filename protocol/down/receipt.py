"""What the controller has written down: the device may forget these events.

A broker's acknowledgement says that the broker has an event, and a broker that is killed can lose it. Only this
says that the controller has it. It may be lost itself: the device then sends the events again, which changes nothing.
"""

from typing import Annotated

import msgspec

from wherry.protocol.types import Count, Message

MAX_SEQS = 200
"""With the longest numbers that there are, a receipt of so many is within the limit of its message."""


class Receipt(Message, frozen=True, kw_only=True, tag="receipt"):
    """`seqs` are of events of the agent's start `boot_id`; see `Event`."""

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    seqs: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_SEQS)]
