"""What is forgotten at a reset, and what never is.

Rules upheld here:
- The count of starts, the ids of executed orders and the floor of time stay: they guard against repetition. The floor
  goes where everything is forgotten: a false time server may have lifted it, and then every order is too late for ever.
- A slot that is forgotten takes the controller's document again, though it was accepted before: order counts from zero.
"""

from collections.abc import Collection

import msgspec

from wherry.agent.core.effects import forget_quarantine
from wherry.agent.core.record import DeviceRecord


def forget_slots(record: DeviceRecord, names: Collection[str]) -> DeviceRecord:
    """The slots as on a new disk."""
    left = {name: slot for name, slot in record.slots.items() if name not in names}
    return msgspec.structs.replace(
        record, epoch=0, generation=0, handling=None, unsteady_boots=0, given_up=0, slots=left
    )


def forget_all(record: DeviceRecord) -> DeviceRecord:
    """Every slot, and what time it is at least."""
    return msgspec.structs.replace(forget_slots(record, tuple(record.slots)), floor_s=0.0)


def forget_quarantines(record: DeviceRecord, names: Collection[str]) -> DeviceRecord:
    """What was found bad may be tried again, once the controller asks for it anew."""
    slots = {name: forget_quarantine(slot, None) if name in names else slot for name, slot in record.slots.items()}
    return msgspec.structs.replace(record, slots=slots)
