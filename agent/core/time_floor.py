"""A time that it is certainly not earlier than, for a board that may wake in 1970.

Rules upheld here:
- The floor never falls. It passes with the boot clock, which needs no clock that is right.
- Beyond that it rises only to a wall clock that something keeps right, as the kernel says. A clock that was set by
  hand or by a bad battery moves nothing.
- Even then it rises by no more than `LEAP_S` a day, so that a false time server costs days and not years. Only the
  very first time is taken whole: before it there is nothing to measure a leap by. A person at the board can forget it.
"""

import msgspec

DAY_S = 86_400.0
LEAP_S = 30 * DAY_S
"""A board that was off for a year has caught up after less than two weeks."""


class TimeFloor(msgspec.Struct, frozen=True, kw_only=True):
    """`floor_s` since 1970, as it was at `at_s` of the boot clock; 0 where no time was ever known."""

    floor_s: float
    at_s: float
    credit_s: float = LEAP_S
    """How far it may leap now."""

    def passed(self, now_s: float) -> "TimeFloor":
        """The floor at `now_s` of the boot clock."""
        elapsed_s = max(0.0, now_s - self.at_s)
        credit_s = min(LEAP_S, self.credit_s + LEAP_S * elapsed_s / DAY_S)
        floor_s = self.floor_s + elapsed_s if self.floor_s else 0.0
        return TimeFloor(floor_s=floor_s, at_s=self.at_s + elapsed_s, credit_s=credit_s)

    def told(self, wall_s: float) -> "TimeFloor":
        """The floor once a clock that is kept right has said what time it is."""
        if not self.floor_s:
            return msgspec.structs.replace(self, floor_s=max(0.0, wall_s))
        leap_s = min(max(0.0, wall_s - self.floor_s), self.credit_s)
        return msgspec.structs.replace(self, floor_s=self.floor_s + leap_s, credit_s=self.credit_s - leap_s)
