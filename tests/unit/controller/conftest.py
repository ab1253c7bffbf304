from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.depot import Depot


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    depot = Depot(tmp_path / "wherry.db")
    yield depot
    depot.db.close()
