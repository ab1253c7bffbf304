"""Says each step of a conversion as it begins, and remembers how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wherry.protocol.conversion import Progress

STEPS = (
    "read the model and the data",
    "load the model with TensorFlow",
    "convert to float TFLite",
    "compress",
    "run in every installed runtime",
    "judge and write the package",
)


class Steps:
    """The steps must be taken in the order of STEPS."""

    def __init__(self, say: Callable[[Progress], None]) -> None:
        self._say = say
        self.took_s: dict[str, float] = {}

    @contextmanager
    def next(self, detail: str = "") -> Iterator[None]:
        text = STEPS[len(self.took_s)]
        self._say(Progress(step=len(self.took_s) + 1, steps=len(STEPS), text=f"{text}{detail and f' ({detail})'}"))
        started = time.monotonic()
        yield
        self.took_s[text] = round(time.monotonic() - started, 3)
