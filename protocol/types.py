"""The small types that messages are made of, and the base of all messages."""

import re
from typing import Annotated

import msgspec

_END = r"(?![\s\S])"
"""End of text in Python's and in JSON Schema's regular expressions; `$` admits a newline."""

DEVICE_PATTERN = "^[a-z0-9-]{1,63}" + _END
NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,62}" + _END
DIGEST_PATTERN = "^[0-9a-f]{64}" + _END

MAX_COUNT = 2**53
"""Every JSON library keeps integers up to here exactly, and every database up to beyond."""

MAX_ORDINAL = 2**40
"""Of an epoch or a generation: out of reach by counting, and far from where anything overflows. A device
that obeyed a larger one could never be given a newer document again."""

DeviceId = Annotated[str, msgspec.Meta(pattern=DEVICE_PATTERN, description="Lower case letters, digits, hyphens.")]
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, description="Of a model, variant, slot or fleet.")]
Digest = Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN, description="SHA-256, 64 hexadecimal digits.")]
ActionId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Ordinal = Annotated[int, msgspec.Meta(ge=0, le=MAX_ORDINAL)]
MAX_COMPARED = 100
"""Inputs on which one device compares two versions, at most: none outweighs a fleet."""

ComparedCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_COMPARED)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Reason = Annotated[str, msgspec.Meta(max_length=500)]

MAX_REASON_CHARS = 500


def is_device_id(text: str) -> bool:
    return re.match(DEVICE_PATTERN, text) is not None


def is_name(text: str) -> bool:
    return re.match(NAME_PATTERN, text) is not None


def is_digest(text: str) -> bool:
    return re.match(DIGEST_PATTERN, text) is not None


def clip_reason(text: str) -> str:
    """What a message may carry of `text`: its beginning, which names the cause.

    Bytes of a file's name that are no text, which Python has as lone surrogates, become `\\udce9` and the like.
    """
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message: immutable, unknown fields ignored."""


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """A whole message; `type` names its kind, `v` its version."""

    v: int = 1


class VersionRef(Struct, frozen=True, kw_only=True):
    """One variant of one version, as `digits:3 (int8)`."""

    model: Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    variant: Name
    manifest: Digest
    artifact: Digest

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"
