"""How the final file answered the evaluation data: what devices hold their own answers against.

Rules upheld here:
- It is of the very file that goes into the package, as a runtime computed it, and of its first output, as on devices.
- Only an output of one score a class has predictions. Of any other there is no reference.
"""

from collections import Counter

from wherry.converters.verify.compare import Reading
from wherry.converters.verify.runtimes import Run
from wherry.protocol.profile import CONFIDENCE_BINS, MAX_CLASSES, Profile
from wherry.protocol.scores import ScoreReader, has_scores


def reference_of(run: Run, first: Reading) -> Profile | None:
    """The answers of `run`, whose first output is read as `first` says."""
    if not first.classes or first.threshold is not None or not has_scores(run.file.outputs):
        return None
    reader = ScoreReader(run.file.outputs[0])
    readings = [reader.read(scores) for scores in run.stored[0]]
    sure = Counter(min(int(reading.confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1) for reading in readings)
    return Profile(
        samples=len(readings),
        predictions=dict(Counter(reading.top for reading in readings).most_common(MAX_CLASSES)),
        confidence=tuple(sure[index] for index in range(CONFIDENCE_BINS)),
    )
