"""Keeps the incumbent's worker up: started, restarted after a wait, and given up when it fails too often.

Rules upheld here:
- Only what the worker did counts as a failure. Where the board cannot start it, that is tried for ever.
"""

from collections.abc import Callable

from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.core.announce import Notice
from wherry.agent.core.backoff import delay_s
from wherry.agent.core.record import SlotRecord
from wherry.agent.core.slot import SlotEvent, exhausted, knows
from wherry.agent.crew import Crew
from wherry.agent.errors import Shortage, StoreError
from wherry.agent.launch import Launch, NotRunnable, prepare
from wherry.agent.seat import Hooks, Seat
from wherry.agent.services import Services
from wherry.agent.timers import Timer
from wherry.agent.worker.messages import Window


class Incumbent:
    """`slot` gives the record as it is now. `failures` counts those in a row.

    `is_runnable` is whether something here runs the version, as of the last try.
    """

    def __init__(
        self,
        services: Services,
        crew: Crew,
        name: str,
        *,
        slot: Callable[[], SlotRecord],
        happen: Callable[[SlotEvent], None],
        note: Callable[[Notice], None],
        window: Callable[[Window], None],
    ) -> None:
        self._services, self._crew, self._name, self._slot = services, crew, name, slot
        self._happen, self._note, self._window = happen, note, window
        self._seat: Seat | None = None
        self._restart: Timer | None = None
        self._stable: Timer | None = None
        self.failures = self._prevented = 0
        self._obstacle = ""
        self.is_runnable = True

    @property
    def pid(self) -> int | None:
        return None if self._seat is None else self._seat.pid or None

    @property
    def samples(self) -> SampleFile | None:
        """What it was asked of late; None where nothing is kept."""
        return None if self._seat is None else self._seat.samples

    def start(self) -> None:
        """Start the worker of what the record names, unless it is up, or failed for good."""
        self._cancel()
        self.is_runnable = True
        slot = self._slot()
        if self._seat is not None:
            if self._seat.stage == "serving" and knows(slot.state, "serving-up"):
                self._happen(SlotEvent("serving-up"))
            return
        if slot.incumbent is None or slot.incumbent_failed:
            if slot.state == "rolling-back":
                self._happen(SlotEvent("nothing-to-restore"))
            return
        try:
            launch = prepare(self._services, self._name, slot.incumbent, with_golden=False)
        except (NotRunnable, Shortage) as error:
            self.is_runnable = not isinstance(error, NotRunnable)
            self._not_started(str(error))
        except StoreError as error:
            self._happen(SlotEvent("incumbent-damaged", str(error)))
        else:
            self._hire(launch)

    def restart_later(self) -> None:
        """At once after the first failure: somebody waits for an answer. Then after waits that grow."""
        limits = self._services.config.worker
        failures = max(self.failures, self._prevented) - 1
        wait_s = delay_s(
            failures, self._services.chance(), base_s=limits.restart_base_s, limit_s=limits.restart_limit_s
        )
        self._cancel()
        self._restart = self._services.timers.after(wait_s if failures > 0 else 0.0, self.start)

    def stop(self) -> None:
        """Let the worker drain; its end is no failure."""
        self._cancel()
        if self._seat is not None:
            self._seat.stop()
            self._seat = None

    def adopt(self, seat: Seat) -> None:
        """The candidate's worker has become the incumbent's."""
        self.stop()
        seat.hand_to(self._hooks())
        self._seat = seat
        self.failures = self._prevented = 0
        self._obstacle = ""

    def _hooks(self) -> Hooks:
        return Hooks(
            loaded=lambda: self._seat.serve() if self._seat else None,
            tested=lambda _tested: None,
            serving=self._serving,
            window=self._window,
            ended=self._failed,
            not_started=self._not_started,
        )

    def _hire(self, launch: Launch) -> None:
        self._seat = self._crew.hire(self._name, "serving", self._hooks())
        self._seat.load(launch)
        launch.close()

    def _serving(self) -> None:
        if self.failures or self._obstacle:
            self._note(Notice(kind="worker-recovered", ref=self._slot().incumbent))
        self._prevented, self._obstacle = 0, ""
        self._stable = self._services.timers.after(self._services.config.worker.stable_s, self._recovered)
        self._happen(SlotEvent("serving-up"))

    def _recovered(self) -> None:
        self.failures = 0

    def _failed(self, reason: str) -> None:
        self._cancel()
        self._seat = None
        self.failures += 1
        self._note(Notice(kind="worker-crashed", ref=self._slot().incumbent, reason=reason))
        if self.failures >= self._services.config.worker.max_failures and knows(self._slot().state, "nothing-left"):
            failures, self.failures = self.failures, 0
            self._happen(exhausted(self._slot(), f"the worker failed {failures} times in a row; last: {reason}"))
        else:
            self._happen(SlotEvent("serving-down", reason))

    def _not_started(self, reason: str) -> None:
        """Told once for each reason; the wait for the next try grows up to its limit."""
        self._cancel()
        self._seat = None
        self._prevented += 1
        if reason != self._obstacle:
            self._obstacle = reason
            self._note(Notice(kind="error", ref=self._slot().incumbent, reason=f"does not serve: {reason}"))
        self._happen(SlotEvent("serving-prevented", reason))

    def _cancel(self) -> None:
        for timer in (self._restart, self._stable):
            if timer is not None:
                timer.cancel()
