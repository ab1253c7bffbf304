"""When the service manager is told that all is well: only while every slot that should serve has a worker that answers.

Rules upheld here:
- Silence counts from the last answer, or from the moment from which the slot should serve.
- The agent's own remedies (a silent worker is killed, started again after a wait, and given up for the last good
  version) have all had their time before anybody is called from outside.
- Nobody is called for what a restart cannot mend, such as a version that nothing here runs: the other slots serve.
"""

from collections.abc import Iterable, Mapping

import msgspec


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it is now. `heard_s` is when its worker last answered, on the boot clock."""

    slot: str
    should_serve: bool
    heard_s: float


def patience_s(
    *, silence_limit_s: float, load_limit_s: float, restart_limit_s: float, max_failures: int
) -> float:  # fmt: skip
    """How long a slot may be silent: the longest that restarts and one fall-back can take, within their limits."""
    return silence_limit_s + (max_failures + 1) * (load_limit_s + restart_limit_s)


def well_since(before: Mapping[str, float], pulses: Iterable[Pulse], now_s: float) -> dict[str, float]:
    """By slot, when it was last as it should be: answering, or with nothing to serve."""
    return {
        pulse.slot: max(before.get(pulse.slot, now_s), pulse.heard_s) if pulse.should_serve else now_s
        for pulse in pulses
    }


def starved(well_s: Mapping[str, float], now_s: float, limit_s: float) -> tuple[str, ...]:
    """The slots that have been silent for longer than `limit_s`; while there is one, no heartbeat is given."""
    return tuple(slot for slot, at_s in well_s.items() if now_s - at_s > limit_s)
