"""Starts of the agent that no steady time followed: what they are blamed on, and when they are forgotten.

Rules upheld here:
- A start counts against the board until the agent has run for `STEADY_S`. A stop in good order does not count.
- The blame widens: what is attempted first, then the incumbent, then everything, which is safe mode.
- A candidate has its own limit, `TRY_LIMIT` of `recovery`, which is reached first where a candidate is the cause.
- In safe mode a steady run shows only that the agent runs without inference. So of the starts after it one tries
  again what failed, and if that one is cut short, the next is in safe mode: one bad start, not another row of them.
- It may have been the supply: the agent tries by itself as well, once after `FIRST_TRIAL_S` in safe mode, and after
  every trial that failed the next one waits twice as long. So nobody is needed, and nothing flips every minute.
"""

from typing import Literal, NamedTuple

STEADY_S = 60.0
"""On the boot clock, with the supervisor's loop turning. Longer than a worker takes to load and serve."""

BLAME_ATTEMPT_AT = 5
"""The start, of those in a row, at which the attempt and the wish are given up."""

BLAME_INCUMBENT_AT = 8
"""The incumbent is left for the last good version, where there is one: of several slots the one that was committed
last, at the next start the one before it, and at the last start before safe mode all."""

BLAME_ALL_AT = 11
"""Nothing is run any more, until an operator asks for something."""

FIRST_TRIAL_S = 3600.0
"""In safe mode, on the boot clock: a supply that has been steady for so long is likely to stay so."""

LAST_TRIAL_S = 24 * 3600.0
"""The wait grows no further."""

Blame = Literal["nothing", "attempt", "incumbent", "all"]

Standing = Literal["serving", "going-back", "asked", "safe-mode", "empty"]
"""How the slots are together. `asked`: what failed does not run, and something else is attempted."""


class Starts(NamedTuple):
    """`unsteady` starts in a row; how often everything was `given_up` since something served steadily."""

    unsteady: int
    given_up: int


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


def started(starts: Starts) -> Starts:
    """One more, before it has shown anything."""
    unsteady = starts.unsteady + 1
    return Starts(unsteady, starts.given_up + (unsteady == BLAME_ALL_AT))


def left(starts: Starts) -> Starts:
    """That start says nothing."""
    return Starts(max(0, starts.unsteady - 1), max(0, starts.given_up - (starts.unsteady == BLAME_ALL_AT)))


def steadied(starts: Starts, standing: Standing) -> Starts:
    """Once the agent has run for `STEADY_S`, once or many times; not while it is `going-back` on trial."""
    if not starts.given_up or standing in ("serving", "empty"):
        return Starts(0, 0)
    if standing == "safe-mode":  # where a trial comes to that, without its having stopped the agent, it failed too
        return Starts(BLAME_ALL_AT - 2, starts.given_up + (starts.unsteady == BLAME_ALL_AT - 1))
    return Starts(0, starts.given_up)


def on_trial(starts: Starts) -> Starts:
    """What failed is tried by the running agent: if it is cut short now, the next start is in safe mode."""
    return Starts(BLAME_ALL_AT - 1, starts.given_up)


def trial_after_s(given_up: int) -> float:
    """How long the agent is in safe mode before it tries by itself."""
    return min(LAST_TRIAL_S, FIRST_TRIAL_S * 2.0 ** min(given_up - 1, 16))
