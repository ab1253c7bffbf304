"""Tasks that are cancelled while they must still clean up."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Callable[[], T]) -> T:
    """Do file work in a thread; one who is cancelled meanwhile waits for its end, so that it can be cleaned up."""
    doing = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


def cancel_once(task: asyncio.Task[None]) -> None:
    """Once: a second time would interrupt its cleaning up."""
    if not task.cancelling():
        task.cancel()
