"""Says to the record that the agent runs steadily, or that it was stopped in good order before that.

Rules upheld here:
- One save a start. In safe mode after a crash loop the count stays up, however long, until something serves.
"""

from wherry.agent.core.boots import STEADY_S
from wherry.agent.core.record import DeviceRecord
from wherry.agent.errors import StoreError
from wherry.agent.services import Services
from wherry.agent.timekeeper import Timekeeper


class Steadiness:
    """Call `begin` at the start, and `leave` at a stop in good order."""

    def __init__(self, services: Services, timekeeper: Timekeeper) -> None:
        self._services, self._timekeeper = services, timekeeper
        self._is_steady = False

    def begin(self) -> None:
        self._services.timers.after(STEADY_S, self._steady)

    def leave(self) -> None:
        if not self._is_steady:
            self._save(self._services.store.record.left())

    def _steady(self) -> None:
        """The supervisor's own timer has come round on the boot clock: its loop turns."""
        if not self._is_steady:
            self._is_steady = True
            self._timekeeper.look()
        self._save(self._services.store.record.steadied())
        if self._services.store.record.unsteady_boots:
            self._services.timers.after(STEADY_S, self._steady)

    def _save(self, record: DeviceRecord) -> None:
        try:
            self._services.store.save(record)
        except StoreError as error:
            self._services.log.warning("the count of starts cannot be saved", reason=str(error))
