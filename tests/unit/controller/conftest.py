from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.depot import FLEET, Depot


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    depot = Depot(tmp_path / "wherry.db")
    yield depot
    depot.db.close()


@pytest.fixture
def fleet(depot: Depot) -> Depot:
    """Four boards and three versions; nothing runs anywhere."""
    for salt in "abc":
        depot.version(salt)
    for device in FLEET:
        depot.device(device)
    return depot
