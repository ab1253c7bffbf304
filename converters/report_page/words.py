"""Figures and names as a person reads them.

A name from a model's file is made harmless for a line of text (no control or direction characters) and short
enough to stand in a table. A figure that is not finite has a word.
"""

import math
import unicodedata
from collections.abc import Sequence
from os.path import commonprefix

from wherry.converters.report import Interval, Scores
from wherry.converters.report_page.parts import NONE, Cell

NAME_CHARS = 36


def clean(text: str) -> str:
    """The text on one line, without characters that control or reorder what is around them."""
    return "".join(" " if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)


def shorten(text: str, chars: int = NAME_CHARS) -> str:
    """Cut out of the middle, as the ends of a tensor's name tell most; its end tells more than its beginning."""
    text = clean(text)
    if len(text) <= chars:
        return text
    head = (chars - 1) // 3
    return f"{text[:head]}…{text[len(text) - (chars - 1 - head) :]}"


def shorten_all(texts: Sequence[str], chars: int = NAME_CHARS) -> list[str]:
    """As `shorten`, but names that would then read alike are cut around the part in which they differ."""
    cleaned = [clean(text) for text in texts]
    alike: dict[str, set[str]] = {}
    for text in cleaned:
        alike.setdefault(shorten(text, chars), set()).add(text)
    return [_window(text, alike[shorten(text, chars)], chars) for text in cleaned]


def _window(text: str, group: set[str], chars: int) -> str:
    if len(group) == 1:
        return shorten(text, chars)
    start = _shared(list(group))
    end = max(len(text) - _shared([other[::-1] for other in group]), start)
    if end - start > chars - 2:
        return f"…{shorten(text[start:], chars - 1)}"
    spare = chars - 2 - (end - start)
    begin = max(start - spare // 2, 0)
    stop = min(begin + chars - 2, len(text))
    return f"{'…' if begin else ''}{text[begin:stop]}{'…' if stop < len(text) else ''}"


def _shared(texts: list[str]) -> int:
    """The length of what all begin with."""
    return len(commonprefix(texts))  # noqa: RUF071 (characters are meant, not folders)


def name_cell(text: str, chars: int = NAME_CHARS, note: str = "", short: str = "") -> Cell:
    """`short` is how it reads beside its like; see `shorten_all`."""
    short = short or shorten(text, chars) or NONE
    return Cell(short, "name", title=text if short != text else "", note=note)


def number_cell(text: str, note: str = "") -> Cell:
    return Cell(text, "number", note=note)


def percent(share: float | None, digits: int = 1) -> str:
    return NONE if share is None or not math.isfinite(share) else f"{share * 100:.{digits}f} %"


def points(difference: float) -> str:
    """The difference of two shares, as `+0.4 points`."""
    rounded = round(difference * 100, 1) + 0.0
    sign = "−" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.1f} points"


def interval(value: Interval | None) -> str:
    """`97.2 % (95.9 to 98.1)`."""
    if value is None:
        return NONE
    return f"{percent(value.share)} ({value.low * 100:.1f} to {value.high * 100:.1f})"


def decibel(snr_db: float | None) -> str:
    if snr_db is None or math.isnan(snr_db):
        return NONE
    if math.isinf(snr_db):
        return "exact" if snr_db > 0 else "no signal"
    return f"{snr_db:.1f} dB"


def figure(value: float | None) -> str:
    """Four significant digits, for values of unknown size."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.4g}"


def milliseconds(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"


def size(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} B"
    return f"{size_bytes / 1024:.1f} KiB" if size_bytes < 1024 * 1024 else f"{size_bytes / 1024 / 1024:.2f} MiB"


def count(value: int) -> str:
    """`1.2 million` where the last digits tell nothing."""
    for unit, least in (("billion", 10**9), ("million", 10**6)):
        if value >= least:
            return f"{value / least:.1f} {unit}"
    return f"{value:,}".replace(",", " ")


def listed(texts: Sequence[str]) -> str:
    """`a, b and c`."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def measure(scores: Scores) -> tuple[str, Interval]:
    """What decides: accuracy with labels, agreement without. An interval of no width where none is known."""
    if scores.accuracy is not None:
        return "accuracy", scores.accuracy
    share = min(max(scores.agreement, 0.0), 1.0)
    return "agreement", scores.agreement_interval or Interval(share=share, low=share, high=share)


def measured(scores: Scores) -> str:
    """The figure that decides, with its interval where it has one."""
    _, value = measure(scores)
    return percent(value.share) if value.low == value.high == value.share else interval(value)
