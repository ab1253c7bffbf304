"""A device of the fleet as rollouts are planned over it."""

from wherry.protocol.types import Struct
from wherry.protocol.up import Birth


class Candidate(Struct, frozen=True, kw_only=True):
    """`birth` is None until the device has said what it can."""

    device: str
    online: bool
    birth: Birth | None
