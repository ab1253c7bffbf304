"""What a device says is true of its slots: retained, ordered by (epoch, generation)."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Digest, Message, Name, Ordinal, Reason, Struct, VersionRef

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


class SlotReport(Struct, frozen=True, kw_only=True):
    slot: Name
    phase: Phase
    serving: VersionRef | None = None
    candidate: VersionRef | None = None
    outcome: Outcome | None = None
    quarantine: Annotated[tuple[QuarantineEntry, ...], msgspec.Meta(max_length=16)] = ()


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """`epoch` and `generation` are those of the newest desired document that the device has accepted."""

    epoch: Ordinal
    generation: Ordinal
    slots: Annotated[tuple[SlotReport, ...], msgspec.Meta(max_length=16)]
