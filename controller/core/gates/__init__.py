"""The gates between two waves: what must hold, one function each.

A gate looks at the evidence and answers ok, wait or breach, with the numbers. All must be ok to promote;
one breach stops the rollout. A new gate is one function and one row in `GATES`.

Failures are counted over the whole rollout; every other figure is that of the open wave, so that good
early waves cannot hide a bad late one. A gate that an operator has overruled is ok, and says what it would have said.
"""

from wherry.controller.core.gates import conduct, course
from wherry.controller.core.gates.evidence import Answer, Gate, GateResult, Verdict, WaveEvidence
from wherry.controller.core.members import Override

__all__ = ["GATES", "GateResult", "Verdict", "WaveEvidence", "judge"]

GATES: tuple[tuple[str, Gate], ...] = (
    ("failures", course.failures),
    ("crashes", conduct.crashes),
    ("errors", conduct.errors),
    ("latency", conduct.latency),
    ("memory", conduct.memory),
    ("drift", conduct.drift),
    ("accuracy", conduct.accuracy),
    ("connection", conduct.connection),
    ("deadline", course.deadline),
    ("settled", course.settled),
    ("devices", course.devices),
    ("inferences", course.inferences),
    ("soak", course.soak),
)
"""In the order in which an operator wants to hear of them."""


def judge(evidence: WaveEvidence) -> tuple[GateResult, ...]:
    """Ask every gate."""
    overruled = {entry.gate: entry for entry in evidence.rollout.overrides}
    return tuple(_result(name, gate(evidence), overruled.get(name)) for name, gate in GATES)


def _result(name: str, answer: Answer, override: Override | None) -> GateResult:
    if override is None or answer.verdict == "ok":
        return GateResult(gate=name, verdict=answer.verdict, reason=answer.reason, evidence=answer.evidence)
    told = f"overruled by {override.actor}: {override.reason}; it said {answer.verdict}: {answer.reason}"
    return GateResult(gate=name, verdict="ok", reason=told, evidence=answer.evidence)
