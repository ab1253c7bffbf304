"""Events that must reach the controller, one file each until the broker has taken them.

Bounded: the oldest go first when there are too many, and are counted.
"""

from pathlib import Path

from wherry.agent.adapters.store.durable import disk_errors, write_new

MAX_EVENTS = 1000


class Spool:
    def __init__(self, directory: Path, max_events: int = MAX_EVENTS) -> None:
        self._directory = directory
        self._max_events = max_events
        for torn in directory.glob("*.tmp"):
            torn.unlink(missing_ok=True)
        self._numbers = sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
        self._next = self._numbers[-1] + 1 if self._numbers else 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, message: bytes) -> int:
        """Keep an encoded event; its number. Raises StoreError where the disk does not take it."""
        number = self._next
        with disk_errors("keeping an event"):
            write_new(self._path(number), message)
        self._next += 1
        self._numbers.append(number)
        while len(self._numbers) > self._max_events:
            self.remove(self._numbers[0])
            self.dropped += 1
        return number

    def oldest(self, count: int, after: int = -1) -> list[tuple[int, bytes]]:
        """Up to `count` events with a number above `after`, in the order in which they happened."""
        numbers = [number for number in self._numbers if number > after][:count]
        with disk_errors("reading events"):
            return [(number, self._path(number).read_bytes()) for number in numbers]

    def remove(self, number: int) -> None:
        """The broker has it. Not durable at once: an event sent twice has its effect once."""
        if number in self._numbers:
            self._numbers.remove(number)
            with disk_errors("removing an event"):
                self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}"
