"""A board on which no thread can be started: as the interpreter itself says where the system refuses one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_threads() -> Iterator[None]:
    """Threads that run already go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "_start_new_thread", _refuse)
        yield


def _refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")
