"""When the next inference of a feed is due."""


class Pacer:
    """A steady beat of `rate_hz` from `start_s` on, on any monotonic clock.

    A beat that is answered late by less than a period shifts nothing, so there is no drift. After a
    longer stall the beat starts anew: what was missed is not caught up in a burst.
    """

    def __init__(self, rate_hz: float, start_s: float) -> None:
        self._period_s = 1.0 / rate_hz
        self.due_s = start_s

    def advance(self, now_s: float) -> None:
        """The beat at `due_s` is being answered at `now_s`."""
        self.due_s = max(self.due_s + self._period_s, now_s)

    def rest(self, now_s: float, pause_s: float) -> None:
        """Nothing to answer: the next beat is `pause_s` from `now_s`."""
        self.due_s = now_s + pause_s
