"""`wherry devices remove`, as a person gives it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.depot import Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from tests.support.wherry_command import Said, wherry
from wherry.protocol import topics

STATUS = topics.up(FLEET, "pi-1", "status")


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf(FLEET)
    shelf.retained = {STATUS: b"{}"}
    return shelf


@pytest.fixture
def desk(tmp_path: Path, shelf: Shelf) -> Iterator[HttpDesk]:
    with serving(tmp_path, shelf=shelf) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.device("pi-1")
        depot.db.close()
        yield desk


def remove(desk: HttpDesk, *arguments: str) -> Said:
    return wherry("devices", "remove", *arguments, url=f"http://127.0.0.1:{desk.port}")


def test_a_device_is_removed_and_that_is_said(desk: HttpDesk, shelf: Shelf) -> None:
    said = remove(desk, "pi-1", "--yes")
    assert (said.status, said.out) == (0, "pi-1 is removed; it is known again as soon as it speaks\n")
    assert shelf.retained == {}
    assert remove(desk, "pi-1", "--yes", "--json").json == {"device": "pi-1", "removed": True}


def test_nothing_is_removed_where_nobody_confirms(
    desk: HttpDesk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    said = remove(desk, "pi-1")
    assert (said.status, "add --yes" in said.err) == (2, True)
    assert list(shelf.retained) == [STATUS]


@pytest.mark.parametrize("device", ["pi-9", "No Id", "pi-1/up/status"])
def test_what_is_no_device_cannot_be_removed(desk: HttpDesk, shelf: Shelf, device: str) -> None:
    assert remove(desk, device, "--yes").status == 2
    assert list(shelf.retained) == [STATUS]
