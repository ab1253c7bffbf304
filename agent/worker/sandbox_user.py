"""Becoming another user, for good."""

import os
from collections.abc import Sequence


def become(uid: int | None, gid: int | None, groups: Sequence[int]) -> None:
    """Be that user, of that group and those alone. Nothing is changed without `uid`. Raises OSError unless root."""
    if uid is None:
        return
    group = uid if gid is None else gid
    os.setgroups([*groups])
    os.setresgid(group, group, group)
    os.setresuid(uid, uid, uid)
    if uid != 0 and _can_return():
        raise PermissionError("root could be had back")


def _can_return() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
