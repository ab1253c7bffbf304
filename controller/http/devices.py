"""`/devices`: what they are, what they run, how it went; orders to them."""

import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.query import MAX_CHARACTERS
from wherry.controller.core.targeting import parse_target
from wherry.controller.http import paging
from wherry.controller.http.actions import upload_url
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk, Desk
from wherry.controller.http.keys import IdempotencyKey
from wherry.controller.http.paging import Cursor, Limit, one_more, page
from wherry.controller.operations import devices
from wherry.controller.operations.actions import ID_CHARACTERS, id_of_key, record_action
from wherry.controller.operations.story import story
from wherry.protocol import topics
from wherry.protocol.down.action import Action, ActionKind
from wherry.protocol.types import Digest, Name, Struct

router = APIRouter(prefix="/devices", tags=["devices"])

MAX_S = 366 * 86_400.0
"""No order is valid longer, and no reading goes back further."""


class NewAction(Struct, frozen=True, kw_only=True):
    """An order that the device ignores when it gets it later than `valid_s` from now."""

    kind: ActionKind
    valid_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_S)] = 300.0
    slot: Name | None = None
    artifact: Digest | None = None


class Decommission(Struct, frozen=True, kw_only=True):
    """`reason` is kept in the audit log, and in the device's story."""

    reason: str = ""


@router.get("")
async def list_devices(
    request: Request,
    desk: AtDesk,
    where: str = Query("all", max_length=MAX_CHARACTERS),
    presence: devices.Listed | None = None,
    serving: str | None = Query(None, max_length=200),
    after: str = Query("", max_length=64),
    cursor: Cursor = None,
    limit: int | None = Query(None, ge=1, le=10_000),
) -> Response:
    """The devices that `where` means, as a target or a query, by id, with what each slot runs.

    Those in service; with `presence=decommissioned` the others. Of a `presence`; `serving` a model, a version or an
    alias; `after` an id. All of them, or in pages of `limit`.
    """
    target, start, size = parse_target(where), paging.after("devices", cursor, str) or after, one_more(limit)
    found = await desk.ledger.run(
        devices.list_devices, target, presence=presence, serving=serving, after=start, limit=size
    )
    return page(request, "devices", found, limit, lambda device: device.id)


@router.get("/{device}")
async def get_device(
    device: str, desk: AtDesk, period_s: float = Query(devices.DEFAULT_PERIOD_S, gt=0, le=MAX_S, allow_inf_nan=False)
) -> Response:
    """One device: capability, slots, readings of the last `period_s`, reverts, newest events."""
    return answer(await desk.ledger.run(devices.get_device, device, now_s=desk.now_s(), period_s=period_s))


@router.get("/{device}/events")
async def get_events(
    device: str,
    request: Request,
    desk: AtDesk,
    cursor: Cursor = None,
    limit: Limit = None,
    max_events: int = Query(100, ge=1, le=1000),
) -> Response:
    """What happened, newest first, in pages. `max_events` is what `limit` was called before."""
    size, before_id = limit or max_events, paging.after("events", cursor, int)
    found = await desk.ledger.run(devices.list_events, device, before_id=before_id, max_events=size + 1)
    return page(request, "events", found, size, lambda entry: entry[0], lambda entry: entry[1])


@router.get("/{device}/story")
async def get_story(device: str, desk: AtDesk) -> Response:
    """All that was done to it and that it did, and how each version behaved there. Also of a removed one."""
    return answer(await desk.ledger.run(story, device))


@router.put("/{device}/decommission")
async def decommission(device: str, request: Request, desk: AtDesk) -> Response:
    """Take it out of service although it may speak. Idempotent; after a 503 say it again."""
    await desk.require_lead()
    body = await read_json(request, Decommission)
    found = await desk.ledger.run(
        devices.decommission, device, reason=body.reason, now_s=desk.now_s(), actor=desk.actor
    )
    await desk.session.publish_retained([(topics.down(desk.config.fleet, device, "desired"), b"")])
    desk.helm.wake()
    return answer(found)


@router.delete("/{device}/decommission")
async def recommission(device: str, desk: AtDesk) -> Response:
    """Take it in again: rollouts may mean it from now on. Idempotent."""
    found = await desk.ledger.run(devices.recommission, device, now_s=desk.now_s(), actor=desk.actor)
    desk.helm.wake()
    return answer(found)


@router.delete("/{device}")
async def remove_device(device: str, desk: AtDesk) -> Response:
    """Forget it, here and on the broker, until it is heard from again. Idempotent; after a 503 say it again."""
    await desk.require_lead()
    await desk.ledger.run(devices.remove_device, device, now_s=desk.now_s(), actor=desk.actor)
    await desk.session.publish_retained((topic, b"") for topic in _retained(desk.config.fleet, device))
    desk.helm.wake()
    return answer({"device": device, "removed": True})


@router.post("/{device}/actions")
async def send_action(device: str, request: Request, desk: AtDesk, idempotency_key: IdempotencyKey = None) -> Response:
    """Record the order and publish it: 202, since the device answers with an event that names its id.

    The same with the same key again is the same order: it is published once more, and carried out once.
    """
    await desk.require_lead()
    body = await read_json(request, NewAction)
    now_s = desk.now_s()
    action_id = await _action_id(desk, device, idempotency_key)
    action = Action(
        id=action_id,
        kind=body.kind,
        not_after_s=now_s + body.valid_s,
        slot=body.slot,
        artifact=body.artifact,
        upload_url=upload_url(desk, request, device, action_id) if body.kind == "collect-logs" else None,
    )
    ordered = await desk.ledger.run(record_action, device, action, now_s=now_s, actor=desk.actor)
    await desk.session.publish_action(device, ordered)
    return answer(ordered, 202)


async def _action_id(desk: Desk, device: str, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(ID_CHARACTERS // 2)
    return await desk.ledger.run(id_of_key, device, key, fresh_secret=secrets.token_hex(32))


def _retained(fleet: str, device: str) -> list[str]:
    """What the broker keeps of a device, or for it."""
    said = [topics.up(fleet, device, kind) for kind in ("status", "birth", "reported")]
    return [*said, topics.down(fleet, device, "desired")]
