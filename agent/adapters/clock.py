"""Time: the boot clock for intervals, which also runs while the board sleeps, and the wall clock for stamps."""

import ctypes
import time

_TIMEX_BYTES = 512
"""More than the kernel's `struct timex`; all zeros ask and set nothing."""

_TIME_ERROR = 5


class Clock:
    def now_s(self) -> float:
        """Seconds since boot; never steps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_s(self) -> float:
        """Seconds since 1970, as far as this board knows."""
        return time.time()

    def is_kept_right(self) -> bool:
        """Whether something keeps the wall clock right (NTP, PTP, GPS), as far as the kernel knows."""
        try:
            state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        except (OSError, AttributeError):
            return False
        return 0 <= state < _TIME_ERROR
