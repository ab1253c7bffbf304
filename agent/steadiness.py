"""Says to the record that the agent runs steadily, or that it was stopped in good order before that.

Rules upheld here:
- One save a start. In safe mode after a crash loop the count stays up, however long, until something serves.
- After a long time in safe mode what failed is tried once more. That it is tried is on disk before, so that a trial
  that stops the agent is followed by safe mode, and by a longer wait.
"""

from collections.abc import Callable

from wherry.agent.core.boots import STEADY_S, trial_after_s
from wherry.agent.core.record import DeviceRecord
from wherry.agent.errors import StoreError
from wherry.agent.services import Services
from wherry.agent.timekeeper import Timekeeper


class Steadiness:
    """Call `begin` at the start, and `leave` at a stop in good order. `try_again` is for all that is in safe mode."""

    def __init__(self, services: Services, timekeeper: Timekeeper, *, try_again: Callable[[], None]) -> None:
        self._services, self._timekeeper, self._try_again = services, timekeeper, try_again
        self._is_steady = False
        self._resting_since_s = services.clock.now_s()

    def begin(self) -> None:
        self._services.timers.after(STEADY_S, self._come_round)

    def leave(self) -> None:
        if not self._is_steady:
            self._save(self._services.store.record.left())

    def _come_round(self) -> None:
        """The supervisor's own timer has come round on the boot clock: its loop turns."""
        store = self._services.store
        if not store.record.is_on_trial:
            self._steady()
        if store.record.standing != "safe-mode" or not store.record.given_up:
            self._resting_since_s = self._now_s()
        elif self._now_s() - self._resting_since_s >= trial_after_s(store.record.given_up):
            self._try()
        if store.record.unsteady_boots or store.record.given_up:
            self._services.timers.after(STEADY_S, self._come_round)

    def _steady(self) -> None:
        if not self._is_steady:
            self._is_steady = True
            self._timekeeper.look()
        self._save(self._services.store.record.steadied())

    def _try(self) -> None:
        self._save(record := self._services.store.record.on_trial())
        if self._services.store.record.unsteady_boots != record.unsteady_boots:
            return  # not on disk: later, rather than without a way back
        self._is_steady = False
        self._resting_since_s = self._now_s()
        self._try_again()

    def _save(self, record: DeviceRecord) -> None:
        try:
            self._services.store.save(record)
        except StoreError as error:
            self._services.log.warning("the count of starts cannot be saved", reason=str(error))

    def _now_s(self) -> float:
        return self._services.clock.now_s()
