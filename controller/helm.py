"""The loop that makes the fleet follow the database: tick the rollouts, publish, repair.

Rules upheld here:
- Publishing follows the commit, and blocks go out before the documents that name them.
- What is committed is published even where a rollout cannot be carried on.
- Whatever fails is found again from the database at the next turn; nothing is kept in memory alone.
- After each new connection everything is published again: a broker may have lost what it retained.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable

import structlog

from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_session import BrokerSession, Heard
from wherry.controller.errors import Unavailable
from wherry.controller.ledger import Ledger
from wherry.controller.operations import desired, retention, rollouts
from wherry.protocol.up import Event, Log, Telemetry, Upload

PRUNE_EVERY_S = 60.0
BUG_PAUSE_S = 1.0
PUBLISHED_TOGETHER = 200
"""Documents between two transactions: so many at most are published once more after a kill."""

QUIET = (Log, Telemetry, Upload)
"""Kinds that can wait for the next regular tick."""

_log = structlog.get_logger(__name__)


class Helm:
    """Steers by the database. `wake` asks for a turn at once; `note` picks what matters from messages.

    A document that its device has still not accepted is published again every `republish_after_s`.
    """

    def __init__(
        self,
        ledger: Ledger,
        session: BrokerSession,
        blocks: BlockPublisher,
        woken: asyncio.Event,
        *,
        artifacts_url: str,
        tick_s: float,
        republish_after_s: float = desired.REPUBLISH_AFTER_S,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._blocks = blocks
        self._artifacts_url = artifacts_url
        self._tick_s = tick_s
        self._republish_after_s = republish_after_s
        self._woken = woken
        self._damaged: set[tuple[str, int | None]] = set()
        self._greeted = 0
        self._pruned_s = time.monotonic()

    def wake(self) -> None:
        self._woken.set()

    def note(self, batch: Iterable[Heard]) -> None:
        """Look for damaged blocks, and turn at once where a rollout may move on."""
        for heard in batch:
            message = heard.message
            if isinstance(message, Event) and message.kind == "block-damaged" and message.transport != "http":
                self._damaged.add((message.digest or "", message.block))
            if not isinstance(message, QUIET):
                self.wake()

    async def run(self) -> None:
        """Turn at every event and every `tick_s`, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._tick_s)
            self._woken.clear()
            try:
                await self.turn()
            except Unavailable as error:
                _log.info("publishing waits for the broker", error=error.line)
            except Exception:  # noqa: BLE001 - the loop is the last to know; a bug must not stop the fleet
                _log.exception("a turn failed; the next one begins anew")
                await asyncio.sleep(BUG_PAUSE_S)

    async def turn(self) -> None:
        """One round. Raises what the tick raised, or Unavailable where the broker went away meanwhile."""
        failure: Exception | None = None
        try:
            await self._ledger.run(rollouts.tick, now_s=time.time())
        except Exception as error:  # noqa: BLE001 - raised below, once what is committed is published
            failure = error
        if self._session.connected:
            await self._repair()
            await self._blocks.sync(await self._ledger.run(rollouts.live_blobs))
            await self._publish_desired()
        if failure is not None:
            raise failure
        if time.monotonic() - self._pruned_s > PRUNE_EVERY_S:
            self._pruned_s = time.monotonic()
            await self._ledger.run(retention.prune, now_s=time.time())

    async def _repair(self) -> None:
        while self._damaged:
            digest, index = self._damaged.pop()
            await self._blocks.repair(digest, index)

    async def _publish_desired(self) -> None:
        """Several at a time, and marked together: one that is published and not marked is only published again."""
        connection = self._session.connections
        due = await self._due(everything=connection != self._greeted)
        for first in range(0, len(due), PUBLISHED_TOGETHER):
            documents = [(entry.device, entry.desired) for entry in due[first : first + PUBLISHED_TOGETHER]]
            await self._session.publish_desired(documents)
            await self._ledger.run(desired.mark_published, documents, now_s=time.time())
        self._greeted = connection

    async def _due(self, *, everything: bool) -> list[desired.Publication]:
        if everything:
            return await self._ledger.run(desired.all_publications, artifacts_url=self._artifacts_url)
        return await self._ledger.run(
            desired.pending_publications,
            now_s=time.time(),
            artifacts_url=self._artifacts_url,
            republish_after_s=self._republish_after_s,
        )
