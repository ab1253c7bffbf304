"""What is taken from a worker before a model is touched, and what more once the model is warm.

Rules upheld here:
- A model's file is parsed after `enter`: with limits, as another user, without new privileges, with few files to
  read and few system calls. What must be imported is imported before, by code that is ours.
- After `lock_down` no file is opened, no socket made, nothing started and nobody signalled. A refused call is an
  error to whoever made it and does not end the worker: a runtime that tries something odd goes on without.
- What this kernel or this board lacks (Landlock, libseccomp) is left out; `agent/adapters/sandbox.py` tells it once.
  What it has and what fails all the same refuses the model: none runs outside of the sandbox that was ordered.
- Without an order there is no sandbox, for tests and negative controls.
"""

import ctypes
import os
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from wherry.agent.worker import memory, sandbox_files, sandbox_kernel, sandbox_limits, sandbox_user
from wherry.agent.worker.errors import OrderRefused
from wherry.agent.worker.messages import Sandbox
from wherry.agent.worker.tether import tie_to_parent

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h

NEEDED_LATER = ("concurrent.futures.thread", "encodings.idna", "traceback")
"""What Python or a library imports in the middle of things. Once inside it could not: another user may be kept from
Python's own files, and after `lock_down` none is opened."""


class Confinement:
    """The steps of one worker's sandbox, in their order: `enter`, `lock_down`, `serve`."""

    def __init__(self, order: Sandbox | None) -> None:
        self._order = order
        self._calls: ModuleType | None = None

    def enter(self, model: int, modules: Sequence[str] = ()) -> None:
        """Import `modules`, then give up all that loading the open file `model` does not need. Raises OrderRefused."""
        if self._order is None:
            return
        _import((*NEEDED_LATER, *modules))
        try:
            self._enter(self._order, model)
        except OSError as error:
            raise OrderRefused(f"the worker could not be put into its sandbox: {error}") from error

    def lock_down(self) -> None:
        """Give up all that a warm model does not need. Raises OrderRefused."""
        if self._calls is None:
            return
        memory.rss_bytes()  # keeps open what it reads
        try:
            self._calls.allow_serving()
        except OSError as error:
            raise OrderRefused(f"the worker could not be locked down: {error}") from error

    def serve(self) -> None:
        """Lift the limit on processor time: who serves may do so for years."""
        if self._order is not None:
            sandbox_limits.lift_cpu_limit()

    def _enter(self, order: Sandbox, model: int) -> None:
        if order.seccomp:
            self._calls = _calls()
        sandbox_limits.offer_to_the_oom_killer()
        threads = sandbox_limits.threads_of(os.getuid() if order.uid is None else order.uid)
        readable = sandbox_files.readable(model)
        sandbox_user.become(order.uid, order.gid, order.groups)
        sandbox_limits.limit(order, threads)
        tie_to_parent()  # whoever changes its user is untied
        _prctl(_PR_SET_DUMPABLE, 0)  # no other worker of the same user reads its memory
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        sandbox_files.close_others(readable)
        if self._calls:
            self._calls.allow_loading()


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            import_module(module)
        except Exception:  # noqa: BLE001, S112 - whoever needs it says so better, in its own words
            continue


def _calls() -> ModuleType | None:
    """The module that filters system calls, where the board has libseccomp and the kernel a filter that we may use."""
    if not sandbox_kernel.may_filter():
        return None
    try:
        return import_module("wherry.agent.worker.sandbox_calls")
    except (ImportError, RuntimeError, OSError, AttributeError):
        return None


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl {option}: {os.strerror(error)}")
