"""Progress on its way to the database: the newest, not too often, and always the last."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Self

import structlog

from wherry.protocol.conversion import Progress

PROGRESS_EVERY_S = 0.5
"""Each is a transaction that waits for the disk."""

_log = structlog.get_logger(__name__)


class Telling:
    """Writes the newest progress to the row, not more often than every `PROGRESS_EVERY_S`, and at the end."""

    def __init__(self, write: Callable[[Progress], Coroutine[Any, Any, None]]) -> None:
        self._write = write
        self._newest: Progress | None = None
        self._noted = asyncio.Event()

    def note(self, progress: Progress) -> None:
        self._newest = progress
        self._noted.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._flush()

    async def _run(self) -> None:
        while True:
            await self._noted.wait()
            await self._flush()
            await asyncio.sleep(PROGRESS_EVERY_S)

    async def _flush(self) -> None:
        self._noted.clear()
        newest, self._newest = self._newest, None
        if newest is not None:
            try:
                await self._write(newest)
            except Exception:  # noqa: BLE001 - progress that is not written is no reason to fail
                _log.exception("progress cannot be written")
