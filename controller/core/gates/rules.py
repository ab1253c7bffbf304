"""From numbers to verdicts: one pure rule for each gate, and nothing else decides.

Rules upheld here:
- A verdict follows from the numbers that are stored beside it: whoever asks the rule again gets it again.
- A figure with an interval is a breach where all of the interval is over the limit, and is waited for where the figure
  is over it and a part of the interval is not. Too few samples are never a breach.
- No numbers mean that there is nothing to judge: ok.
"""

from collections.abc import Callable, Mapping
from typing import Literal

Verdict = Literal["ok", "wait", "breach"]
Numbers = Mapping[str, float | bool | str]
Rule = Callable[[Numbers], Verdict]

OVERRULED = "overruled"
"""Among the numbers of a gate that an operator has overruled: what it would have said."""


def verdict_of(gate: str, known: Numbers) -> Verdict:
    """What the gate says to these numbers. Raises KeyError for an unknown gate."""
    rule = RULES[gate]
    return "ok" if not known or OVERRULED in known else rule(known)


def lacks_samples(known: Numbers) -> bool:
    """Whether there is no figure yet, or one of too few inferences to be judged."""
    return bool(known) and ("value" not in known or ("samples" in known and _are_few(known)))


def _at_most(known: Numbers) -> Verdict:
    """Whether the figure is over the limit, as far as can be told."""
    if _of(known, "low") > _of(known, "limit"):
        return "breach"
    return "wait" if _of(known, "value") > _of(known, "limit") else "ok"


def _at_least(known: Numbers) -> Verdict:
    """Whether the figure is under what it should reach, as far as can be told."""
    if _of(known, "high") < _of(known, "limit"):
        return "breach"
    return "wait" if _of(known, "value") < _of(known, "limit") else "ok"


def _over(known: Numbers) -> Verdict:
    return "breach" if _of(known, "value") > _of(known, "limit") else "ok"


def _reached(known: Numbers) -> Verdict:
    return "ok" if _of(known, "value") >= _of(known, "needed") else "wait"


def _errors(known: Numbers) -> Verdict:
    found = _at_most(known)
    return "wait" if found == "breach" and _are_few(known) else found


def _latency(known: Numbers) -> Verdict:
    if _are_few(known):
        return "wait"
    return _at_most(known) if _of(known, "p95_ms") > _of(known, "floor_ms") else "ok"


def _sampled(known: Numbers) -> Verdict:
    return "wait" if _are_few(known) else _at_most(known)


def _agreement(known: Numbers) -> Verdict:
    """A device compares once, so that no more comes once the wave is over."""
    return "wait" if _are_few(known) else _at_the_end(_at_least(known), known)


def _accuracy(known: Numbers) -> Verdict:
    if _are_few(known):
        return "wait"
    return _at_least(known) if known["at_least"] else _at_most(known)


def _memory(known: Numbers) -> Verdict:
    return "wait" if not _of(known, "devices") else _over(known)


def _of_devices(known: Numbers) -> Verdict:
    """Devices are few, and once the wave is over no more come: then the figure itself is held to the limit."""
    return _at_the_end(_at_most(known), known)


def _at_the_end(found: Verdict, known: Numbers) -> Verdict:
    """Once the wave is over there is nothing to wait for."""
    return "breach" if found == "wait" and known["is_over"] else found


def _connection(known: Numbers) -> Verdict:
    """`lost` are also those that may still come back in time."""
    found = _of_devices(known)
    too_many = _of(known, "lost") > _of(known, "limit") * _of(known, "of")
    return "wait" if found == "ok" and too_many else found


def _settled(known: Numbers) -> Verdict:
    return "wait" if _of(known, "pending") else "ok"


def _devices(known: Numbers) -> Verdict:
    if _of(known, "value") >= _of(known, "needed"):
        return "ok"
    return "wait" if _of(known, "possible") >= _of(known, "needed") else "breach"


def _deadline(known: Numbers) -> Verdict:
    return "ok" if _of(known, "left_s") > 0 else "breach"


def _are_few(known: Numbers) -> bool:
    return _of(known, "samples") < _of(known, "needed")


def _of(known: Numbers, name: str) -> float:
    return float(known[name])


RULES: Mapping[str, Rule] = {
    "failures": _over,
    "crashes": _of_devices,
    "errors": _errors,
    "latency": _latency,
    "memory": _memory,
    "drift": _sampled,
    "agreement": _agreement,
    "accuracy": _accuracy,
    "connection": _connection,
    "deadline": _deadline,
    "settled": _settled,
    "devices": _devices,
    "inferences": _reached,
    "soak": _reached,
}
