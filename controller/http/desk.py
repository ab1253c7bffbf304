"""What the HTTP handlers work with, handed to the app as one value."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_session import BrokerSession
from wherry.controller.config import ControllerConfig
from wherry.controller.conversions import Conversions
from wherry.controller.helm import Helm
from wherry.controller.intake import Intake
from wherry.controller.lead import Lead
from wherry.controller.ledger import Ledger

ACTOR = "operator"
"""Until callers are known by name."""


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

    def now_s(self) -> float:
        return time.time()


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]
