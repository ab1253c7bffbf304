"""How much is told of the damaged blocks of one blob.

Rules upheld here:
- The first few are told one by one, so that the controller can publish those again; a link that spoils everything must
  not fill the disk with it. The rest is one number at the end.
"""

from collections import Counter

TOLD_OF_A_BLOCK = 2
"""A second time says that asking again did not help."""

TOLD_OF_A_BLOB = 24


class Damage:
    """Of one blob, over one download."""

    def __init__(self) -> None:
        self._told: Counter[int] = Counter()
        self.untold = 0

    def is_worth_telling(self, block: int) -> bool:
        """Whether to tell of this block, which has arrived damaged just now; otherwise it is counted."""
        worth = self._told[block] < TOLD_OF_A_BLOCK and self._told.total() < TOLD_OF_A_BLOB
        if worth:
            self._told[block] += 1
        else:
            self.untold += 1
        return worth

    def was_told(self, block: int) -> bool:
        return self._told[block] > 0
