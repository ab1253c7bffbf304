"""Whether a candidate answers unlike what came before it, in words.

Rules upheld here:
- Nothing is called drift that the chance of so few samples could bring: it is added to the limit. Pictures of one scene
  are alike, so a thousand in a row say less than a thousand from everywhere; how much less is measured on the
  incumbent's own windows, and counted as so many samples fewer.
- Drift has two witnesses. A scene that changed makes a good model unlike the incumbent of an hour ago, and evaluation
  data are like no one board's scene; who is unlike both has drifted. Where one is missing the other needs support:
  without a reference only a narrowing counts (fewer classes, less confidence), for a version that mends a model
  stuck on one class must not be taken back; without an incumbent both measures must be out.
- A reference of one class speaks for nobody: a model that came collapsed from its training agrees with it.
"""

import math
from collections.abc import Callable

import msgspec

from wherry.protocol.distances import OTHERS, Distance, merged, psi, psi_noise, shift, shift_noise
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.profile import CONFIDENCE_BINS, Confidence, Predictions, Profile
from wherry.protocol.types import Count

ONE_CLASS = 0.95
"""Share from which on a reference counts as being of one class."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """How the incumbent answered on this device. The clumping is `clumping` of its windows: 1 where they are alike."""

    samples: Count = 0
    predictions: Predictions = {}
    confidence: Confidence = ()
    prediction_clumping: float = 1.0
    confidence_clumping: float = 1.0


Answers = Profile | Baseline


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which answers can be unlike. `is_narrower` compares a candidate with an incumbent alone."""

    is_known: Callable[[Answers], bool]
    distance: Callable[[Answers, Answers, float, float], Distance]
    clumping: Callable[[Baseline], float]
    is_narrower: Callable[[Answers, Answers], bool]
    words: Callable[[Answers, str], str]


def drifted(limits: HealthLimits, seen: Profile, incumbent: Baseline | None, reference: Profile | None) -> str | None:
    """In which way the candidate has drifted; None where it has not, or too little is known."""
    least = limits.drift_min_inferences
    if seen.samples < least:
        return None
    before = incumbent if incumbent is not None and incumbent.samples >= least else None
    shown = reference if reference is not None and reference.samples >= least and not is_one_class(reference) else None
    unlike = _unlike(PREDICTIONS, limits.prediction_psi, seen, before, shown)
    unsure = _unlike(CONFIDENCE, limits.confidence_shift, seen, before, shown)
    if before is None:
        return f"{unlike}; {unsure}" if unlike and unsure else None
    return unlike or unsure


def is_one_class(profile: Answers) -> bool:
    return max(profile.predictions.values(), default=0) >= ONE_CLASS * profile.samples


def _unlike(
    measure: Measure, limit: float | None, seen: Profile, before: Baseline | None, shown: Profile | None
) -> str | None:
    """How far the candidate is from every witness that knows this measure; None where it is near one."""
    if limit is None or not measure.is_known(seen):
        return None
    worth = 1.0 if before is None else measure.clumping(before)
    witnesses: tuple[tuple[str, Answers | None, float], ...]
    witnesses = (("the incumbent's", before, worth), ("the reference's", shown, 1.0))
    told, chance = [], 0.0
    for name, other, clumped in witnesses:
        if other is None or not measure.is_known(other):
            continue
        found = measure.distance(seen, other, seen.samples / worth, other.samples / clumped)
        if not found.exceeds(limit):
            return None
        told.append(f"{found.value:.3g} from {name} {other.samples}")
        chance = max(chance, found.noise)
    if not told or (len(told) == 1 and before is not None and not measure.is_narrower(seen, before)):
        return None
    return measure.words(seen, f"{' and '.join(told)}, limit {limit:g} and {chance:.2g} for chance")


def _counted(profile: Answers) -> dict[int, int]:
    """With the answers beyond the named classes."""
    named = sum(profile.predictions.values())
    return {**profile.predictions, OTHERS: max(profile.samples - named, 0)}


def _worth(profile: Answers, samples: float) -> dict[int, float]:
    """The counts, of `samples` in all."""
    counts = _counted(profile)
    return {key: count * samples / sum(counts.values()) for key, count in counts.items()}


def _psi(seen: Answers, other: Answers, samples: float, others: float) -> Distance:
    one, two = _worth(seen, samples), _worth(other, others)
    return Distance(psi(one, two), psi_noise(len(merged(one, two)), samples, others))


def _shift(seen: Answers, other: Answers, samples: float, others: float) -> Distance:
    one, two = seen.confidence, other.confidence
    return Distance(shift(one, two), shift_noise(one, two, samples, others))


def _classes(profile: Answers) -> float:
    """The effective number of classes, exp of the entropy of the shares."""
    counts = [count for count in _counted(profile).values() if count]
    shares = [count / sum(counts) for count in counts]
    return math.exp(-sum(share * math.log(share) for share in shares))


def _mean(profile: Answers) -> float:
    """Mean confidence, by the middles of the bins."""
    weighted = sum((index + 0.5) * count for index, count in enumerate(profile.confidence))
    return weighted / CONFIDENCE_BINS / max(sum(profile.confidence), 1)


def _prediction_words(seen: Answers, told: str) -> str:
    top, count = max(seen.predictions.items(), key=lambda item: item[1])
    return f"predictions drifted: class {top} is {count / seen.samples:.1%} of {seen.samples}; PSI {told}"


def _confidence_words(seen: Answers, told: str) -> str:
    return f"confidence drifted: {_mean(seen):.2g} over {seen.samples}; {told}"


PREDICTIONS = Measure(
    is_known=lambda answers: bool(answers.predictions),
    distance=_psi,
    clumping=lambda before: before.prediction_clumping,
    is_narrower=lambda seen, before: _classes(seen) < _classes(before),
    words=_prediction_words,
)
CONFIDENCE = Measure(
    is_known=lambda answers: len(answers.confidence) == CONFIDENCE_BINS,
    distance=_shift,
    clumping=lambda before: before.confidence_clumping,
    is_narrower=lambda seen, before: _mean(seen) < _mean(before),
    words=_confidence_words,
)
