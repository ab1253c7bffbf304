"""`/rollouts`: begun, watched, led and stopped; each order is idempotent."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import OnAbort, Positive
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk, Desk
from wherry.controller.http.etags import IfMatch, IfNoneMatch, change, look
from wherry.controller.http.keys import IdempotencyKey
from wherry.controller.http.paging import Cursor, Limit, after, page
from wherry.controller.operations import retry, revisions, rollouts, steering, verdicts
from wherry.controller.operations.revisions import Revision
from wherry.protocol.types import MAX_REASON_CHARS, Struct

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

Filter = Annotated[str | None, Query(max_length=200)]
Why = Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)]


class NewRollout(Struct, frozen=True, kw_only=True):
    """The plan names its `version` by number, or an `alias`, or neither for the newest."""

    plan: AskedPlan
    paused: bool = False


class Because(Struct, frozen=True, kw_only=True):
    reason: Why = ""


class Promotion(Struct, frozen=True, kw_only=True):
    """`wave` is the one to be opened."""

    wave: Positive
    reason: Why = ""


class Abort(Struct, frozen=True, kw_only=True):
    restore: OnAbort = "keep"
    reason: Why = ""


class Overruling(Struct, frozen=True, kw_only=True):
    reason: Annotated[str, msgspec.Meta(min_length=steering.MIN_REASON_CHARACTERS, max_length=MAX_REASON_CHARS)]


@router.post("")
async def start(request: Request, desk: AtDesk, idempotency_key: IdempotencyKey = None) -> Response:
    """Begin a rollout, or plan one that is `paused`: 201. The same request with the same key again: 200.

    409 where another one has a device and the slot, unless the plan says that it is to be queued then.
    """
    body = await read_json(request, NewRollout)
    rollout = await desk.ledger.run(
        rollouts.start, body.plan, paused=body.paused, key=idempotency_key, now_s=desk.now_s(), actor=desk.actor
    )
    desk.helm.wake()
    return answer(rollout, 201 if rollout.created else 200, Location=f"{request.url.path}/{rollout.id}")


@router.post("/explain")
async def explain(request: Request, desk: AtDesk, max_lines: int | None = Query(None, ge=1, le=100_000)) -> Response:
    """What the plan would do now: who would be sent which variant in which wave, and who nothing, and why.

    Nothing is begun. `text` is the same for a person, and names `max_lines` devices of each wave.
    """
    body = await read_json(request, NewRollout)
    found = await desk.ledger.run(rollouts.explain, body.plan, now_s=desk.now_s(), max_lines=max_lines)
    return answer(found)


@router.get("")
async def list_rollouts(
    request: Request,
    desk: AtDesk,
    state: Filter = None,
    kind: Filter = None,
    model: Filter = None,
    slot: Filter = None,
    cursor: Cursor = None,
    limit: Limit = None,
    max_rollouts: int = Query(100, ge=1, le=1000),
) -> Response:
    """Rollouts and rollbacks, newest first, in pages: of one state, kind, model and slot.

    Their `devices` are counted, and listed only where one rollout is asked for. `max_rollouts` is what `limit` was
    called before.
    """
    size = limit or max_rollouts
    found = await desk.ledger.run(
        rollouts.list_rollouts,
        state=state,
        kind=kind,
        model=model,
        slot=slot,
        before_id=after("rollouts", cursor, int),
        max_rollouts=size + 1,
        devices=False,
    )
    return page(request, "rollouts", found, size, lambda entry: entry.id)


@router.get("/{rollout}")
async def get_rollout(rollout: int, desk: AtDesk, if_none_match: IfNoneMatch = None) -> Response:
    """One rollout: state, devices, gates."""
    return await look(desk, if_none_match, _revision(rollout), partial(rollouts.get_rollout, rollout=rollout))


@router.get("/{rollout}/verdicts")
async def list_verdicts(
    rollout: int,
    request: Request,
    desk: AtDesk,
    cursor: Cursor = None,
    limit: Limit = None,
    max_verdicts: int = Query(100, ge=1, le=1000),
) -> Response:
    """What the gates said whenever that changed, newest first, with the numbers that each verdict follows from.

    In pages. `max_verdicts` is what `limit` was called before.
    """
    size, before_id = limit or max_verdicts, after("verdicts", cursor, int)
    found = await desk.ledger.run(verdicts.list_verdicts, rollout, before_id=before_id, max_verdicts=size + 1)
    return page(request, "verdicts", found, size, lambda entry: entry.id)


@router.post("/{rollout}/pause")
async def pause(rollout: int, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Send and promote nothing more; a breach still acts. Idempotent."""
    return await _order(desk, if_match, rollouts.pause, rollout)


@router.post("/{rollout}/resume")
async def resume(rollout: int, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Carry on after a pause. Idempotent."""
    return await _order(desk, if_match, rollouts.resume, rollout)


@router.post("/{rollout}/promote")
async def promote(rollout: int, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Open the next wave although evidence is missing; 409 past a gate that says breach. Idempotent."""
    body = await read_json(request, Promotion)
    return await _order(desk, if_match, steering.promote, rollout, wave=body.wave, reason=body.reason)


@router.post("/{rollout}/hold")
async def hold(rollout: int, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """End it as held: who committed it keeps it, who has not settled gets back what it had. Idempotent."""
    body = await read_json(request, Because)
    return await _order(desk, if_match, steering.hold, rollout, reason=body.reason)


@router.post("/{rollout}/retry")
async def retry_failed(rollout: int, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Send the version again to who failed and does not hold it in quarantine; one that was held is carried on."""
    body = await read_json(request, Because)
    return await _order(desk, if_match, retry.retry_failed, rollout, reason=body.reason)


@router.put("/{rollout}/overrides/{gate}")
async def override(rollout: int, gate: str, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """From now on the gate counts as ok in this rollout. For an emergency, with a reason. Idempotent."""
    body = await read_json(request, Overruling)
    return await _order(desk, if_match, steering.override, rollout, gate, reason=body.reason)


@router.delete("/{rollout}/overrides/{gate}")
async def withdraw_override(rollout: int, gate: str, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Let the gate judge again. Idempotent."""
    return await _order(desk, if_match, steering.withdraw_override, rollout, gate)


@router.post("/{rollout}/abort")
async def abort(rollout: int, request: Request, desk: AtDesk, if_match: IfMatch = None) -> Response:
    """Stop for good. With `restore` keep, who committed it keeps it; revert gives all what they had. Idempotent."""
    body = await read_json(request, Abort)
    return await _order(desk, if_match, rollouts.abort, rollout, restore=body.restore, reason=body.reason)


async def _order(
    desk: Desk, if_match: str | None, operation: Callable[..., object], rollout: int, *args: str, **fields: object
) -> Response:
    """Do it in the name of the caller, where the rollout is as `if_match` says, and have the helm look."""
    who = {"now_s": desk.now_s(), "actor": desk.actor}
    found = await change(desk, if_match, _revision(rollout), operation, rollout, *args, **fields, **who)
    desk.helm.wake()
    return answer(found)


def _revision(rollout: int) -> Revision:
    return partial(revisions.of_rollout, rollout=rollout)
