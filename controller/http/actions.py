"""`/devices/{device}/actions` and `/logs`: what was ordered of a device, how it was answered, and what it brought."""

import base64
import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from wherry.controller.errors import Invalid
from wherry.controller.http.bodies import BodyTooLarge, answer
from wherry.controller.http.desk import AtDesk, Desk
from wherry.controller.operations import actions, uploads
from wherry.protocol.limits import MAX_UPLOAD_BYTES

router = APIRouter(prefix="/devices/{device}", tags=["devices"])

_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")


@router.get("/actions")
async def list_actions(device: str, desk: AtDesk) -> Response:
    """The newest orders to the device, newest first, each with its answer."""
    return answer(await desk.ledger.run(actions.list_actions, device, now_s=desk.now_s()))


@router.get("/actions/{action_id}")
async def get_action(device: str, action_id: str, desk: AtDesk) -> Response:
    """One order: waiting, done, refused or late, why, and how much of what it brings is here."""
    return answer(await desk.ledger.run(actions.get_action, device, action_id, now_s=desk.now_s()))


@router.put("/logs/{action_id}")
async def put_logs(device: str, action_id: str, request: Request, desk: AtDesk) -> Response:
    """For the device: what it collected for this order, with Repr-Digest (RFC 9530). 201 when new, 200 when there."""
    digest = _named_digest(request.headers.get("repr-digest", ""))
    data = await _read(request)
    new = await desk.ledger.run(uploads.take_whole, device, action_id, data, digest, now_s=desk.now_s())
    return answer({"digest": digest, "size_bytes": len(data)}, 201 if new else 200)


@router.get("/logs/{action_id}")
async def get_logs(device: str, action_id: str, desk: AtDesk) -> Response:
    """What the order brought: a line of JSON an entry, compressed with gzip."""
    whole = await desk.ledger.run(uploads.get_whole, device, action_id)
    coded = base64.b64encode(bytes.fromhex(whole.digest)).decode()
    headers = {"ETag": f'"{whole.digest}"', "Repr-Digest": f"sha-256=:{coded}:"}
    return Response(whole.data, headers=headers, media_type="application/gzip")


def upload_url(desk: Desk, request: Request, device: str, action_id: str) -> str:
    """Where the device can put what it collects: this very port, under the name by which devices know the machine."""
    _, port = request.scope["server"]
    return f"http://{desk.config.url_host}:{port}/api/v1/devices/{device}/logs/{action_id}"


def _named_digest(header: str) -> str:
    found = _DIGEST.search(header)
    if found is None:
        raise Invalid("Repr-Digest with a SHA-256 is missing", "send `Repr-Digest: sha-256=:<base64>:`")
    return base64.b64decode(found[1]).hex()


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_UPLOAD_BYTES:
            raise BodyTooLarge(MAX_UPLOAD_BYTES)
    return bytes(data)
