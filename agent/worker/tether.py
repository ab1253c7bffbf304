"""A worker does not outlive its supervisor, and leaves the terminal's signals to it."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_to_parent() -> None:
    """Be killed when the thread that started this process ends. Only Linux has it; elsewhere this does nothing.

    A process that changes its user is untied by the kernel, and must be tied again.
    A supervisor that is gone already is seen at the first read: the channel is at its end.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal, but what it means is the supervisor's to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
