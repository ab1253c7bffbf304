"""Time: the boot clock for intervals, which also runs while the board sleeps, and the wall clock for stamps."""

import time


class Clock:
    def now_s(self) -> float:
        """Seconds since boot; never steps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_s(self) -> float:
        """Seconds since 1970, as far as this board knows."""
        return time.time()
