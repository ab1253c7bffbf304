"""Keeps the feeder of every slot that has a feed up, and hears what it says.

Rules upheld here:
- A feeder runs as long as the agent does, whoever serves and whether anybody does: it waits for a worker by itself.
- One that ends is started again after a wait with full jitter; one that says nothing for `worker.silence_limit_s`
  hangs, and is killed.
- The same end or remark is not logged again while it was told lately. Of ever new ones few are logged; how many were
  not, stands in the next line.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from wherry.agent.adapters.feeder_process import GRACE_S, FeederEnded, FeederSaid
from wherry.agent.bundle import without_credentials
from wherry.agent.config import ResultsConfig, SlotConfig
from wherry.agent.core.backoff import delay_s
from wherry.agent.feeder.messages import Job
from wherry.agent.services import Feeder, Services
from wherry.agent.timers import Timer

REMARKS = 16
"""Of so many different ones, the feeder's remarks are not logged again. No more are logged within the time below."""

REMARKS_WITHIN_S = 600.0
"""So that whoever makes a feeder remark ever new things does not fill the log."""


class Feeders:
    """`remarked` is told what a slot's feeder remarks, each time: the slot, and the remark."""

    def __init__(self, services: Services, remarked: Callable[[str, str], None]) -> None:
        self._services, self._asked_s = services, 0.0
        self._posts = {
            name: _Post(services, name, slot, partial(remarked, name))
            for name, slot in services.config.slots.items()
            if slot.feed is not None and services.start_feeder is not None
        }

    def start(self) -> None:
        for post in self._posts.values():
            post.start()

    def heard(self, event: FeederSaid | FeederEnded) -> None:
        post = self._posts[event.slot]
        if isinstance(event, FeederEnded):
            post.ended(event.detail)
        else:
            post.said(event)

    def stop(self) -> None:
        """Ask all to leave; `close` follows."""
        self._asked_s = self._services.clock.now_s()
        for post in self._posts.values():
            post.stop()

    def close(self) -> None:
        """Wait until all have left that were asked to, for one grace together, and kill the rest."""
        for post in self._posts.values():
            post.close(max(self._asked_s + GRACE_S - self._services.clock.now_s(), 0.0))


class _Post:
    """The feeder of one slot, one process after another."""

    def __init__(self, services: Services, name: str, slot: SlotConfig, remarked: Callable[[str], None]) -> None:
        assert slot.feed is not None, "without a feed there is no feeder"
        sockets, results = services.config.data_plane.directory, slot.results or ResultsConfig()
        self._job = Job(slot=name, sockets=sockets, feed=slot.feed, results=results)
        self._services, self._remarked = services, remarked
        self._feeder: Feeder | None = None
        self._silence: Timer | None = None
        self._restart: Timer | None = None
        self._failures = 0
        self._since_s = 0.0
        self._told: deque[str] = deque(maxlen=REMARKS)
        self._told_s: deque[float] = deque(maxlen=REMARKS)
        self._not_told = 0
        self._stopping = False

    def start(self) -> None:
        assert self._services.start_feeder is not None
        self._since_s = self._services.clock.now_s()
        self._feeder = self._services.start_feeder(self._job)
        self._listen()

    def said(self, event: FeederSaid) -> None:
        self._listen()
        pulse = event.pulse
        counts = {"passed_over": pulse.passed_over, "dropped": pulse.dropped}
        for remark in pulse.remarks:
            self._tell(remark, {name: count for name, count in counts.items() if count})

    def ended(self, detail: str) -> None:
        self._cancel()
        if self._feeder is not None:
            self._feeder.close()
            self._feeder = None
        if self._stopping:
            return
        limits = self._services.config.worker
        stable = self._services.clock.now_s() - self._since_s >= limits.stable_s
        self._failures = 1 if stable else self._failures + 1
        wait_s = delay_s(
            self._failures, self._services.chance(), base_s=limits.restart_base_s, limit_s=limits.restart_limit_s
        )
        self._tell(f"the feeder ended: {detail}", {})
        self._restart = self._services.timers.after(wait_s, self.start)

    def stop(self) -> None:
        self._stopping = True
        self._cancel()
        if self._feeder is not None:
            self._feeder.stop()

    def close(self, grace_s: float) -> None:
        if self._feeder is not None:
            self._feeder.close(grace_s)

    def _tell(self, told: str, counts: dict[str, int]) -> None:
        remark = without_credentials(told)  # it may become the reason of an event, and a camera's URL may be in it
        self._remarked(remark)
        if remark in self._told:
            return
        now_s = self._services.clock.now_s()
        if len(self._told_s) == REMARKS and now_s - self._told_s[0] < REMARKS_WITHIN_S:
            self._not_told += 1
            return
        left_out = {"not_told": self._not_told} if self._not_told else {}
        self._not_told = 0
        self._told.append(remark)
        self._told_s.append(now_s)
        self._services.log.warning("feed", slot=self._job.slot, reason=remark, **counts, **left_out)

    def _listen(self) -> None:
        self._cancel()
        limit_s = self._services.config.worker.silence_limit_s
        self._silence = self._services.timers.after(limit_s, self._silent)

    def _silent(self) -> None:
        if self._feeder is not None:
            self._feeder.kill("killed because it said nothing for its time limit")

    def _cancel(self) -> None:
        for timer in (self._silence, self._restart):
            if timer is not None:
                timer.cancel()
