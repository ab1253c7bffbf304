"""A board on which no thread can be started: as the interpreter itself says where the system refuses one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def no_threads(*but: str) -> Iterator[None]:
    """Threads that run already go on; those can be started whose names begin with one of `but`."""
    start = threading._start_new_thread  # type: ignore[attr-defined]  # where threading asks the system

    def refuse(bootstrap: Callable[[], None], *rest: Any) -> Any:
        if bootstrap.__self__.name.startswith(but):  # type: ignore[attr-defined]  # a bound method
            return start(bootstrap, *rest)
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "_start_new_thread", refuse)
        yield
