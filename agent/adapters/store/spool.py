"""Events that must reach the controller, one file each until the controller has them.

Rules upheld here:
- Bounded: when there are too many, the oldest go first. Those that say how something ended go last.
"""

import bisect
import contextlib
from pathlib import Path

import msgspec

from wherry.agent.adapters.store.durable import disk_errors, write_new
from wherry.agent.core.announce import OUTCOMES
from wherry.agent.errors import StoreError

MAX_EVENTS = 1000


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


def _is_outcome(message: bytes) -> bool:
    try:
        return msgspec.json.decode(message, type=_Kind).kind in OUTCOMES
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


class Spool:
    def __init__(self, directory: Path, max_events: int = MAX_EVENTS) -> None:
        self._directory = directory
        self._max_events = max_events
        with disk_errors("opening the events"):
            self._numbers = sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
            torn = list(directory.glob("*.tmp"))
        with contextlib.suppress(OSError):  # they are in nobody's way
            for path in torn:
                path.unlink(missing_ok=True)
        self._next = self._numbers[-1] + 1 if self._numbers else 0
        self._outcomes: set[int] = set()
        self._looked_at = -1

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, message: bytes) -> int:
        """Keep an encoded event; how many others went for it. Raises StoreError where the disk fails."""
        number = self._next
        with disk_errors("keeping an event"):
            write_new(self._path(number), message)
        self._next += 1
        self._numbers.append(number)
        surplus = len(self._numbers) - self._max_events
        for _ in range(surplus):
            self.remove(self._least())
        return max(0, surplus)

    def numbers(self, after: int = -1) -> list[int]:
        """The events with a number above `after`, in the order in which they happened."""
        return self._numbers[bisect.bisect_right(self._numbers, after) :]

    def read(self, number: int) -> bytes:
        """Raises StoreError where the disk fails."""
        with disk_errors("reading an event"):
            return self._path(number).read_bytes()

    def remove(self, number: int) -> None:
        """The broker has it. Not durable at once: an event sent twice has its effect once.

        Raises StoreError where the disk fails; then it comes back at the next start.
        """
        if number in self._numbers:
            self._numbers.remove(number)
            self._outcomes.discard(number)
            with disk_errors("removing an event"):
                self._path(number).unlink(missing_ok=True)

    def _least(self) -> int:
        """The oldest that is no outcome, else the oldest. Each is looked at once, and not before there are too many."""
        for number in self._numbers:
            if number not in self._outcomes and (number <= self._looked_at or not self._look(number)):
                return number
        return self._numbers[0]

    def _look(self, number: int) -> bool:
        self._looked_at = max(self._looked_at, number)
        with contextlib.suppress(StoreError):
            if _is_outcome(self.read(number)):
                self._outcomes.add(number)
        return number in self._outcomes

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}"
