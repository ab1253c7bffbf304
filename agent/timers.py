"""Calls to be made later, on the supervisor's one thread."""

import heapq
import itertools
from collections.abc import Callable


class Timer:
    """A call that is due at `due_s`; `cancel` may be called at any time."""

    def __init__(self, due_s: float, call: Callable[[], None]) -> None:
        self.due_s = due_s
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self._now_s() + delay_s, call)
        heapq.heappush(self._heap, (timer.due_s, next(self._order), timer))
        return timer

    def wait_s(self, limit_s: float) -> float:
        """How long nothing is due, at most `limit_s`."""
        self._drop_cancelled()
        return min(limit_s, max(0.0, self._heap[0][0] - self._now_s())) if self._heap else limit_s

    def run_due(self) -> None:
        """Make every call that is due, in order. Calls made due by these wait for the next turn."""
        now_s, due = self._now_s(), []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heapq.heappop(self._heap)[2])
        for timer in due:
            if timer.call is not None:
                timer.call()

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
