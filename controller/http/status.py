"""`/status`: whether the controller works, and what it is."""

from fastapi import APIRouter
from starlette.responses import Response

import wherry
from wherry.controller.http.bodies import answer
from wherry.controller.http.desk import AtDesk
from wherry.controller.operations import devices
from wherry.controller.store.leader import leader_url

router = APIRouter(prefix="/status", tags=["status"])


@router.get("")
async def get_status(desk: AtDesk) -> Response:
    """`ok` is whether the broker is connected; an answer at all says that the database works.

    Of several controllers on one database, only the one that `leads` connects to the broker.

    Without a token, where one is needed, it says no more than that.
    """
    if desk.caller is None:
        return answer({"ok": desk.session.connected})
    fleet = await desk.ledger.run(devices.list_devices)
    leader = await desk.ledger.run(leader_url)
    session = desk.session
    return answer(
        {
            "ok": session.connected,
            "version": wherry.__version__,
            "fleet": desk.config.fleet,
            "devices": len(fleet),
            "online": sum(device.presence == "online" for device in fleet),
            "leads": desk.lead is not None and desk.lead.leads,
            "leader": leader,
            "broker": {
                "connected": session.connected,
                "protocol": session.protocol.name,
                "connections": session.connections,
                "received": session.received,
                "refused": session.refused + desk.intake.failed,
            },
            "published": sorted(desk.blocks.published),
        }
    )
