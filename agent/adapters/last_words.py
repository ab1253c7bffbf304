"""The last line that a process said on standard error, kept within a few kilobytes."""

_KEPT_BYTES = 4096
_NOISE = ("INFO:",)
"""Runtimes announce their delegates so; as last words that would accuse the wrong one."""


class LastWords:
    """Keeps the end of a stream; whatever it holds, `line` is short and printable."""

    def __init__(self) -> None:
        self._tail = b""

    def add(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_KEPT_BYTES:]

    @property
    def line(self) -> str:
        """The last line that says something, or an empty string."""
        text = self._tail.decode("utf-8", "replace")
        lines = ("".join(char if char.isprintable() else " " for char in line).strip() for line in text.splitlines())
        return next((line for line in reversed([*lines]) if line and not line.startswith(_NOISE)), "")
