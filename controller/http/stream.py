"""`GET /rollouts/{rollout}/watch`: a rollout as server-sent events, each the whole of it as `GET /rollouts/{rollout}`.

Rules upheld here:
- An event's id is the digest of its data: whoever comes back with `Last-Event-ID`, to whichever controller, is told
  nothing twice, and never misses how it stands now. What changed and changed again between two looks is told once.
- All who watch a rollout share one look at the database every `LOOK_EVERY_S`; without anybody there is none.
- A stream ends with the rollout, with the controller, and after `MAX_STREAM_S`: a client that comes back is asked for
  its token anew, so one that was revoked does not watch for ever. 204 says that nothing more will come.
- A slow client is told less often; nothing is queued for it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from wherry.controller.errors import Unavailable
from wherry.controller.http.desk import AtDesk
from wherry.controller.ledger import Ledger
from wherry.controller.operations import rollouts
from wherry.controller.store.database import Database

LOOK_EVERY_S = 1.0
KEEP_ALIVE_S = 15
"""Below the half minute after which proxies let go of a connection on which nothing is said."""

MAX_STREAM_S = 600.0
MAX_STREAMS = 200
"""Of all rollouts together: each is a connection that stays."""

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

_log = structlog.get_logger(__name__)

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=200, description="The id of the last event that was seen.")
]


class Picture(msgspec.Struct, frozen=True):
    id: str
    data: bytes
    live: bool


def take(db: Database, rollout: int) -> Picture:
    """How it stands. Raises NotFound."""
    view = rollouts.get_rollout(db, rollout)
    data = msgspec.json.encode(view)
    return Picture(hashlib.sha256(data).hexdigest()[:32], data, view.live)


class Look:
    """The one look at a rollout that all who watch it share."""

    def __init__(self, ledger: Ledger, rollout: int, every_s: float) -> None:
        self.watchers = 0
        self._newest: Picture | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(ledger, rollout, every_s), name=f"watch rollout {rollout}")

    async def after(self, seen: str | None) -> Picture | None:
        """How it stands, once that is not what was `seen`; None where nothing more will come."""
        while self._newest is None or self._newest.id == seen:
            if self._ended:
                return None
            await self._changed.wait()
        return self._newest

    def end(self) -> None:
        self._task.cancel()
        self._tell(ended=True)

    async def _run(self, ledger: Ledger, rollout: int, every_s: float) -> None:
        try:
            while self._newest is None or self._newest.live:
                found = await ledger.run(take, rollout)
                if self._newest is None or found.id != self._newest.id:
                    self._newest = found
                    self._tell(ended=False)
                await asyncio.sleep(every_s if found.live else 0)
        except Exception:  # noqa: BLE001 - its watchers come back, and there is a new look then
            _log.exception("a rollout cannot be watched", rollout=rollout)
        finally:
            self._tell(ended=True)

    def _tell(self, *, ended: bool) -> None:
        self._ended = self._ended or ended
        self._changed.set()
        self._changed = asyncio.Event()


class Watches:
    """All streams of a controller. `close` ends them, and lets none begin."""

    def __init__(self, *, every_s: float = LOOK_EVERY_S, max_stream_s: float = MAX_STREAM_S) -> None:
        self.looks: dict[int, Look] = {}
        self._every_s = every_s
        self._max_stream_s = max_stream_s
        self._closed = False

    @property
    def streams(self) -> int:
        return sum(look.watchers for look in self.looks.values())

    def check_room(self) -> None:
        """Raises Unavailable."""
        if self._closed or self.streams >= MAX_STREAMS:
            raise Unavailable("no more streams now", "read the rollout once a second instead, or come back later")

    async def watch(self, ledger: Ledger, rollout: int, seen: str | None) -> AsyncIterator[ServerSentEvent]:
        """An event whenever it stands otherwise than `seen`, the first one at once."""
        if self._closed:
            return
        look = self.looks.get(rollout)
        if look is None:
            look = self.looks[rollout] = Look(ledger, rollout, self._every_s)
        look.watchers += 1
        try:
            with suppress(TimeoutError):
                until = asyncio.get_running_loop().time() + self._max_stream_s
                while (picture := await self._next(look, seen, until)) is not None:
                    seen = picture.id
                    yield ServerSentEvent(data=picture.data.decode(), event="rollout", id=picture.id)
        finally:
            self._leave(rollout, look)

    def close(self) -> None:
        self._closed = True
        for look in self.looks.values():
            look.end()

    @staticmethod
    async def _next(look: Look, seen: str | None, until: float) -> Picture | None:
        async with asyncio.timeout_at(until):
            return await look.after(seen)

    def _leave(self, rollout: int, look: Look) -> None:
        look.watchers -= 1
        if not look.watchers:
            look.end()
            if self.looks.get(rollout) is look:
                del self.looks[rollout]


@router.get("/{rollout}/watch")
async def watch(rollout: int, request: Request, desk: AtDesk, last_event_id: LastEventId = None) -> Response:
    """The rollout as server-sent events, `rollout`, each time that it stands otherwise, until it has ended.

    With `Last-Event-ID` the first one only once it differs from that; 204 where it has ended and was seen so.
    """
    watches: Watches = request.app.state.watches
    now = await desk.ledger.run(take, rollout)
    if not now.live and now.id == last_event_id:
        return Response(status_code=204)
    watches.check_room()
    return EventSourceResponse(watches.watch(desk.ledger, rollout, last_event_id), ping=KEEP_ALIVE_S)
