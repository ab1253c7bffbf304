"""The gates between two waves: what must hold, one function each.

A gate looks at the evidence and answers in words and numbers; its rule makes ok, wait or breach of the numbers alone,
so that a stored verdict can be made again. All must be ok to promote; one breach stops the rollout. A new gate is one
function, one rule, and one row in each of `GATES` and `rules.RULES`.

Failures are counted over the whole rollout. How the version behaves is asked of the open wave and of each earlier one
by itself, so that none hides another; how far a wave is, and how much was seen, of the open wave alone. A gate that an
operator has overruled is ok, and says what it would have said.
"""

from wherry.controller.core.gates import comparison, conduct, course
from wherry.controller.core.gates.evidence import Answer, Gate, GateResult, WaveEvidence
from wherry.controller.core.gates.rules import OVERRULED, Verdict, verdict_of
from wherry.controller.core.gates.waves import each_wave
from wherry.controller.core.members import Override

__all__ = ["GATES", "GateResult", "Verdict", "WaveEvidence", "judge", "verdict_of"]

GATES: tuple[tuple[str, Gate], ...] = (
    ("failures", course.failures),
    ("crashes", each_wave("crashes", conduct.crashes)),
    ("errors", each_wave("errors", conduct.errors)),
    ("latency", each_wave("latency", comparison.latency)),
    ("memory", each_wave("memory", comparison.memory)),
    ("drift", each_wave("drift", comparison.drift)),
    ("agreement", each_wave("agreement", comparison.agreement)),
    ("accuracy", each_wave("accuracy", conduct.accuracy)),
    ("connection", each_wave("connection", conduct.connection)),
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
    verdict, told = verdict_of(name, answer.known), answer.told
    if verdict == "breach" and answer.blame:
        told = f"{told}: {answer.blame}"
    if override is None or verdict == "ok":
        return GateResult(gate=name, verdict=verdict, reason=told, evidence=answer.known)
    told = f"overruled by {override.actor}: {override.reason}; it said {verdict}: {told}"
    return GateResult(gate=name, verdict="ok", reason=told, evidence={**answer.known, OVERRULED: verdict})
