"""Which blocks of a blob to ask for next, over which transport, and what an arriving block means.

Rules upheld here:
- Blocks are asked for in windows; the window is refilled when half of it is empty, so that requests travel in batches.
- A block that arrived damaged twice is asked for over HTTP. A transport on which a window's time passes without a block
  gives way to the other one, and so does MQTT where two connections in a row brought nothing.
- HTTP that failed is given time before it is asked again, and MQTT is asked meanwhile: until it fails in its turn where
  it has been heard, no longer than that time where it has not.
- Each silence may last twice as long as the one before, until blocks come quickly again: asking a slow link again
  and again only fills it with what is on its way already.
- A damaged block counts once for each time that it was asked for, so nobody can end a transfer by shouting.
- A transfer gives up on a block that stays damaged, and when nothing arrives for long.
- A verified block is never asked for again, whatever happens to either transport.
"""

from typing import Literal

import msgspec

Transport = Literal["mqtt", "http"]
Receipt = Literal["verified", "repaired", "damaged", "duplicate", "unasked"]
"""`repaired` is verified after having been damaged; `unasked` is damaged and was not on its way."""

MAX_PATIENCE = 4
"""Doublings of the time that silence may last: 80 s at the default, for a link of a kilobyte a second."""

BARREN_SESSIONS = 2
"""Connections in a row without a block, after which MQTT is not waited for any longer."""


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
    """A blob on its way. `have` is a bitmap: bit i is set where block i is verified and kept.

    `turn` is the transport that undamaged blocks are asked for over. `mqtt_is_silent` once it gave way, until it brings
    a block. `patience` counts doublings of the time that
    silence may last, `barren_sessions` connections to the broker since its last block.
    """

    blocks: int
    have: int = 0
    asked: dict[int, Asked] = {}
    damaged: dict[int, int] = {}
    not_before_s: dict[int, float] = {}
    turn: Transport = "mqtt"
    mqtt_is_silent: bool = False
    http_failures: int = 0
    http_not_before_s: float = 0.0
    patience: int = 0
    barren_sessions: int = 0
    progress_s: float

    @property
    def complete(self) -> bool:
        return self.have.bit_count() == self.blocks

    def has(self, index: int) -> bool:
        return bool(self.have >> index & 1)


def begin(blocks: int, have: int, now_s: float, turn: Transport = "mqtt") -> Transfer:
    """`turn` is HTTP where MQTT was silent already."""
    return Transfer(blocks=blocks, have=have, progress_s=now_s, turn=turn, mqtt_is_silent=turn == "http")


def plan(transfer: Transfer, now_s: float, pace: Pace, *, http: bool) -> tuple[Transfer, tuple[Want, ...]]:
    """Fill the window. `http` says whether that transport is configured."""
    transfer = _without_stalled(transfer, now_s, pace)
    may_use_http = http and transfer.http_not_before_s <= now_s
    if may_use_http and transfer.turn == "mqtt" and transfer.mqtt_is_silent:
        transfer = msgspec.structs.replace(transfer, asked=_over_http(transfer), turn="http")
    if len(transfer.asked) > pace.window_blocks // 2:
        return transfer, ()
    asked = dict(transfer.asked)
    wants = []
    for index in range(transfer.blocks):
        if len(asked) >= pace.window_blocks:
            break
        if index in asked or transfer.has(index) or transfer.not_before_s.get(index, 0.0) > now_s:
            continue
        want = Want(index, _transport(transfer, index, http=may_use_http))
        asked[index] = Asked(want.transport, now_s)
        wants.append(want)
    return msgspec.structs.replace(transfer, asked=asked), tuple(wants)


def received(
    transfer: Transfer, index: int, now_s: float, pace: Pace, *, matches: bool, transport: Transport = "mqtt"
) -> tuple[Transfer, Receipt]:
    """Take note of a block that arrived over `transport`; `matches` says whether its hash is right."""
    if transfer.has(index):
        return transfer, "duplicate"
    asked = transfer.asked.get(index)
    is_expected = asked is not None and asked.transport == transport
    if matches:
        is_quick = asked is not None and now_s - max(asked.since_s, transfer.progress_s) <= pace.stall_s / 2
        return _kept(transfer, index, now_s, transport, is_quick=is_quick), _good(transfer, index)
    if not is_expected:
        return transfer, "unasked"
    count = transfer.damaged.get(index, 0) + 1
    wait_s = 0.0 if count <= 2 else min(pace.retry_limit_s, pace.retry_s * 2.0 ** (count - 3))
    marked = msgspec.structs.replace(
        transfer,
        asked=_without(transfer.asked, index),
        damaged={**transfer.damaged, index: count},
        not_before_s={**transfer.not_before_s, index: now_s + wait_s},
    )
    return marked, "damaged"


def request_failed(transfer: Transfer, index: int, now_s: float, pace: Pace) -> Transfer:
    """HTTP did not give the block: go back to MQTT for a while. What fails together counts as one failure."""
    asked = transfer.asked.get(index)
    if asked is None or asked.transport != "http":
        return transfer
    return _http_failed(msgspec.structs.replace(transfer, asked=_without(transfer.asked, index)), now_s, pace)


def reconnected(transfer: Transfer, now_s: float) -> Transfer:
    """A new session: what was asked of the broker is asked again, and the time offline does not count."""
    kept = _over_http(transfer)
    barren = transfer.barren_sessions + (len(kept) < len(transfer.asked))
    return msgspec.structs.replace(
        transfer,
        asked=kept,
        barren_sessions=barren,
        turn="http" if barren >= BARREN_SESSIONS else transfer.turn,
        mqtt_is_silent=transfer.mqtt_is_silent or barren >= BARREN_SESSIONS,
        progress_s=now_s,
    )


def hopeless(transfer: Transfer, now_s: float, pace: Pace) -> str | None:
    """Why to give up; None while there is hope."""
    for index, count in transfer.damaged.items():
        if count >= pace.max_damaged and not transfer.has(index):
            return f"block {index} arrived damaged {count} times"
    if now_s - transfer.progress_s > pace.give_up_s:
        return f"no block arrived for {pace.give_up_s:g} s, {transfer.have.bit_count()} of {transfer.blocks} are here"
    return None


def _good(transfer: Transfer, index: int) -> Receipt:
    return "repaired" if index in transfer.damaged else "verified"


def _kept(transfer: Transfer, index: int, now_s: float, transport: Transport, *, is_quick: bool) -> Transfer:
    over_http = transport == "http"
    return msgspec.structs.replace(
        transfer,
        have=transfer.have | 1 << index,
        asked=_without(transfer.asked, index),
        http_failures=0 if over_http else transfer.http_failures,
        http_not_before_s=0.0 if over_http else transfer.http_not_before_s,
        barren_sessions=transfer.barren_sessions if over_http else 0,
        mqtt_is_silent=transfer.mqtt_is_silent and over_http,
        patience=max(0, transfer.patience - is_quick),
        progress_s=now_s,
    )


def _http_failed(transfer: Transfer, now_s: float, pace: Pace) -> Transfer:
    if now_s < transfer.http_not_before_s:
        return msgspec.structs.replace(transfer, turn="mqtt")
    failures = transfer.http_failures + 1
    wait_s = min(pace.retry_limit_s, pace.retry_s * 2.0 ** min(failures - 1, 10))
    return msgspec.structs.replace(
        transfer, turn="mqtt", http_failures=failures, http_not_before_s=now_s + wait_s, barren_sessions=0
    )


def _transport(transfer: Transfer, index: int, *, http: bool) -> Transport:
    return "http" if http and (transfer.turn == "http" or transfer.damaged.get(index, 0) >= 2) else "mqtt"


def _over_http(transfer: Transfer) -> dict[int, Asked]:
    return {index: asked for index, asked in transfer.asked.items() if asked.transport == "http"}


def _without(asked: dict[int, Asked], index: int) -> dict[int, Asked]:
    return {key: value for key, value in asked.items() if key != index}


def _without_stalled(transfer: Transfer, now_s: float, pace: Pace) -> Transfer:
    """Forget requests that nothing came of; they are asked again, over the other transport."""
    limit_s = pace.stall_s * 2.0**transfer.patience
    late = {
        index: asked.transport
        for index, asked in transfer.asked.items()
        if now_s - max(asked.since_s, transfer.progress_s) > limit_s
    }
    if not late:
        return transfer
    left = {index: asked for index, asked in transfer.asked.items() if index not in late}
    transfer = msgspec.structs.replace(transfer, asked=left, patience=min(MAX_PATIENCE, transfer.patience + 1))
    if "mqtt" in late.values():
        return msgspec.structs.replace(transfer, turn="http", mqtt_is_silent=True)
    return _http_failed(transfer, now_s, pace)
