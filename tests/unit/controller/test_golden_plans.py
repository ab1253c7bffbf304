"""Golden plans: what each plan in tests/golden/plans would do with a fixed fleet, byte for byte on either database.

With WHERRY_RENEW=1 the texts are written anew; the difference is what a change does to an operator's plans.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Tried
from tests.support.controller_values import LITERT, LITERT_ONLY, TFLITE, make_birth, make_plan, make_variant
from tests.support.depot import Depot
from wherry.controller.core.plan import Target
from wherry.controller.core.plan_file import plan_of, read_plan
from wherry.controller.operations import aliases, groups, ingest, pins, rollouts
from wherry.protocol.up import Status

PLANS = Path(__file__).parents[2] / "golden" / "plans"
NAMES = sorted(path.stem for path in PLANS.glob("*.toml"))
NOW_S = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
"""A Saturday, at noon: in Berlin the clocks are put forward in the night to come."""

GIB = 2**30


@pytest.fixture
def port(depot: Depot) -> Depot:
    """Twelve boards of several kinds, three versions of two models, a group, two pins, and a rollout under way."""
    depot.now_s = NOW_S
    for salt in "ab":
        depot.version(salt)
    depot.version("s", make_variant("s", name="float16", floors=LITERT_ONLY), model="segments")
    aliases.set_alias(depot.db, "digits", "stable", 1, now_s=NOW_S, actor="ann")
    for number in range(1, 13):
        _board(depot, number)
    ingest.apply_status(depot.db, "pi-00", Status(presence="online", session=1), now_s=NOW_S)
    groups.put_group(depot.db, "cameras", "kind=cam and cpu_count>=4", now_s=NOW_S, actor="ann")
    pins.pin(depot.db, "pi-02", "main", reason="on show at the fair", now_s=NOW_S, actor="ann")
    under_way = make_plan(1, slot="second", target=Target(devices=("pi-12", "pi-10")))
    rollouts.start(depot.db, under_way, now_s=NOW_S, actor="ann")
    return depot


def _board(depot: Depot, number: int) -> None:
    """Every third has an older runtime, the ninth is away, the last four stand in the attic and have two slots."""
    device, old = f"pi-{number:02}", number % 3 == 0
    depot.device(device, online=number != 9)
    labels = {"site": "attic" if number > 8 else "hall", "kind": "cam" if number % 2 else "belt"}
    birth = make_birth(
        *((TFLITE,) if old else (LITERT, TFLITE)),
        labels=labels,
        ram_bytes=(1 if number < 4 else 4) * GIB,
        slots=("main", "second") if number > 8 else ("main",),
    )
    ingest.apply_birth(depot.db, device, birth, now_s=depot.now_s)


def told(port: Depot, name: str) -> str:
    path = PLANS / f"{name}.toml"
    plan = plan_of(read_plan(path.read_text(), path.name), path.name)
    return rollouts.explain(port.db, plan, now_s=NOW_S).text


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_reads_as_it_did(port: Depot, name: str) -> None:
    golden = PLANS / f"{name}.txt"
    text = told(port, name)
    if os.environ.get("WHERRY_RENEW") == "1":
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_text_has_its_plan(tried: Tried) -> None:
    tried(f"{len(NAMES)} plans")
    assert len(NAMES) >= 6
    assert sorted(path.stem for path in PLANS.glob("*.txt")) == NAMES


def test_the_fleet_decides_what_is_told(port: Depot) -> None:
    """The negative control: a device that is let go of its pin, one line of a plan."""
    pins.unpin(port.db, "pi-02", "main", now_s=NOW_S, actor="ann")
    assert told(port, "apart") != (PLANS / "apart.txt").read_text()
