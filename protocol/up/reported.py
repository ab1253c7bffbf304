"""What a device says is true of its slots: retained, ordered by (epoch, generation)."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import ComparedCount, Digest, Message, Name, Ordinal, Reason, Struct, VersionRef

Phase = Literal[
    "empty", "running", "preflight", "download", "verify", "self-test",
    "switch", "probation", "rolling-back", "safe-mode",
]  # fmt: skip

Result = Literal["committed", "rejected", "reverted"]
"""`rejected` before the switch, the incumbent never stopped; `reverted` after it."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How the last attempt ended: of which version, for which desired document, where and why."""

    ref: VersionRef
    epoch: Ordinal
    generation: Ordinal
    result: Result
    phase: Phase
    reason: Reason = ""


class QuarantineEntry(Struct, frozen=True, kw_only=True):
    """An artifact that the device has found bad and refuses to try again."""

    artifact: Digest
    reason: Reason


class Agreement(Struct, frozen=True, kw_only=True):
    """Of `compared` inputs that `against` had answered on this device, `agreed` got the same class from `artifact`.

    Measured in the self-test, on the inputs that apps and feeds had asked about last.
    """

    artifact: Digest
    against: Digest
    compared: ComparedCount
    agreed: ComparedCount

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError, for more that agreed than were compared."""
        if self.agreed > self.compared:
            raise ValueError(f"agreed {self.agreed} of {self.compared}")


class SlotReport(Struct, frozen=True, kw_only=True):
    """`agreement` is that of the version which serves or is tried; None where it was not measured."""

    slot: Name
    phase: Phase
    serving: VersionRef | None = None
    candidate: VersionRef | None = None
    outcome: Outcome | None = None
    agreement: Agreement | None = None
    quarantine: Annotated[tuple[QuarantineEntry, ...], msgspec.Meta(max_length=16)] = ()


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """`epoch` and `generation` are those of the newest desired document that the device has accepted."""

    epoch: Ordinal
    generation: Ordinal
    slots: Annotated[tuple[SlotReport, ...], msgspec.Meta(max_length=16)]
