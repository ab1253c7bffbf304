"""A directory in memory for voyages that are stopped at system calls; skips where those cannot be watched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory_disk import memory_directory
from tests.support.syscall_points import Unsupported, try_out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    try:
        try_out()
    except Unsupported as error:
        pytest.skip(str(error))
    with memory_directory(tmp_path_factory.mktemp("voyages")) as directory:
        yield directory
