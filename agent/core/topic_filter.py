"""Topics and filters of MQTT, as far as a configuration can be wrong about them.

Rules upheld here:
- `+` stands for one level and `#` for all that follow, each alone in its level; a filter that begins with either does
  not match topics that begin with `$`.
- Of a shared subscription, `$share/<group>/<filter>`, it is the filter that counts.
"""

MAX_BYTES = 65_535


def is_topic(text: str) -> bool:
    """Whether a message can be published there."""
    return _fits(text) and not set("+#") & set(text)


def is_filter(text: str) -> bool:
    """Whether it can be subscribed to."""
    *before, last = _levels(text)
    return _fits(text) and all(_is_level(level) for level in before) and (last == "#" or _is_level(last))


def matches(filter_: str, topic: str) -> bool:
    """Whether a subscription to `filter_` gets what is published on `topic`; both are right in themselves."""
    wanted, levels = _levels(filter_), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def _levels(filter_: str) -> list[str]:
    levels = filter_.split("/")
    return levels[2:] if levels[0] == "$share" and len(levels) > 2 else levels


def _is_level(text: str) -> bool:
    return text == "+" or not set("+#") & set(text)


def _fits(text: str) -> bool:
    return bool(text) and "\0" not in text and len(text.encode()) <= MAX_BYTES
