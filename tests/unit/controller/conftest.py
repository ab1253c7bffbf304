from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.depot import FLEET, Depot


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    """On either database: what is tested with it is the contract of both."""
    sqlite = request.param == "sqlite"
    depot = Depot(tmp_path / "wherry.db" if sqlite else request.getfixturevalue("new_migrated_database")())
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
