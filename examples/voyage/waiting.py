"""Waiting for a condition with a deadline, and how a step says that it did not come out as told."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
EVERY_S = 0.1


class NotAsTold(Exception):
    """A step of the voyage ended otherwise than it should; the text says how."""


def wait_for(condition: Callable[[], T | None], what: str, limit_s: float = 60.0) -> T:
    """The first truthy value of `condition`. Raises NotAsTold after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise NotAsTold(f"not within {limit_s:g} s: {what}")
        time.sleep(EVERY_S)
    return value


def require(claim: object, otherwise: str) -> None:
    """Raises NotAsTold unless the claim holds."""
    if not claim:
        raise NotAsTold(otherwise)
