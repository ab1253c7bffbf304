"""The database as the event loop sees it: operations run one after another in a thread of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from wherry.controller.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """Runs `operation(db, …)` without holding up the loop; what it raises comes back to the caller."""

    def __init__(self, db: Database, thread: ThreadPoolExecutor | None = None) -> None:
        self._db = db
        self._thread = thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    def beside(self, db: Database) -> "Ledger":
        """Another one in the same thread; only this one is to be closed."""
        return Ledger(db, self._thread)

    async def run(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(operation, self._db, *args, **kwargs))

    def close(self) -> None:
        """Wait for what is running, then let go of the database."""
        self._thread.shutdown(wait=True)
        self._db.close()
