"""`wherry devices remove`, `decommission` and `show`, as a person gives it."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.depot import SYSTEM, Depot
from tests.support.http_desk import FLEET, HttpDesk, serving
from tests.support.shelf import Shelf
from tests.support.wherry_command import Said, wherry
from wherry.controller.operations import ingest
from wherry.protocol import topics
from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Telemetry

pytestmark = pytest.mark.slow

REF = VersionRef(model="digits", version=1, variant="int8", manifest="a" * 64, artifact="b" * 64)
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


def test_a_device_is_taken_out_of_service_and_in_again(desk: HttpDesk, shelf: Shelf) -> None:
    def devices(*arguments: str) -> Said:
        return wherry("devices", *arguments, url=f"http://127.0.0.1:{desk.port}")

    document = topics.down(FLEET, "pi-1", "desired")
    shelf.retained[document] = b"{}"
    told = devices("decommission", "pi-1", "--reason", "sold", "--yes").out
    assert told == "pi-1 is out of service until `wherry devices recommission pi-1`\n"
    assert document not in shelf.retained
    assert "pi-1" not in devices("list").out
    assert "decommissioned" in devices("list", "--presence", "decommissioned").out
    assert "sold" in devices("story", "pi-1").out
    once_more = devices("decommission", "pi-1", "--yes", "--json").json
    assert once_more["decommissioned_s"] is not None
    assert devices("recommission", "pi-1").out == "pi-1 is in service again\n"
    assert devices("recommission", "pi-1", "--json").json["decommissioned_s"] is None
    assert "pi-1" in devices("list").out
    assert devices("decommission", "pi-9", "--yes").status == 2


def test_devices_are_listed_by_a_query_and_a_mistake_is_shown_by_its_column(desk: HttpDesk) -> None:
    def listed(where: str) -> Said:
        return wherry("devices", "list", "--where", where, url=f"http://127.0.0.1:{desk.port}")

    assert "pi-1" in listed("cpu_count>=1 and device=pi-1").out
    assert listed("site=moon").out == "no device is site=moon\n"
    said = listed("site=berlin and ram_mb>=big")
    assert said.status == 2
    assert "column 25 of the query, at 'big': expected a number" in said.err


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


def test_a_board_is_shown_with_what_holds_it_back_and_what_its_model_says(tmp_path: Path) -> None:
    with serving(tmp_path) as desk:
        depot = Depot(tmp_path / "controller.db")
        depot.device("pi-1")
        board = msgspec.structs.replace(
            SYSTEM, temperature_c=81.0, throttling=("under-voltage", "throttled"), frequency_share=0.4
        )
        window = Telemetry(
            boot_id="b1", window=1, window_s=10.0, slot="main", ref=REF, phase="running", inferences=20,
            errors=0, latency=LatencySketch(), predictions={3: 15, 7: 5}, confidence=(0,) * 9 + (20,),
            worker_cpu_share=0.5, system=board,
        )  # fmt: skip
        ingest.apply_telemetry(depot.db, "pi-1", window, now_s=time.time())
        depot.db.close()
        said = wherry("devices", "show", "pi-1", url=f"http://127.0.0.1:{desk.port}")
    assert "81.0 °C, at 40.0 % of its frequency, held back: under-voltage, throttled" in said.out
    assert "main digits:1 says class 3 75.0 %, class 7 25.0 %" in said.out
