"""Starts of the agent that no steady time followed: what they are blamed on, and when they are forgotten.

Rules upheld here:
- A start counts against the board until the agent has run for `STEADY_S`. A stop in good order does not count.
- The blame widens: what is attempted first, then the incumbent, then everything, which is safe mode.
- A candidate has its own limit, `TRY_LIMIT` of `recovery`, which is reached first where a candidate is the cause.
- In safe mode a steady run shows only that the agent runs without inference. So of the starts after it one tries
  again what failed, and if that one is cut short, the next is in safe mode: one bad start, not another row of them.
"""

from typing import Literal

STEADY_S = 60.0
"""On the boot clock, with the supervisor's loop turning. Longer than a worker takes to load and serve."""

BLAME_ATTEMPT_AT = 5
"""The start, of those in a row, at which the attempt and the wish are given up."""

BLAME_INCUMBENT_AT = 8
"""The incumbent is left for the last good version, where there is one: of several slots the one that was committed
last, at the next start the one before it, and at the last start before safe mode all."""

BLAME_ALL_AT = 11
"""Nothing is run any more, until an operator asks for something."""

Blame = Literal["nothing", "attempt", "incumbent", "all"]


def blame(unsteady_boots: int) -> Blame:
    """What so many starts in a row without a steady time, this one included, are blamed on."""
    if unsteady_boots >= BLAME_ALL_AT:
        return "all"
    if unsteady_boots >= BLAME_INCUMBENT_AT:
        return "incumbent"
    return "attempt" if unsteady_boots >= BLAME_ATTEMPT_AT else "nothing"


def because(unsteady_boots: int) -> str:
    """The same in words, for events and outcomes."""
    return f"the agent stopped {unsteady_boots - 1} times in a row before it had run for {STEADY_S:g} s"


def steadied(unsteady_boots: int, *, in_safe_mode: bool) -> int:
    """The count once the agent has run for `STEADY_S`, once or many times; `in_safe_mode` where nothing serves."""
    return BLAME_ALL_AT - 2 if in_safe_mode and unsteady_boots >= BLAME_ALL_AT - 2 else 0
