from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.berths import Berth, Berths, PostgresqlBerth, SqliteBerth
from tests.support.depot import FLEET, Depot


@pytest.fixture(scope="session")
def berths() -> Iterator[Berths]:
    berths = Berths()
    yield berths
    berths.close()


@pytest.fixture
def berth(request: pytest.FixtureRequest, berths: Berths) -> Iterator[Callable[[str], Berth]]:
    """Gives an empty database of the kind, as many as are asked for."""

    def on_server() -> Berth:
        return PostgresqlBerth(request.getfixturevalue("new_migrated_database")())

    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(berths.taken(kind, SqliteBerth if kind == "sqlite" else on_server))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def depot(request: pytest.FixtureRequest, berth: Callable[[str], Berth]) -> Iterator[Depot]:
    """On either database: what is tested with it is the contract of both."""
    depot = Depot(berth(request.param))
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
