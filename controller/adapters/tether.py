"""Runs a program that ends when its parent ends, even by `kill -9`.

Called as `python -S -E tether.py PARENT_PID USER PROGRAM [ARGUMENT…]`; an empty USER keeps the one
that there is. Rules upheld here:
- Linux forgets the signal of the parent's death when the user changes, so the user changes first.
- A parent that is already gone when the signal is asked for sends none, so it is looked for after.
- Nothing but the standard library is imported: this runs before the program, in the same process.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def tie_to(parent_pid: int) -> None:
    """Have the kernel end this process, with SIGTERM, when `parent_pid` ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")


def main() -> None:
    parent_pid, user, program, *arguments = sys.argv[1:]
    if user:
        become(user)
    tie_to(int(parent_pid))
    os.execvp(program, [program, *arguments])  # noqa: S606 - a list of arguments, no shell


if __name__ == "__main__":
    main()
