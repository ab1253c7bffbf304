"""The topic tree of protocol v1: `wherry/v1/{fleet}/…`, at most seven slashes.

What goes up and what goes down never share a topic, so that two access patterns fence a device in.
"""

from typing import Literal, get_args

from wherry.protocol.errors import TopicError
from wherry.protocol.types import Struct, is_device_id, is_digest, is_name

ROOT = "wherry/v1"

Up = Literal["status", "birth", "reported", "event", "telemetry", "log", "upload"]
Down = Literal["desired", "action", "receipt"]
UP_KINDS: tuple[str, ...] = get_args(Up)
DOWN_KINDS: tuple[str, ...] = get_args(Down)


class DeviceTopic(Struct, frozen=True, kw_only=True):
    """A parsed topic of one device."""

    fleet: str
    device: str
    direction: Literal["up", "down"]
    kind: str


class BlockTopic(Struct, frozen=True, kw_only=True):
    """A parsed topic of an artifact; `index` is None for its list of hashes."""

    fleet: str
    digest: str
    index: int | None


def up(fleet: str, device: str, kind: Up) -> str:
    return f"{ROOT}/{fleet}/d/{device}/up/{kind}"


def down(fleet: str, device: str, kind: Down) -> str:
    return f"{ROOT}/{fleet}/d/{device}/down/{kind}"


def all_up(fleet: str) -> str:
    """The filter for everything that devices of the fleet send."""
    return f"{ROOT}/{fleet}/d/+/up/+"


def all_down(fleet: str, device: str) -> str:
    """The filter for everything meant for one device, blocks apart."""
    return f"{ROOT}/{fleet}/d/{device}/down/+"


def block(fleet: str, digest: str, index: int) -> str:
    return f"{ROOT}/{fleet}/b/{digest}/{index}"


def hashes(fleet: str, digest: str) -> str:
    return f"{ROOT}/{fleet}/b/{digest}/hashes"


def parse(topic: str) -> DeviceTopic | BlockTopic:
    """Take a topic apart. Raises TopicError for anything that is not in the tree."""
    match topic.split("/"):
        case ["wherry", "v1", fleet, "d", device, ("up" | "down") as direction, kind] if (
            is_name(fleet) and is_device_id(device) and kind in (UP_KINDS if direction == "up" else DOWN_KINDS)
        ):
            return DeviceTopic(fleet=fleet, device=device, direction=direction, kind=kind)
        case ["wherry", "v1", fleet, "b", digest, last] if is_name(fleet) and is_digest(digest):
            if last == "hashes":
                return BlockTopic(fleet=fleet, digest=digest, index=None)
            if last.isascii() and last.isdigit() and len(last) <= 6:
                return BlockTopic(fleet=fleet, digest=digest, index=int(last))
    raise TopicError(f"not a topic of {ROOT}: {topic[:120]!r}")
