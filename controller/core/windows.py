"""Maintenance windows: when versions may be sent, by the wall clock of the place where the devices are.

Rules upheld here:
- A window that ends at or before its beginning ends on the next day; the day that counts is that on which it begins.
- Where a clock is put forward, a beginning or an end that does not exist is an hour later; where it is put back, a
  window begins at the first of two equal times and ends at the second.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wherry.controller.core.plan import WEEKDAYS, Window
from wherry.controller.errors import Invalid

DAYS_AHEAD = 8
"""Every window begins once a week at least."""


def check(windows: Sequence[Window]) -> None:
    """Raises Invalid for a time zone that nobody knows, and for a window without days."""
    for window in windows:
        _zone(window)
        if not window.days:
            raise Invalid(f"the window {window.begin}–{window.end} is on no day", "name its days, or leave them out")


def is_open(windows: Sequence[Window], now_s: float) -> bool:
    """Whether versions may be sent at `now_s`: always where there are no windows."""
    return not windows or any(begin_s <= now_s < end_s for begin_s, end_s, _ in _around(windows, now_s))


def next_opening(windows: Sequence[Window], now_s: float) -> tuple[float, str] | None:
    """When the next window opens, in seconds since 1970 and in words (`Tue 02:00 Europe/Berlin`); None without any."""
    later = [(begin_s, window) for begin_s, _, window in _around(windows, now_s) if begin_s > now_s]
    if not later:
        return None
    begin_s, window = min(later, key=lambda entry: entry[0])
    return begin_s, f"{datetime.fromtimestamp(begin_s, _zone(window)):%a %H:%M} {window.zone}"


def _around(windows: Sequence[Window], now_s: float) -> Iterator[tuple[float, float, Window]]:
    """Beginnings and ends of all windows from yesterday's on."""
    for window in windows:
        zone = _zone(window)
        today = datetime.fromtimestamp(now_s, UTC).astimezone(zone).date()
        for ahead in range(-2, DAYS_AHEAD + 1):
            day = today + timedelta(days=ahead)
            if WEEKDAYS[day.weekday()] in window.days:
                yield *_span(window, day, zone), window


def _span(window: Window, day: date, zone: ZoneInfo) -> tuple[float, float]:
    begin, end = time.fromisoformat(window.begin), time.fromisoformat(window.end)
    last = day if end > begin else day + timedelta(days=1)
    begin_s = datetime.combine(day, begin, zone).timestamp()
    end_s = max(datetime.combine(last, end, zone).replace(fold=fold).timestamp() for fold in (0, 1))
    return begin_s, end_s


def _zone(window: Window) -> ZoneInfo:
    try:
        return ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(f"no time zone {window.zone!r}", "name one as Europe/Berlin or UTC") from error
