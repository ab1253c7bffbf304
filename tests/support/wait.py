"""Waiting for a condition with a deadline, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
EVERY_S = 0.02


def wait_until(condition: Callable[[], T], what: str, limit_s: float = 20.0) -> T:
    """The first truthy value of `condition`; fails with `what` after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {limit_s:g} s: {what}"
        time.sleep(EVERY_S)
    return value
