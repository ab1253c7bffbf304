"""A one-shot order, executed at most once by its id."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import ActionId, Digest, Message, Name

ActionKind = Literal["collect-logs", "self-test", "restart-slot", "forget-quarantine"]


class Action(Message, frozen=True, kw_only=True, tag="action"):
    """Ignored after `not_after_s` (seconds since 1970). `artifact` limits forget-quarantine to one digest.

    `upload_url` is where what collect-logs collects can be put over HTTP, with `Repr-Digest`; without it,
    or where that fails, it comes as blocks on `up/upload`.
    """

    id: ActionId
    kind: ActionKind
    not_after_s: float
    slot: Name | None = None
    artifact: Digest | None = None
    upload_url: Annotated[str, msgspec.Meta(max_length=500)] | None = None
