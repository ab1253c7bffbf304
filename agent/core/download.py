"""Which blocks of a blob to ask for next, over which transport, and what an arriving block means.

Rules upheld here:
- Blocks are asked for in windows; the window is refilled when half of it is empty, so that requests travel in batches.
- A block that arrived damaged twice, or a window in which nothing arrives, is asked for over HTTP.
- A failing transport is given time before it is asked again, and the other one is tried meanwhile.
- A transfer gives up on a block that stays damaged, and when nothing arrives for long.
"""

from typing import Literal

import msgspec

Transport = Literal["mqtt", "http"]
Receipt = Literal["verified", "repaired", "damaged", "duplicate"]
"""`repaired` is verified after having been damaged."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a transfer. `stall_s`: nothing arrived, turn to the other transport. `give_up_s`: fail."""

    window_blocks: int = 16
    stall_s: float = 5.0
    give_up_s: float = 1800.0
    max_damaged: int = 8
    retry_s: float = 1.0
    retry_limit_s: float = 30.0


class Asked(msgspec.Struct, frozen=True):
    transport: Transport
    since_s: float


class Want(msgspec.Struct, frozen=True):
    index: int
    transport: Transport


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A blob on its way. `have` is a bitmap: bit i is set where block i is verified and kept."""

    blocks: int
    have: int = 0
    asked: dict[int, Asked] = {}
    damaged: dict[int, int] = {}
    not_before_s: dict[int, float] = {}
    http_failures: int = 0
    prefer_http: bool = False
    progress_s: float

    @property
    def complete(self) -> bool:
        return self.have.bit_count() == self.blocks

    def has(self, index: int) -> bool:
        return bool(self.have >> index & 1)


def begin(blocks: int, have: int, now_s: float) -> Transfer:
    return Transfer(blocks=blocks, have=have, progress_s=now_s)


def plan(transfer: Transfer, now_s: float, pace: Pace, *, http: bool) -> tuple[Transfer, tuple[Want, ...]]:
    """Fill the window. `http` says whether that transport is configured."""
    transfer = _without_stalled(transfer, now_s, pace, http=http)
    if len(transfer.asked) > pace.window_blocks // 2:
        return transfer, ()
    asked = dict(transfer.asked)
    wants = []
    for index in range(transfer.blocks):
        if len(asked) >= pace.window_blocks:
            break
        if index in asked or transfer.has(index) or transfer.not_before_s.get(index, 0.0) > now_s:
            continue
        want = Want(index, _transport(transfer, index, http=http))
        asked[index] = Asked(want.transport, now_s)
        wants.append(want)
    return msgspec.structs.replace(transfer, asked=asked), tuple(wants)


def received(transfer: Transfer, index: int, now_s: float, pace: Pace, *, matches: bool) -> tuple[Transfer, Receipt]:
    """Take note of a block that arrived; `matches` says whether its hash is right."""
    if transfer.has(index):
        return transfer, "duplicate"
    asked = {key: value for key, value in transfer.asked.items() if key != index}
    if matches:
        kept = msgspec.structs.replace(transfer, have=transfer.have | 1 << index, asked=asked, progress_s=now_s)
        return kept, "repaired" if index in transfer.damaged else "verified"
    count = transfer.damaged.get(index, 0) + 1
    wait_s = 0.0 if count <= 2 else min(pace.retry_limit_s, pace.retry_s * 2.0 ** (count - 3))
    marked = msgspec.structs.replace(
        transfer,
        asked=asked,
        damaged={**transfer.damaged, index: count},
        not_before_s={**transfer.not_before_s, index: now_s + wait_s},
    )
    return marked, "damaged"


def request_failed(transfer: Transfer, index: int, now_s: float, pace: Pace) -> Transfer:
    """HTTP did not give the block: go back to MQTT for a while."""
    failures = transfer.http_failures + 1
    wait_s = min(pace.retry_limit_s, pace.retry_s * 2.0 ** min(failures - 1, 10))
    return msgspec.structs.replace(
        transfer,
        asked={key: value for key, value in transfer.asked.items() if key != index},
        not_before_s={**transfer.not_before_s, index: now_s + wait_s},
        http_failures=failures,
        prefer_http=False,
    )


def reconnected(transfer: Transfer, now_s: float) -> Transfer:
    """A new session: whatever was asked is asked again, and the time offline does not count."""
    return msgspec.structs.replace(transfer, asked={}, progress_s=now_s)


def hopeless(transfer: Transfer, now_s: float, pace: Pace) -> str | None:
    """Why to give up; None while there is hope."""
    for index, count in transfer.damaged.items():
        if count >= pace.max_damaged and not transfer.has(index):
            return f"block {index} arrived damaged {count} times"
    if now_s - transfer.progress_s > pace.give_up_s:
        return f"no block arrived for {pace.give_up_s:g} s, {transfer.have.bit_count()} of {transfer.blocks} are here"
    return None


def _transport(transfer: Transfer, index: int, *, http: bool) -> Transport:
    return "http" if http and (transfer.prefer_http or transfer.damaged.get(index, 0) >= 2) else "mqtt"


def _without_stalled(transfer: Transfer, now_s: float, pace: Pace, *, http: bool) -> Transfer:
    """Forget requests that nothing came of; they are asked again, over HTTP where MQTT was silent."""
    late = {
        index: asked.transport
        for index, asked in transfer.asked.items()
        if now_s - max(asked.since_s, transfer.progress_s) > pace.stall_s
    }
    if not late:
        return transfer
    return msgspec.structs.replace(
        transfer,
        asked={index: asked for index, asked in transfer.asked.items() if index not in late},
        prefer_http=http and "mqtt" in late.values(),
    )
