"""`/conversions`: models converted by the controller, one at a time; asked for, watched and cancelled."""

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from wherry.controller.core.conversion_order import ConversionOrder, check
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.http import pages
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.keys import IdempotencyKey
from wherry.controller.operations import conversions
from wherry.protocol.types import MAX_COUNT

router = APIRouter(prefix="/conversions", tags=["conversions"])


class NewConversion(ConversionOrder, frozen=True, kw_only=True):
    """Each `Input` is `{"digest": "…", "file_name": "net.keras"}`, of a file that was uploaded before.

    Of `file_name` only the suffix counts; `.zip` stands for a directory. `recipe` has the names of variants, as in
    `int8,float16`, or is the text of a recipe in TOML; `options` has the other fields of a conversion request, such
    as `labels`. With a `key`, a name of the client's own choice, the same request again is the same conversion.
    """

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None


@router.post("")
async def create_conversion(request: Request, desk: AtDesk, idempotency_key: IdempotencyKey = None) -> Response:
    """Queue a conversion: 202. With a `key` that was used before: 200, and the conversion that there is.

    The header `Idempotency-Key` is the same as the `key` of the body.
    """
    body = await read_json(request, NewConversion)
    order = msgspec.convert(body, ConversionOrder, from_attributes=True)
    check(order, trusted=desk.config.trust_conversion_code)
    key = _one_key(body.key, idempotency_key)
    found, created = await desk.ledger.run(conversions.create, order, key=key, now_s=desk.now_s(), actor=desk.actor)
    desk.conversions.wake()
    return answer(found, 202 if created else 200, Location=f"{request.url.path}/{found.id}")


def _one_key(in_body: str | None, in_header: str | None) -> str | None:
    """Raises Invalid where they are two."""
    if None not in (in_body, in_header) and in_body != in_header:
        raise Invalid("the key in the body is not the one in the header", "send one of them")
    return in_header if in_body is None else in_body


@router.get("")
async def list_conversions(
    desk: AtDesk,
    max_conversions: int = Query(100, ge=1, le=1000),
    before_id: int | None = Query(None, ge=1, le=MAX_COUNT),
) -> Response:
    """Newest first; to read on, those before the last id that was seen."""
    found = await desk.ledger.run(conversions.list_conversions, max_conversions=max_conversions, before_id=before_id)
    return answer(found)


@router.get("/{conversion}")
async def get_conversion(conversion: int, desk: AtDesk) -> Response:
    """One conversion: state, progress, warnings, the version that it became or why it failed."""
    return answer(await desk.ledger.run(conversions.get, conversion))


@router.get("/{conversion}/log")
async def get_log(conversion: int, desk: AtDesk) -> Response:
    """What the converters said, as text: the newest 256 KiB."""
    await desk.ledger.run(conversions.get, conversion)
    return PlainTextResponse(await asyncio.to_thread(desk.conversions.log(conversion).read))


@router.get("/{conversion}/report.html")
async def get_report_page(conversion: int, desk: AtDesk) -> Response:
    """The report of a refusal as a page for people; 303 to that of the version where one was registered."""
    found = await desk.ledger.run(conversions.get, conversion)
    if found.version is not None:
        return RedirectResponse(f"/api/v1/models/{found.model}/versions/{found.version}/report.html", 303)
    path = desk.conversions.report_page(conversion)
    if not path.is_file():
        raise NotFound(f"conversion {conversion} has no report", f"see `wherry conversions log {conversion}`")
    return pages.html(path)


@router.post("/{conversion}/cancel")
async def cancel(conversion: int, desk: AtDesk) -> Response:
    """End it and leave nothing. Idempotent; 409 where it has succeeded or failed."""
    found = await desk.ledger.run(conversions.cancel, conversion, now_s=desk.now_s(), actor=desk.actor)
    desk.conversions.stop(conversion)
    return answer(found)
