"""The loop that makes the fleet follow the database: tick the rollouts, publish, repair.

Rules upheld here:
- Publishing follows the commit, and blocks go out before the documents that name them.
- What is committed is published even where a rollout cannot be carried on.
- Whatever fails is found again from the database at the next turn; nothing is kept in memory alone.
- After each new connection everything is published again: a broker may have lost what it retained.
- What a device reported is asked for again while a rollout waits for it: a broker drops what a full queue cannot take.
- Whoever else needs the ledger has it at least half of the time, however many events there are.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from wherry.controller.adapters.blocks import BlockPublisher
from wherry.controller.adapters.broker_session import BrokerSession, Heard
from wherry.controller.errors import Unavailable
from wherry.controller.ledger import Ledger
from wherry.controller.operations import desired, retention, rollouts, unheard
from wherry.controller.store.database import Database
from wherry.protocol.up import Event, Log, Telemetry, Upload

PRUNE_EVERY_S = 60.0
BUG_PAUSE_S = 1.0
PUBLISHED_TOGETHER = 200
"""Documents between two transactions: so many at most are published once more after a kill."""

ASK_AFTER_S = 10.0
"""Short beside the deadline of a device, and long beside the time that a report takes."""

ASK_EVERY_S = 1.0
ASKED_TOGETHER = 100
"""Fewer than any broker's queue holds. Those who are left are asked for a second later."""

REST_PER_WORK = 1.0
"""After a turn the ledger is left to others for as long as the turn had it."""

LONGEST_REST_S = 10.0
"""Longer than turns take. One that takes longer stood still, as its process or its database did: that was no work."""

QUIET = (Log, Telemetry, Upload)
"""Kinds that can wait for the next regular tick."""

P = ParamSpec("P")
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Helm:
    """Steers by the database. `wake` asks for a turn at once; `note` picks what matters from messages.

    A document that its device has still not accepted is published again every `republish_after_s`. A report that a
    rollout waits for is asked for again every `ask_after_s`.
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
        ask_after_s: float = ASK_AFTER_S,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._blocks = blocks
        self._artifacts_url = artifacts_url
        self._tick_s = tick_s
        self._republish_after_s = republish_after_s
        self._ask_after_s = ask_after_s
        self._woken = woken
        self._damaged: set[tuple[str, int | None]] = set()
        self._greeted = 0
        self._pruned_s = time.monotonic()
        self._looked_s = -math.inf
        self._asked_s: dict[str, float] = {}
        self._worked_s = 0.0

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
        """Turn at every event and every `tick_s`, until cancelled.

        All that happens during a turn, and the rest after it, makes one more turn. When this is run again, by a
        controller that leads again, nothing is left to rest from.
        """
        self._worked_s = 0.0
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
            await self._rest()

    async def _rest(self) -> None:
        rest_s, self._worked_s = min(self._worked_s * REST_PER_WORK, LONGEST_REST_S), 0.0
        await asyncio.sleep(rest_s)

    async def turn(self) -> None:
        """One round. Raises what the tick raised, or Unavailable where the broker went away meanwhile."""
        failure: Exception | None = None
        try:
            await self._run(rollouts.tick, now_s=time.time())
        except Exception as error:  # noqa: BLE001 - raised below, once what is committed is published
            failure = error
        if self._session.connected:
            await self._repair()
            await self._blocks.sync(await self._run(rollouts.live_blobs))
            await self._publish_desired()
            await self._ask_for_reports()
        if time.monotonic() - self._pruned_s > PRUNE_EVERY_S:
            self._pruned_s = time.monotonic()
            await self._run(retention.prune, now_s=time.time())
        if failure is not None:
            raise failure

    async def _run(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the operation gives. Counted is how long it had the ledger, not how long it waited for its turn."""

        def timed(db: Database) -> T:
            started_s = time.perf_counter()
            try:
                return operation(db, *args, **kwargs)
            finally:
                self._worked_s += time.perf_counter() - started_s

        return await self._ledger.run(timed)

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
            await self._run(desired.mark_published, documents, now_s=time.time())
        self._greeted = connection

    async def _due(self, *, everything: bool) -> list[desired.Publication]:
        if everything:
            return await self._run(desired.all_publications, artifacts_url=self._artifacts_url)
        return await self._run(
            desired.pending_publications,
            now_s=time.time(),
            artifacts_url=self._artifacts_url,
            republish_after_s=self._republish_after_s,
        )

    async def _ask_for_reports(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < min(ASK_EVERY_S, self._ask_after_s):
            return
        self._looked_s = now_s
        missing = await self._run(unheard.missing_reports, before_s=time.time() - self._ask_after_s)
        self._asked_s = {device: self._asked_s[device] for device in missing if device in self._asked_s}
        due_s = now_s - self._ask_after_s
        due = [device for device in missing if self._asked_s.get(device, -math.inf) <= due_s][:ASKED_TOGETHER]
        if due:
            await self._session.ask_for_reports(due)
            self._asked_s |= dict.fromkeys(due, now_s)
