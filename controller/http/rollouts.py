"""`/rollouts`: begun, watched, paused, resumed and aborted; each order is idempotent."""

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from wherry.controller.core.plan import OnAbort, RolloutPlan
from wherry.controller.http.bodies import answer, read_json
from wherry.controller.http.desk import ACTOR, AtDesk
from wherry.controller.operations import rollouts
from wherry.protocol.types import Struct

router = APIRouter(prefix="/rollouts", tags=["rollouts"])


class NewRollout(Struct, frozen=True, kw_only=True):
    plan: RolloutPlan
    paused: bool = False


class Abort(Struct, frozen=True, kw_only=True):
    restore: OnAbort = "keep"


@router.post("")
async def start(request: Request, desk: AtDesk) -> Response:
    """Begin a rollout, or plan one that is `paused`. 409 where a live one has a device and the slot."""
    body = await read_json(request, NewRollout)
    rollout = await desk.ledger.run(rollouts.start, body.plan, paused=body.paused, now_s=desk.now_s(), actor=ACTOR)
    desk.helm.wake()
    return answer(rollout, 201, Location=f"{request.url.path}/{rollout.id}")


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


@router.post("/{rollout}/pause")
async def pause(rollout: int, desk: AtDesk) -> Response:
    """Send and promote nothing more; a breach still acts. Idempotent."""
    return answer(await desk.ledger.run(rollouts.pause, rollout, now_s=desk.now_s(), actor=ACTOR))


@router.post("/{rollout}/resume")
async def resume(rollout: int, desk: AtDesk) -> Response:
    """Carry on after a pause. Idempotent."""
    found = await desk.ledger.run(rollouts.resume, rollout, now_s=desk.now_s(), actor=ACTOR)
    desk.helm.wake()
    return answer(found)


@router.post("/{rollout}/abort")
async def abort(rollout: int, request: Request, desk: AtDesk) -> Response:
    """Stop for good. With `restore` keep, who committed it keeps it; revert gives all what they had. Idempotent."""
    body = await read_json(request, Abort)
    found = await desk.ledger.run(rollouts.abort, rollout, restore=body.restore, now_s=desk.now_s(), actor=ACTOR)
    desk.helm.wake()
    return answer(found)
