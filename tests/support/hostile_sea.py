"""What lies between a fake link and the agent: holds back whatever the broker says, until it is let through or lost.

Connections are told at once, as the agent's own adapter does; messages and acknowledgements may come later than the
session that they belong to, in any order, changed, twice or never.
"""

import random
from collections.abc import Callable

from tests.support.fake_link import FakeLink
from wherry.agent.adapters.broker import Arrived, Connected, Disconnected, Taken

Event = Connected | Disconnected | Arrived | Taken
MAX_HELD = 400
"""More is dropped, the oldest first, as a broker does with its queues."""


class Sea:
    """While `calm` everything passes at once."""

    def __init__(self, link: FakeLink, inbox: Callable[[Event], None]) -> None:
        self._inbox = inbox
        self.held: list[Event] = []
        self.calm = False
        self.drops = self.doubles = self.damages = self.late = 0
        link._on_event = self._heard

    def _heard(self, event: Event) -> None:
        if self.calm or isinstance(event, Connected | Disconnected):
            self._inbox(event)
            return
        self.held.append(event)
        del self.held[:-MAX_HELD]

    def let_through(self, count: int) -> None:
        """The oldest, in order."""
        for event in self.held[:count]:
            self._inbox(event)
        del self.held[:count]

    def pick(self, at: float) -> int:
        """The number of a held event; `at` is in [0, 1)."""
        return int(at * len(self.held))

    def deliver_late(self, at: float) -> None:
        """One out of its turn."""
        self.late += 1
        self._inbox(self.held.pop(self.pick(at)))

    def double(self, at: float) -> None:
        """Now, and once more in its turn."""
        self.doubles += 1
        self._inbox(self.held[self.pick(at)])

    def drop(self, at: float) -> None:
        self.drops += 1
        del self.held[self.pick(at)]

    def shuffle(self, seed: int) -> None:
        random.Random(seed).shuffle(self.held)

    def damage(self, at: float, how: str) -> None:
        """Change the payload of a held message."""
        number = self.pick(at)
        event = self.held[number]
        if isinstance(event, Arrived):
            self.damages += 1
            self.held[number] = Arrived(event.topic, damaged(event.payload, how))

    def storm(self, chance: random.Random) -> None:
        """One thing or another happens to a third of what is held."""
        found: list[Event] = []
        for event in self.held:
            fate = chance.choice(["drop", "double", "damage", *["pass"] * 6])
            if fate == "damage" and isinstance(event, Arrived):
                event = Arrived(event.topic, damaged(event.payload, chance.choice(DAMAGES)))
            self.drops += fate == "drop"
            self.doubles += fate == "double"
            self.damages += fate == "damage"
            found += [event] * {"drop": 0, "double": 2}.get(fate, 1)
        if chance.random() < 0.3:
            chance.shuffle(found)
        self.held = found

    def lie(self) -> None:
        """Let each message carry the payload of the next one."""
        arrived = [number for number, event in enumerate(self.held) if isinstance(event, Arrived)]
        moved = [self.held[number] for number in arrived[1:] + arrived[:1]]
        for number, other in zip(arrived, moved, strict=True):
            event = self.held[number]
            assert isinstance(event, Arrived)
            assert isinstance(other, Arrived)
            self.held[number] = Arrived(event.topic, other.payload)
        self.damages += len(arrived)


DAMAGES = ("bit", "short", "long", "empty", "zeros")


def damaged(payload: bytes, how: str) -> bytes:
    match how:
        case "bit" if payload:
            return payload[:-1] + bytes([payload[-1] ^ 1])
        case "short":
            return payload[: len(payload) // 2]
        case "long":
            return payload + b"tail"
        case "zeros":
            return bytes(len(payload))
    return b""
