"""What the engine wants done. Carried out in the order given, in one transaction."""

from wherry.controller.core.gates import GateResult
from wherry.controller.core.members import End, Standing
from wherry.protocol.types import Struct


class Classify(Struct, frozen=True, kw_only=True):
    """The device stands elsewhere than recorded."""

    device: str
    standing: Standing
    reason: str


class Judge(Struct, frozen=True, kw_only=True):
    """The gates' answers, kept as the evidence for what follows."""

    results: tuple[GateResult, ...]


class Promote(Struct, frozen=True, kw_only=True):
    """Open wave `wave`."""

    wave: int


class Send(Struct, frozen=True, kw_only=True):
    """Put the variant into the device's desired document, and record what was there before.

    Once more where the device is being retried: what was there before the first time is what to give back.
    """

    device: str
    variant: str


class Join(Struct, frozen=True, kw_only=True):
    """Take a late joiner in; wave 0 sets it apart, with the reason."""

    device: str
    wave: int
    reason: str = ""


class Rewind(Struct, frozen=True, kw_only=True):
    """The clock was put back: take every moment that has not come yet for now, or what is waited for takes days."""


class Revert(Struct, frozen=True, kw_only=True):
    """Stop, and begin to take the version back from the wave `restore_from` on; `ending` is where that ends."""

    ending: End
    reason: str
    restore_from: int = 1


class Restore(Struct, frozen=True, kw_only=True):
    """Give the device its previous assignment again.

    A device that had none gets a document without the slot, which means `leave as is`: who has the
    version keeps it, as there is nothing to go back to; who has not begun will never fetch it.
    """

    device: str


class Finish(Struct, frozen=True, kw_only=True):
    """The rollout has ended."""

    state: End
    reason: str


Action = Classify | Judge | Promote | Send | Join | Rewind | Revert | Restore | Finish
