"""What time it is at least: the wall clock held up by the floor of `core/time_floor.py`, which outlives restarts.

Rules upheld here:
- The floor is written with every save that happens anyway, and by itself once an hour at most.
- A clock that is kept right is believed only once the agent has run for a while, so that a crash loop under a false
  time server cannot climb.
"""

import msgspec

from wherry.agent.core.boots import STEADY_S
from wherry.agent.core.record import DeviceRecord
from wherry.agent.core.time_floor import TimeFloor
from wherry.agent.errors import StoreError
from wherry.agent.services import Services

LOOK_EVERY_S = 3600.0
"""A power cut forgets no more than this of the time that has passed."""


class Timekeeper:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._floor = TimeFloor(floor_s=services.store.record.floor_s, at_s=services.clock.now_s())
        services.store.stamp = self.stamp

    def begin(self) -> None:
        self._services.timers.after(STEADY_S + LOOK_EVERY_S, self._due)

    def wall_s(self) -> float:
        """Seconds since 1970, never less than the floor; for what must not happen too late."""
        return max(self._services.clock.wall_s(), self._passed().floor_s)

    def look(self) -> None:
        """Let a clock that is kept right lift the floor."""
        self._floor = self._passed()
        if self._services.clock.is_kept_right():
            self._floor = self._floor.told(self._services.clock.wall_s())

    def stamp(self, record: DeviceRecord) -> DeviceRecord:
        """The record with the floor as it is now, for a save."""
        return msgspec.structs.replace(record, floor_s=max(record.floor_s, float(int(self._passed().floor_s))))

    def _passed(self) -> TimeFloor:
        return self._floor.passed(self._services.clock.now_s())

    def _due(self) -> None:
        self._services.timers.after(LOOK_EVERY_S, self._due)
        self.look()
        store = self._services.store
        try:
            store.save(self.stamp(store.record))
        except StoreError as error:
            self._services.log.warning("the time cannot be saved", reason=str(error))
