"""What the HTTP handlers work with, handed to the app as one value."""

import time
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_session import BrokerSession
from wherry.controller.config import ControllerConfig
from wherry.controller.conversions import Conversions
from wherry.controller.errors import Unavailable
from wherry.controller.helm import Helm
from wherry.controller.intake import Intake
from wherry.controller.lead import Lead
from wherry.controller.ledger import Ledger
from wherry.controller.operations.audit import LOCAL
from wherry.controller.operations.tokens import Caller
from wherry.controller.store.leader import leader_url

ACTOR = LOCAL
"""For what nobody in particular has asked for. A handler uses `desk.actor`."""


@dataclass(frozen=True)
class Desk:
    config: ControllerConfig
    ledger: Ledger
    artifacts: ArtifactStore
    session: BrokerSession
    blocks: BlockPublisher
    intake: Intake
    helm: Helm
    conversions: Conversions
    lead: Lead | None = None
    """None where nothing is led: in a desk without a fleet."""
    caller: Caller | None = None
    """Who asks, in the desk that a handler is given; None for nobody known."""

    @property
    def actor(self) -> str:
        """The name for the audit log."""
        return ACTOR if self.caller is None else self.caller.name

    async def require_lead(self) -> None:
        """Raises Unavailable, naming the one that leads, where this controller stands by: it has no broker."""
        if self.lead is not None and not self.lead.leads:
            url = await self.ledger.run(leader_url)
            raise Unavailable("this controller stands by and speaks with no broker", f"ask the one that leads: {url}")

    def now_s(self) -> float:
        return time.time()


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return replace(desk, caller=request.state.caller)


AtDesk = Annotated[Desk, Depends(_desk)]
