"""What workers are put into, from the configuration and what this board has.

Rules upheld here:
- A user or group that the configuration names must be there; that a board has no `wherry-worker` is no mistake.
- What the board lacks is said in words, once at the start and by the doctor; the rest of the sandbox stands.
"""

import ctypes
import grp
import os
import pwd
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import psutil

from wherry.agent.config import MIB, Config
from wherry.agent.errors import BadConfig
from wherry.agent.worker import sandbox_files, sandbox_kernel
from wherry.agent.worker.messages import Sandbox

USERS = ("wherry-worker", "nobody")
"""Tried in this order where the configuration names none."""

MAPPED_BYTES = 2048 * MIB
"""Address space of libraries, and what the C library sets aside for each thread, is not memory."""

THREADS = 64
"""Of a worker, besides those of its interpreter: one for each connection of the fast mode, and a few. Of a feeder, and
of the supervisor, it is more than enough."""

LIBRARY = "libseccomp.so.2"
"""In Debian's package libseccomp2."""

T = TypeVar("T")


class _User(NamedTuple):
    uid: int | None
    gid: int | None


def worker_sandbox(config: Config) -> Sandbox | None:
    """None where it is switched off. Raises BadConfig where the user or a group is not on this board."""
    wanted = config.sandbox
    if not wanted.enabled:
        return None
    user = _user(wanted.user) if os.geteuid() == 0 else _User(None, None)
    keeps_groups = user.uid is not None
    return Sandbox(
        memory_bytes=wanted.memory_bytes or psutil.virtual_memory().total + MAPPED_BYTES,
        cpu_s=_cpu_s(config),
        processes=_threads(config),
        uid=user.uid,
        gid=user.gid,
        groups=tuple(_find("groups", name, grp.getgrnam).gr_gid for name in wanted.groups) if keeps_groups else (),
        seccomp=wanted.seccomp,
    )


def shortcomings(config: Config) -> list[str]:
    """What of the sandbox this board cannot give, each in a few words; of one that is switched off, nothing."""
    if not config.sandbox.enabled:
        return []
    found = []
    if config.sandbox.seccomp and (lacking := _lacking_seccomp()):
        found.append(f"system calls are not filtered: {lacking}")
    if sandbox_files.version() == 0:
        found.append("files are not closed off: this kernel has no Landlock, or a service or container forbids it")
    if os.geteuid() == 0 and _user(config.sandbox.user).uid is None:
        found.append(f"workers run as root: there is no user {' or '.join(USERS)}")
    return found


def _lacking_seccomp() -> str:
    """Looked for without importing it: it would cost the supervisor memory for good."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} is missing (apt install libseccomp2)"
    return "" if sandbox_kernel.may_filter() else "this kernel has no seccomp, or a service or container forbids it"


def _user(name: str) -> _User:
    if name:
        found = _find("user", name, pwd.getpwnam)
        return _User(found.pw_uid, found.pw_gid)
    for name in USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return _User(found.pw_uid, found.pw_gid)
    return _User(None, None)


def _find(key: str, name: str, look_up: Callable[[str], T]) -> T:
    try:
        return look_up(name)
    except KeyError:
        raise BadConfig("the configuration", f"sandbox.{key}", f"there is no {name} on this board") from None


def _cpu_s(config: Config) -> int:
    """Every thread at work all the time that loading and self-testing may take: more is a supervisor that sleeps."""
    threads = max(slot.threads for slot in config.slots.values())
    return int((config.worker.load_limit_s + config.worker.self_test_limit_s) * threads) + 1


def _threads(config: Config) -> int:
    """The kernel counts those of a user together, so whatever starts later as the same user is in the limit as well."""
    workers = sum(2 * (THREADS + slot.threads) for slot in config.slots.values())  # the one that serves, and the next
    feeders = sum(THREADS for slot in config.slots.values() if slot.feed is not None)
    return THREADS + workers + feeders
