"""Gates that are asked of the open wave and of each earlier one by itself.

Rules upheld here:
- The gravest answer counts. No wave hides another: good canaries not a bad fleet, nor a good fleet the canaries that
  went bad after the next wave was opened.
- An earlier wave was promoted with the samples that it had, by evidence or by an operator: more are not waited for.
"""

import msgspec

from wherry.controller.core.gates.conduct import worst
from wherry.controller.core.gates.evidence import Answer, Gate, WaveEvidence
from wherry.controller.core.gates.rules import lacks_samples


def each_wave(name: str, gate: Gate) -> Gate:
    """The same gate, asked of every wave that has been opened."""

    def asked(evidence: WaveEvidence) -> Answer:
        before = [(earlier.rollout.wave, gate(earlier)) for earlier in evidence.earlier]
        told = [_of_wave(wave, answer) for wave, answer in before if not lacks_samples(answer.known)]
        return worst(name, [gate(evidence), *told])

    return asked


def _of_wave(wave: int, answer: Answer) -> Answer:
    known = {**answer.known, "wave": wave} if answer.known else answer.known
    return msgspec.structs.replace(answer, told=f"wave {wave}: {answer.told}", known=known)
