"""Seccomp: the system calls that a worker may make, first to load a model and then to serve it.

Rules upheld here:
- Only what is listed is allowed; everything else, and what kernels will yet invent, is refused with EPERM.
- Where a call can do more than a worker needs, its arguments are judged. What the kernel keeps from a filter, as the
  flags of clone3, is said not to exist (ENOSYS), so that the C library asks in the older way.
- A filter holds all threads, also those that are there already, and can never be taken off.

Importing this raises RuntimeError where libseccomp is missing.
"""

import contextlib
import errno
import os
from collections.abc import Iterable

import pyseccomp as seccomp

_EQUAL, _MASKED_EQUAL = seccomp.EQ, seccomp.MASKED_EQ

_CLONE_THREAD = 0x0001_0000
_PROT_EXEC = 0x4
_AT_EMPTY_PATH = 0x1000
_FIONBIO, _FIONCLEX, _FIOCLEX = 0x5421, 0x5450, 0x5451
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (os.O_TMPFILE & ~os.O_DIRECTORY)
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA = 15, 16, 22, 38, 0x53564D41

MEMORY = "brk get_mempolicy madvise membarrier mincore mremap munmap"
OPEN_FILES = "close dup dup2 dup3 fstat lseek pread64 preadv read readv write writev"
WAITING = (
    "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 pipe pipe2 poll ppoll pselect6 "
    "select"
)
SOCKETS = (
    "accept accept4 getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto "
    "setsockopt shutdown"
)
THREADS = (
    "exit exit_group futex futex_waitv futex_wait futex_wake get_robust_list getpid getppid gettid getpgrp rseq "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield "
    "set_robust_list set_tid_address"
)
SIGNALS = "restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack"
CLOCKS = "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time times"
FACTS = "getcpu getegid geteuid getgid getgroups getrandom getresgid getresuid getrlimit getrusage getuid sysinfo uname"

SERVING = " ".join((MEMORY, OPEN_FILES, WAITING, SOCKETS, THREADS, SIGNALS, CLOCKS, FACTS)).split()
"""Whatever their arguments. What is bound to a socket, or connected to, is so already."""

_FILES = (
    "access faccessat faccessat2 fadvise64 fstatfs getcwd getdents64 lstat newfstatat readlink readlinkat stat statx"
)
LOADING = f"{_FILES} mmap mprotect seccomp".split()
"""In addition, while a model is loaded: looking at files, and code from libraries."""

ABSENT = ("clone3", "openat2")


def allow_loading() -> None:
    """No exec, no new process, no socket, no signal to others, no file for writing. Raises OSError."""
    rules = _rules([*SERVING, *LOADING])
    reads = seccomp.Arg(1, _MASKED_EQUAL, _WRITING, 0)
    _allow(rules, "openat", seccomp.Arg(2, _MASKED_EQUAL, _WRITING, 0))
    _allow(rules, "open", reads)
    for option in (_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS):
        _allow(rules, "prctl", seccomp.Arg(0, _EQUAL, option))
    rules.load()


def allow_serving() -> None:
    """No file is opened any more, and no memory made code. Raises OSError."""
    rules = _rules(SERVING)
    for name in ("mmap", "mprotect"):
        _allow(rules, name, seccomp.Arg(2, _MASKED_EQUAL, _PROT_EXEC, 0))
    _allow(rules, "newfstatat", seccomp.Arg(3, _MASKED_EQUAL, _AT_EMPTY_PATH, _AT_EMPTY_PATH))
    rules.load()


def _rules(names: Iterable[str]) -> seccomp.SyscallFilter:
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    with contextlib.suppress(OSError):  # old kernels else slow it down, lest its threads spy on each other
        rules.set_attr(seccomp.Attr.CTL_SSB, 1)
    for name in names:
        _allow(rules, name)
    for name in ABSENT:
        _add(rules, seccomp.ERRNO(errno.ENOSYS), name)
    _allow_threads(rules)
    for request in (_FIONBIO, _FIONCLEX, _FIOCLEX):
        _allow(rules, "ioctl", seccomp.Arg(1, _EQUAL, request))
    for command in (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC):  # F_SETOWN sends signals
        _allow(rules, "fcntl", seccomp.Arg(1, _EQUAL, command))
    stream = seccomp.Arg(1, _MASKED_EQUAL, _SOCK_TYPES, _SOCK_STREAM)
    _allow(rules, "socketpair", seccomp.Arg(0, _EQUAL, _AF_UNIX), stream)
    return rules


def _allow_threads(rules: seccomp.SyscallFilter) -> None:
    """New threads, names for them, signals among them, and this process's own limits, which only fall."""
    _allow(rules, "clone", seccomp.Arg(0, _MASKED_EQUAL, _CLONE_THREAD, _CLONE_THREAD))
    _allow(rules, "tgkill", seccomp.Arg(0, _EQUAL, os.getpid()))
    _allow(rules, "prlimit64", seccomp.Arg(0, _EQUAL, 0))
    for option in (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA):
        _allow(rules, "prctl", seccomp.Arg(0, _EQUAL, option))


def _allow(rules: seccomp.SyscallFilter, name: str, *arguments: seccomp.Arg) -> None:
    _add(rules, seccomp.ALLOW, name, *arguments)


def _add(rules: seccomp.SyscallFilter, action: int, name: str, *arguments: seccomp.Arg) -> None:
    """A call that this architecture or this libseccomp does not know stays refused."""
    try:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
    except (OSError, ValueError):
        return
    if number >= 0:
        rules.add_rule(action, number, *arguments)
