"""How a model answers: its predictions and its confidence, counted. What drift is measured between.

Rules upheld here:
- A prediction is the top class of the first output, where that is one row of scores for two classes or more.
- Confidence is what `scores.py` makes of those scores, in ten equal bins from 0 to 1.
- A model whose output is anything else has neither, and an empty profile.
"""

from typing import Annotated

import msgspec

from wherry.protocol.types import Count, Struct

MAX_CLASSES = 64
"""Of more predicted classes the commonest are named; the others are counted in the total alone."""

CONFIDENCE_BINS = 10

Predictions = Annotated[dict[int, Count], msgspec.Meta(max_length=MAX_CLASSES)]
"""Counts of the top class, by index."""

Confidence = Annotated[tuple[Count, ...], msgspec.Meta(max_length=CONFIDENCE_BINS)]
"""Counts by confidence: bin `i` from `i / 10` to `(i + 1) / 10`. Empty where the model has none."""


class Profile(Struct, frozen=True, kw_only=True):
    """Of `samples` answers, those beyond the classes in `predictions` included."""

    samples: Count = 0
    predictions: Predictions = {}
    confidence: Confidence = ()
