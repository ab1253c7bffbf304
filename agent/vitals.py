"""What is known of a slot's worker just now, for the heartbeat and for the person at the board."""

from wherry.agent.adapters.clock import Clock
from wherry.agent.measures import Past
from wherry.agent.worker.messages import Window


class Vitals:
    """`heard_s` is on the boot clock, `phase_since_s` on the wall clock. Counts are since the agent started."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._past = Past()
        self.heard_s = clock.now_s()
        self.phase_since_s = clock.wall_s()
        self.inferences = self.errors = self.rss_bytes = 0

    def heard(self, window: Window) -> None:
        """The worker that serves, or the candidate on probation, has said its window."""
        self.heard_s = self._clock.now_s()
        self.inferences += window.inferences
        self.errors += window.errors
        self.rss_bytes = window.rss_bytes
        self._past.add(window)

    def moved(self) -> None:
        """The slot has come to another phase; what was measured belongs to the one before."""
        self.phase_since_s = self._clock.wall_s()
        self._past.clear()

    def p95_ms(self) -> float | None:
        """Over the last minute or so of this phase."""
        return self._past.p95_ms()
