"""The real HTTP API on a real port, over a real database and store; the broker is missing, or a `Shelf`."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.support.shelf import Shelf
from tests.support.wait import wait_until
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_process import Address
from wherry.controller.adapters.broker_session import BrokerSession, Heard
from wherry.controller.config import ControllerConfig
from wherry.controller.conversions import Conversions
from wherry.controller.helm import Helm
from wherry.controller.http.app import make_app
from wherry.controller.http.desk import Desk
from wherry.controller.intake import Intake
from wherry.controller.ledger import Ledger
from wherry.controller.service import Server
from wherry.controller.store.database import Database, open_database

FLEET = "test"
LIMIT_BYTES = 1_000_000


@dataclass(frozen=True)
class HttpDesk:
    """`client` has the base URL `/api/v1`; `db` is what the API reads and writes."""

    client: httpx.Client
    db: Database
    artifacts_dir: Path
    port: int

    def left_behind(self) -> list[str]:
        """Names of all files in the artifact store."""
        return sorted(path.name for path in self.artifacts_dir.iterdir())


@contextmanager
def serving(
    data_dir: Path,
    max_artifact_bytes: int = LIMIT_BYTES,
    *,
    shelf: Shelf | None = None,
    converter: Sequence[str] = (),
    **config_values: Any,
) -> Iterator[HttpDesk]:
    """Jobs are converted by the program `converter`; without one they stay queued."""
    config = ControllerConfig(data_dir=data_dir, fleet=FLEET, max_artifact_bytes=max_artifact_bytes, **config_values)
    db = open_database(config.database_place)
    ledger = Ledger(db)
    desk = _desk(config, ledger, shelf, converter)
    server = Server(uvicorn.Config(make_app(desk), port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, desk)), name="http")
    thread.start()
    try:
        wait_until(lambda: server.started, "the HTTP API listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as client:
            yield HttpDesk(client, db, config.artifacts_dir, port)
    finally:
        server.should_exit = True
        thread.join()
        ledger.close()


async def _serve(server: Server, desk: Desk) -> None:
    jobs = asyncio.create_task(desk.conversions.run())
    await server.serve()
    jobs.cancel()
    await asyncio.wait([jobs])


def _desk(config: ControllerConfig, ledger: Ledger, shelf: Shelf | None, converter: Sequence[str]) -> Desk:
    async def handle(_batch: list[Heard]) -> None:
        """Nobody is heard."""

    artifacts = ArtifactStore(config.artifacts_dir)
    woken = asyncio.Event()
    session: Any = shelf or BrokerSession(Address(host="127.0.0.1", port=1), config.fleet, handle, woken.set)
    blocks = BlockPublisher(artifacts, session, config.fleet, config.markers_dir)
    helm = Helm(ledger, session, blocks, woken, artifacts_url="", tick_s=1.0)
    return Desk(
        config=config,
        ledger=ledger,
        artifacts=artifacts,
        session=session,
        blocks=blocks,
        intake=Intake(ledger),
        helm=helm,
        conversions=Conversions(
            ledger,
            artifacts,
            config.conversions_dir,
            workers=config.conversion_workers if converter else 0,
            program=converter,
        ),
    )
