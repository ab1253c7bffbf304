"""A one-shot order, executed at most once by its id."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Digest, Message, Name

ActionKind = Literal["collect-logs", "self-test", "restart-slot", "forget-quarantine"]


class Action(Message, frozen=True, kw_only=True, tag="action"):
    """Ignored after `not_after_s` (seconds since 1970). `artifact` limits forget-quarantine to one digest."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    kind: ActionKind
    not_after_s: float
    slot: Name | None = None
    artifact: Digest | None = None
