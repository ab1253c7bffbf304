"""A nameless file of memory, in which one worker keeps what its successor is compared on (`worker/samples.py`)."""

import fcntl
import os
import weakref


class SampleFile:
    """Of `size_bytes`, which nobody can change any more: a file cut short kills whoever has it mapped. Raises OSError.

    Its pages are taken as they are written to, and given back when everybody has closed it: here at the latest when
    nobody knows of it any more.
    """

    def __init__(self, size_bytes: int) -> None:
        self.writable = os.memfd_create("wherry-samples", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.close = weakref.finalize(self, os.close, self.writable)
        try:
            os.ftruncate(self.writable, size_bytes)
            fcntl.fcntl(self.writable, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError:
            self.close()
            raise

    def open_for_reading(self) -> int:
        """An open file for somebody who may not write; the caller's to close. Raises OSError."""
        return os.open(f"/proc/self/fd/{self.writable}", os.O_RDONLY | os.O_CLOEXEC)
