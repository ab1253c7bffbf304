"""`/rollouts`: begun, watched, led and stopped; each order is idempotent."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.asked_plan import AskedPlan
from wherry.controller.core.plan import OnAbort, Positive
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import AtDesk
from wherry.controller.http.keys import IdempotencyKey
from wherry.controller.operations import retry, rollouts, steering, verdicts
from wherry.protocol.types import MAX_REASON_CHARS, Struct

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

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
async def explain(request: Request, desk: AtDesk) -> Response:
    """What the plan would do now, as text; nothing is begun."""
    body = await read_json(request, NewRollout)
    return answer({"text": await desk.ledger.run(rollouts.explain, body.plan)})


@router.get("")
async def list_rollouts(desk: AtDesk, max_rollouts: int = Query(100, ge=1, le=1000)) -> Response:
    """Rollouts and rollbacks, newest first."""
    return answer(await desk.ledger.run(rollouts.list_rollouts, max_rollouts=max_rollouts))


@router.get("/{rollout}")
async def get_rollout(rollout: int, desk: AtDesk) -> Response:
    """One rollout: state, devices, gates."""
    return answer(await desk.ledger.run(rollouts.get_rollout, rollout))


@router.get("/{rollout}/verdicts")
async def list_verdicts(rollout: int, desk: AtDesk, max_verdicts: int = Query(100, ge=1, le=1000)) -> Response:
    """What the gates said whenever that changed, newest first, with the numbers that each verdict follows from."""
    return answer(await desk.ledger.run(verdicts.list_verdicts, rollout, max_verdicts=max_verdicts))


@router.post("/{rollout}/pause")
async def pause(rollout: int, desk: AtDesk) -> Response:
    """Send and promote nothing more; a breach still acts. Idempotent."""
    return answer(await desk.ledger.run(rollouts.pause, rollout, now_s=desk.now_s(), actor=desk.actor))


@router.post("/{rollout}/resume")
async def resume(rollout: int, desk: AtDesk) -> Response:
    """Carry on after a pause. Idempotent."""
    found = await desk.ledger.run(rollouts.resume, rollout, now_s=desk.now_s(), actor=desk.actor)
    desk.helm.wake()
    return answer(found)


@router.post("/{rollout}/promote")
async def promote(rollout: int, request: Request, desk: AtDesk) -> Response:
    """Open the next wave although evidence is missing; 409 past a gate that says breach. Idempotent."""
    body = await read_json(request, Promotion)
    found = await desk.ledger.run(
        steering.promote, rollout, wave=body.wave, reason=body.reason, now_s=desk.now_s(), actor=desk.actor
    )
    desk.helm.wake()
    return answer(found)


@router.post("/{rollout}/hold")
async def hold(rollout: int, request: Request, desk: AtDesk) -> Response:
    """End it as held: who committed it keeps it, who has not settled gets back what it had. Idempotent."""
    body = await read_json(request, Because)
    found = await desk.ledger.run(steering.hold, rollout, reason=body.reason, now_s=desk.now_s(), actor=desk.actor)
    desk.helm.wake()
    return answer(found)


@router.post("/{rollout}/retry")
async def retry_failed(rollout: int, request: Request, desk: AtDesk) -> Response:
    """Send the version again to who failed and does not hold it in quarantine; one that was held is carried on."""
    body = await read_json(request, Because)
    found = await desk.ledger.run(retry.retry_failed, rollout, reason=body.reason, now_s=desk.now_s(), actor=desk.actor)
    desk.helm.wake()
    return answer(found)


@router.put("/{rollout}/overrides/{gate}")
async def override(rollout: int, gate: str, request: Request, desk: AtDesk) -> Response:
    """From now on the gate counts as ok in this rollout. For an emergency, with a reason. Idempotent."""
    body = await read_json(request, Overruling)
    found = await desk.ledger.run(
        steering.override, rollout, gate, reason=body.reason, now_s=desk.now_s(), actor=desk.actor
    )
    desk.helm.wake()
    return answer(found)


@router.delete("/{rollout}/overrides/{gate}")
async def withdraw_override(rollout: int, gate: str, desk: AtDesk) -> Response:
    """Let the gate judge again. Idempotent."""
    found = await desk.ledger.run(steering.withdraw_override, rollout, gate, now_s=desk.now_s(), actor=desk.actor)
    desk.helm.wake()
    return answer(found)


@router.post("/{rollout}/abort")
async def abort(rollout: int, request: Request, desk: AtDesk) -> Response:
    """Stop for good. With `restore` keep, who committed it keeps it; revert gives all what they had. Idempotent."""
    body = await read_json(request, Abort)
    found = await desk.ledger.run(
        rollouts.abort, rollout, restore=body.restore, reason=body.reason, now_s=desk.now_s(), actor=desk.actor
    )
    desk.helm.wake()
    return answer(found)
