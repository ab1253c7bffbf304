"""Which desired document counts, and what it asks of each slot."""

import msgspec

from wherry.agent.core.record import DeviceRecord, Wish
from wherry.protocol.down.desired import Desired


class Accepted(msgspec.Struct, frozen=True):
    """`unknown` are slots that the document names and this device does not have."""

    record: DeviceRecord
    unknown: tuple[str, ...]


def accept(record: DeviceRecord, desired: Desired, slots: tuple[str, ...]) -> Accepted | None:
    """Take over a document that is newer than the last; None where it is not.

    A slot that the document does not name is left as it is.
    """
    if (desired.epoch, desired.generation) <= (record.epoch, record.generation):
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
        slots=changed,
    )
    return Accepted(accepted, tuple(entry.slot for entry in desired.slots if entry.slot not in slots))
