"""A block of what an action brought to light, for a device that cannot put the whole over HTTP."""

from typing import Annotated

import msgspec

from wherry.protocol.limits import MAX_UPLOAD_BLOCKS, MAX_UPLOAD_BYTES, UPLOAD_BLOCK_BYTES
from wherry.protocol.types import ActionId, Digest, Message


class Upload(Message, frozen=True, kw_only=True, tag="upload"):
    """Block `index` of `count`. All but the last hold 48 KiB; `digest` and `size_bytes` are those of the whole.

    `action_id` names the order that it answers; what nobody ordered is refused.
    """

    action_id: ActionId
    index: Annotated[int, msgspec.Meta(ge=0, lt=MAX_UPLOAD_BLOCKS)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_UPLOAD_BLOCKS)]
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_UPLOAD_BYTES)]
    digest: Digest
    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=UPLOAD_BLOCK_BYTES)]
