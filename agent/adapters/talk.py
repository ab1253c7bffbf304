"""How much a process may say: each word is an event in the supervisor's one inbox."""

from time import monotonic


class TalksWithoutEnd(Exception):
    """More words in a second than any honest process has to say."""


class Talk:
    """Counts the words of one process, second by second; for its reading thread."""

    def __init__(self, words_per_s: int) -> None:
        self._words_per_s = words_per_s
        self._second = 0
        self._words = 0

    def word(self) -> None:
        """One more. Raises TalksWithoutEnd."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._words = second, 0
        self._words += 1
        if self._words > self._words_per_s:
            raise TalksWithoutEnd(f"more than {self._words_per_s} messages in a second")
