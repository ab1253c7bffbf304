"""A steady stream of requests through the client, each with the time at which it was due.

Rules upheld here:
- A request is due by the clock, whether or not the one before has been answered, and its latency counts from then: a
  server that stands still for a moment is not asked less, and does not look better for it.
- Whatever a request raises, it counts as dropped, and its client asks on.
"""

import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from benchmarks.form import Failed
from wherry.agent.client import Client

CLIENTS = 4
"""Each with a connection of its own, and a share of the rate."""

TIMEOUT_S = 20.0

WHOLE = 0.95
"""Of the requests that were due: with fewer the agent was asked less than is said."""


@dataclass(frozen=True)
class Asked:
    """`due_s` on the clock of `time.perf_counter`. `version` is that of the answer; None where there was none."""

    due_s: float
    latency_s: float
    version: int | None


class Load:
    """Runs in the `with` block. `asked` grows; read it from any thread."""

    def __init__(self, sockets: Path, sample: npt.NDArray[np.int8], rate_hz: float) -> None:
        self.asked: list[Asked] = []
        self.failures: list[str] = []
        self._sockets, self._sample, self._every_s = sockets, sample, CLIENTS / rate_hz
        self._leave = threading.Event()
        self._rate_hz, self._end_s = rate_hz, float("inf")
        self._start_s = start_s = time.perf_counter()
        self._threads = [
            threading.Thread(target=self._ask, args=(start_s + number / rate_hz,), daemon=True)
            for number in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_s = time.perf_counter()
        self._leave.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def require_whole(self) -> None:
        """After the block. Raises Failed where far fewer were asked than were due: a figure would stand for less."""
        due = (self._end_s - self._start_s) * self._rate_hz
        if len(self.asked) < WHOLE * due:
            raise Failed(f"{due:.0f} requests were due, and {len(self.asked)} were asked")

    def between(self, from_s: float, to_s: float) -> list[Asked]:
        return [one for one in list(self.asked) if from_s <= one.due_s < to_s]

    def first_of(self, version: int) -> float | None:
        """When the first answer of `version` arrived, if one has."""
        arrived_s = [one.due_s + one.latency_s for one in list(self.asked) if one.version == version]
        return min(arrived_s, default=None)

    def _ask(self, first_s: float) -> None:
        with Client(directory=self._sockets, timeout_s=TIMEOUT_S) as client:
            for number in itertools.count():
                due_s = first_s + number * self._every_s
                if self._leave.wait(max(due_s - time.perf_counter(), 0.0)):
                    return
                self._note(client, due_s)

    def _note(self, client: Client, due_s: float) -> None:
        version: int | None = None
        try:
            version = client.infer(self._sample).version
        except Exception as error:  # noqa: BLE001 - whatever it is, the request was dropped, and the next one is due
            self.failures.append(f"{type(error).__name__}: {error}")
        self.asked.append(Asked(due_s, time.perf_counter() - due_s, version))
