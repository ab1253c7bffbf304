"""The verdict on a candidate in probation, from what this device has measured.

Rules upheld here:
- A breach needs little evidence and is said at once; a commit needs all of it.
- A reason names the number, the limit and what it was compared with.
- A broker out of reach delays the commit. Where it was in reach with the incumbent and stays away until the deadline,
  the version goes back as unproven: it may be what took the board off the network, and nobody can come to its help
  from afar. A board that was offline before is not held against it.
- Want of evidence is no evidence: a version that nobody asked anything is not called bad, and one that
  was committed on this device before needs no new proof.
"""

import msgspec

from wherry.agent.core.drift import Baseline, drifted
from wherry.agent.core.growth import Point, growth
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.profile import Profile

BREACH_EVIDENCE = 20
"""Inferences after which a quantile or a share is worth judging; fewer where the limits ask for fewer."""

MIB = 1024 * 1024


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen since the switch; what is of the incumbent is None where nothing served before.

    `memory` has the worker's memory by window. `broker_before` is whether the broker was in reach at the switch.
    `remark` is what the slot's feeder said last. `committed_before` is whether this device has
    committed the very version already, and goes back to it.
    """

    elapsed_s: float
    inferences: int
    errors: int
    p95_ms: float | None
    incumbent_p95_ms: float | None
    worker_rss_bytes: int
    memory: tuple[Point, ...] = ()
    answers: Profile = Profile()
    incumbent: Baseline | None = None
    reference: Profile | None = None
    broker_reached: bool
    broker_before: bool = False
    last_error: str = ""
    remark: str = ""
    committed_before: bool = False


class Commit(msgspec.Struct, frozen=True):
    pass


class Wait(msgspec.Struct, frozen=True):
    reason: str


class Breach(msgspec.Struct, frozen=True):
    reason: str


class Unproven(msgspec.Struct, frozen=True):
    """Too little was seen in all the time that there was."""

    reason: str


Verdict = Commit | Wait | Breach | Unproven


def judge(limits: HealthLimits, seen: Evidence) -> Verdict:
    """Whether the candidate stays, goes, or must be watched longer."""
    broken = _memory(limits, seen) or _growth(limits, seen)
    if broken is None and seen.inferences + seen.errors >= enough_to_breach(limits):
        broken = _errors(limits, seen) or _p95(limits, seen) or _p95_ratio(limits, seen)
    broken = broken or drifted(limits, seen.answers, seen.incumbent, seen.reference)
    return Breach(broken) if broken is not None else _proven(limits, seen)


def _proven(limits: HealthLimits, seen: Evidence) -> Verdict:
    """Where nothing speaks against it: whether enough speaks for it."""
    missing = _missing(limits, seen)
    late = seen.elapsed_s > limits.deadline_s
    if missing is not None and late and not seen.committed_before:
        remark = f"; feed: {seen.remark}" if seen.remark else ""
        return Unproven(f"{missing} within {limits.deadline_s:g} s{remark}")
    if missing is not None and not late:
        return Wait(missing)
    if seen.broker_reached:
        return Commit()
    if late and seen.broker_before and not seen.committed_before:
        return Unproven(f"the broker, in reach before the switch, was not reached within {limits.deadline_s:g} s")
    return Wait("the broker was not reached since the switch")


def enough_to_breach(limits: HealthLimits) -> int:
    return min(BREACH_EVIDENCE, max(1, limits.min_inferences // 3))


def _memory(limits: HealthLimits, seen: Evidence) -> str | None:
    limit = limits.worker_memory_bytes
    if limit is None or seen.worker_rss_bytes <= limit:
        return None
    return f"the worker holds {seen.worker_rss_bytes / MIB:.1f} MiB, limit {limit / MIB:.1f}"


def _growth(limits: HealthLimits, seen: Evidence) -> str | None:
    limit, found = limits.worker_growth_bytes, growth(seen.memory)
    if limit is None or found is None or not found.goes_on or found.gained_bytes <= limit:
        return None
    return (
        f"the worker grew by {found.gained_bytes / MIB:.1f} MiB in {found.over_s:.0f} s and goes on, "
        f"limit {limit / MIB:.1f}"
    )


def _errors(limits: HealthLimits, seen: Evidence) -> str | None:
    total = seen.inferences + seen.errors
    share = seen.errors / total
    if share <= limits.error_share:
        return None
    last = f"; last: {seen.last_error}" if seen.last_error else ""
    return f"{seen.errors} of {total} inferences failed ({share:.1%}), limit {limits.error_share:.1%}{last}"


def _p95(limits: HealthLimits, seen: Evidence) -> str | None:
    if limits.p95_ms is None or seen.p95_ms is None or seen.p95_ms <= limits.p95_ms:
        return None
    return f"p95 {seen.p95_ms:.3g} ms, limit {limits.p95_ms:g} ms"


def _p95_ratio(limits: HealthLimits, seen: Evidence) -> str | None:
    if seen.p95_ms is None or not seen.incumbent_p95_ms or seen.p95_ms <= limits.p95_ratio_floor_ms:
        return None
    ratio = seen.p95_ms / seen.incumbent_p95_ms
    if ratio <= limits.p95_ratio:
        return None
    return (
        f"p95 {seen.p95_ms:.3g} ms is {ratio:.3g} times the incumbent's {seen.incumbent_p95_ms:.3g} ms, "
        f"limit {limits.p95_ratio:g}"
    )


def _missing(limits: HealthLimits, seen: Evidence) -> str | None:
    if seen.inferences < limits.min_inferences:
        return f"{seen.inferences} of {limits.min_inferences} inferences"
    if seen.elapsed_s < limits.probation_s:
        return f"{seen.elapsed_s:.0f} of {limits.probation_s:g} s"
    return None
