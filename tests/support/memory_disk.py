"""A directory in memory for harnesses that write a great deal, where there is one."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
NEEDED_BYTES = 256 << 20


@contextmanager
def memory_directory(otherwise: Path) -> Iterator[Path]:
    """What is in it is gone afterwards. `otherwise` serves where memory has no file system, or one without room."""
    if not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).free < NEEDED_BYTES:
        yield otherwise
        return
    directory = Path(tempfile.mkdtemp(prefix="wherry-", dir=SHARED_MEMORY))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
