"""A data plane in this process, for tests of what it answers and of how it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.data_plane import Plane, served
from tests.support.fake_interpreter import FakeInterpreter
from tests.support.raw_http import Gate


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with served(FakeInterpreter(), tmp_path) as plane:
        yield plane


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[tuple[Gate, Plane]]:
    gate = Gate()
    with served(gate, tmp_path) as plane:
        yield gate, plane
        gate.open.set()
