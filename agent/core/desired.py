"""Which desired document counts, and what it asks of each slot.

Rules upheld here:
- A document that is newer is on disk as being handled before anything is done with it, and no more so once it
  has been taken over. So one that stops the agent on the way is known again at the next start.
- At `HANDLING_LIMIT` starts it is refused from then on. The slots stay as they are, and a newer one is taken.
"""

import msgspec

from wherry.agent.core.record import DeviceRecord, Handling, Wish
from wherry.protocol.down.desired import Desired

HANDLING_LIMIT = 3
"""Starts of the agent since a document was begun with. One power cut in so short a time is rare; three are none."""


class Accepted(msgspec.Struct, frozen=True):
    """`unknown` are slots that the document names and this device does not have."""

    record: DeviceRecord
    unknown: tuple[str, ...]


def is_newer(record: DeviceRecord, desired: Desired) -> bool:
    return (desired.epoch, desired.generation) > (record.epoch, record.generation)


def undertake(record: DeviceRecord, desired: Desired, sha256: str) -> DeviceRecord:
    """The record that says that a document is being handled; the same one where it says so already."""
    begun = Handling(epoch=desired.epoch, generation=desired.generation, sha256=sha256)
    if record.handling is not None and record.handling.is_same(begun):
        return record
    return msgspec.structs.replace(record, handling=begun)


def poisoned(record: DeviceRecord) -> str | None:
    """Why the document that is being handled is refused; None where it is not."""
    handling = record.handling
    if handling is None or handling.starts < HANDLING_LIMIT:
        return None
    return (
        f"desired document {handling.epoch}.{handling.generation} ({handling.sha256[:12]}) is refused: the agent "
        f"stopped {handling.starts} times while taking it over, limit {HANDLING_LIMIT}; a newer one is taken"
    )


def set_aside(record: DeviceRecord) -> DeviceRecord:
    """Where the disk did not take a document, which is no fault of the document."""
    return msgspec.structs.replace(record, handling=None)


def accept(record: DeviceRecord, desired: Desired, slots: tuple[str, ...]) -> Accepted | None:
    """Take over a document that is newer than the last; None where it is not.

    A slot that the document does not name is left as it is.
    """
    if not is_newer(record, desired):
        return None
    changed = dict(record.slots)
    for assignment in desired.slots:
        if assignment.slot in slots:
            wish = Wish(assignment=assignment, epoch=desired.epoch, generation=desired.generation)
            changed[assignment.slot] = msgspec.structs.replace(record.slot(assignment.slot), wish=wish, settled=False)
    accepted = msgspec.structs.replace(
        record,
        epoch=desired.epoch,
        generation=desired.generation,
        artifacts_url=desired.artifacts_url,
        handling=None,
        slots=changed,
    )
    return Accepted(accepted, tuple(entry.slot for entry in desired.slots if entry.slot not in slots))
