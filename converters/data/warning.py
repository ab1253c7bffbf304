"""One thing that is suspicious about the data."""

from typing import Literal

from wherry.protocol.types import Struct

Kind = Literal[
    "few-samples", "constant-samples", "constant-channel", "constant-input", "duplicates", "overlap",
    "scaling", "range-narrow", "range-wide", "noise", "channel-order",
    "one-class", "unbalanced", "missing-classes", "class-names",
]  # fmt: skip


class DataWarning(Struct, frozen=True, kw_only=True):
    """`strong`: the version will most likely be bad; otherwise it may be."""

    kind: Kind
    message: str
    fix: str
    strong: bool = False
