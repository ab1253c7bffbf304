"""Says each step of a conversion as it begins and how far it is, and remembers how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wherry.protocol.conversion import Progress, Warned


class Steps:
    """`expected` steps are announced; a remedy more only moves the end."""

    def __init__(self, say: Callable[[Progress | Warned], None], expected: int) -> None:
        self._say = say
        self._expected = expected
        self._begun = 0
        self._text = ""
        self.took_s: dict[str, float] = {}

    @contextmanager
    def step(self, text: str, detail: str = "") -> Iterator[None]:
        """One step; what it took is kept under `text` and `detail`."""
        self._begun += 1
        self._expected = max(self._expected, self._begun)
        self._text = f"{text} ({detail})" if detail else text
        self.within(0, 0)
        started = time.monotonic()
        yield
        self.took_s[self._text] = round(self.took_s.get(self._text, 0.0) + time.monotonic() - started, 3)

    def warn(self, message: str) -> None:
        """Something that was found on the way, and that the user should know."""
        self._say(Warned(message=message))

    def within(self, done: int, total: int) -> None:
        """How far the current step is."""
        self._say(Progress(step=self._begun, steps=self._expected, text=self._text, done=done, total=total))
