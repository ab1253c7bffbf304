"""Lists in pages: all of it is given once, whatever is made or deleted between two pages."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Tried
from tests.support.controller_values import make_plan
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.soak import scaled
from wherry.controller.core.plan import Target
from wherry.controller.errors import Invalid
from wherry.controller.http import paging
from wherry.controller.operations import groups, rollouts, tokens, verdicts
from wherry.controller.store.tables import RolloutRow

pytestmark = pytest.mark.slow

N = 7


class Shop:
    """Fills every list of a controller; `more` makes one entry in front of all others, and one behind."""

    def __init__(self, desk: HttpDesk) -> None:
        self.desk = desk
        self.depot = Depot.of(desk.db, 1000.0)
        self._made = 0
        for number in range(N):
            self.depot.version(f"s{number}")
            self._named(f"m{number}")
        self.depot.device("pi-1")
        for _ in range(N):
            self._rollout()
            self._verdict()
            self._event()

    def more(self) -> None:
        self._made += 1
        self.depot.version(f"more{self._made}")
        for name in (f"a{self._made}", f"z{self._made}"):
            self._named(name)
        self._rollout()
        self._verdict()
        self._event()

    def _named(self, name: str) -> None:
        """A model, a group, a device and a token."""
        db, now_s = self.desk.db, self.depot.now_s
        self.depot.version("x", model=f"model-{name}")
        groups.put_group(db, name, "ram_mb>1", now_s=now_s, actor="ann")
        self.depot.device(f"dev-{name}")

    def _rollout(self) -> None:
        """One that ends at once, so that the next may begin."""
        made = rollouts.start(
            self.desk.db, make_plan(1, target=Target(devices=("pi-1",))), now_s=self.depot.now_s, actor="ann"
        )
        rollouts.abort(self.desk.db, made.id, restore="keep", now_s=self.depot.now_s, actor="ann")

    def _verdict(self) -> None:
        with self.desk.db.write() as session:
            verdicts.keep(session, session.get_one(RolloutRow, 1), (), self.depot.now_s)

    def _event(self) -> None:
        self.depot.now_s += 1
        self.depot.event("pi-1", int(self.depot.now_s), "reverted")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests: nothing that one of them makes is in the way of another."""
    with serving(tmp_path_factory.mktemp("shop")) as desk:
        yield Shop(desk)


LISTS: dict[str, Callable[[Any], Any]] = {
    "/rollouts": lambda row: row["id"],
    "/audit": lambda row: row["id"],
    "/devices": lambda row: row["id"],
    "/models": lambda row: row["name"],
    "/groups": lambda row: row["name"],
    "/models/digits/versions": lambda row: row["number"],
    "/devices/pi-1/events": lambda row: row["seq"],
    "/rollouts/1/verdicts": lambda row: row["id"],
}


def _pages(shop: Shop, path: str, between: Callable[[], None] = lambda: None, **params: Any) -> Iterator[list[Any]]:
    """Page after page, by the links; `between` is done after each."""
    answer = shop.desk.client.get(path, params=params)
    while True:
        assert answer.status_code == 200, answer.text
        yield answer.json()
        if "next" not in answer.links:
            return
        between()
        root = str(shop.desk.client.base_url).partition("/api/v1")[0]
        answer = shop.desk.client.get(root + answer.links["next"]["url"])


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [N, 1000])
def test_the_pages_together_are_the_list(shop: Shop, path: str, limit: int) -> None:
    everything = shop.desk.client.get(path, params={"limit": 1000}).json()
    assert len(everything) >= N
    pages = list(_pages(shop, path, limit=limit))
    assert [row for page in pages for row in page] == everything
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit


def _repeated_or_skipped(shop: Shop, path: str) -> tuple[set[Any], set[Any]]:
    """In five pages or so, with something new between each two."""
    key = LISTS[path]
    before = {key(row) for row in shop.desk.client.get(path, params={"limit": 1000}).json()}
    told = [key(row) for page in _pages(shop, path, shop.more, limit=max(2, len(before) // 4)) for row in page]
    return {entry for entry in told if told.count(entry) > 1}, before - set(told)


@pytest.mark.parametrize("path", LISTS)
def test_what_is_made_meanwhile_neither_repeats_nor_hides_anything(shop: Shop, path: str, tried: Tried) -> None:
    rounds = scaled(1, soak=20)
    for _ in range(rounds):
        assert _repeated_or_skipped(shop, path) == (set(), set())
    tried(f"{rounds} walks through {path}, with something new between each two pages")


def test_negative_control_pages_by_place_repeat(shop: Shop, monkeypatch: pytest.MonkeyPatch, tried: Tried) -> None:
    """A cursor that counts, as an offset would: what is made in front moves all others."""
    turned = 0

    def by_place(_name: str, cursor: str | None, _kind: type[Any]) -> int | None:
        nonlocal turned
        turned = 0 if cursor is None else turned + 1
        now = rollouts.list_rollouts(shop.desk.db, max_rollouts=1000, devices=False)
        size = max(2, (len(now) - turned) // 4)
        return None if cursor is None else now[turned * size - 1].id

    monkeypatch.setattr("wherry.controller.http.rollouts.after", by_place)
    assert _repeated_or_skipped(shop, "/rollouts")[0]
    tried("1 walk through /rollouts")


def test_tokens_come_in_pages(tmp_path: Path) -> None:
    with serving(tmp_path) as desk:
        made = [
            tokens.create(
                desk.db, name, "admin", expires_s=None, now_s=0.0, actor="ann", random_hex=lambda _n, name=name: name
            ).token
            for name in ("ann", "bob", "eve")
        ]
        headers = {"Authorization": f"Bearer {made[0]}"}
        first = desk.client.get("/tokens", params={"limit": 2}, headers=headers)
        assert [row["name"] for row in first.json()] == ["ann", "bob"]
        root = str(desk.client.base_url).partition("/api/v1")[0]
        second = desk.client.get(root + first.links["next"]["url"], headers=headers)
        assert ([row["name"] for row in second.json()], second.links) == (["eve"], {})


def test_the_link_keeps_what_was_asked(shop: Shop) -> None:
    found = [row["id"] for page in _pages(shop, "/rollouts", state="aborted", model="digits", limit=2) for row in page]
    assert found == [row["id"] for row in shop.desk.client.get("/rollouts").json()]
    for filters in ({"state": "running"}, {"kind": "rollback"}, {"model": "x"}, {"slot": "other"}):
        assert shop.desk.client.get("/rollouts", params=filters).json() == []
    for filters in ({"kind": "rollout"}, {"slot": "main"}, {"model": "digits"}):
        assert len(shop.desk.client.get("/rollouts", params=filters).json()) == len(found)


def test_the_audit_is_searched(shop: Shop) -> None:
    told = [row for page in _pages(shop, "/audit", subject="rollout 2", actor="ann", limit=1) for row in page]
    assert [row["action"] for row in told] == ["rollout-aborted", "rollout-started"]
    (only,) = shop.desk.client.get("/audit", params={"subject": "rollout 2", "action": "rollout-started"}).json()
    assert only["id"] == told[1]["id"]
    assert shop.desk.client.get("/audit", params={"actor": "bob"}).json() == []


def test_a_list_of_rollouts_counts_the_devices_and_one_rollout_lists_them(shop: Shop) -> None:
    listed = shop.desk.client.get("/rollouts").json()[-1]
    one = shop.desk.client.get("/rollouts/1").json()
    assert (listed["devices"], len(one["devices"])) == ([], 1)
    assert listed | {"devices": one["devices"]} == one


FOREIGN = ("", "x", "!", "é", "x" * 600, "W10", paging.encode("audit", 3), paging.encode("rollouts", "3"))
FAR = (2**63, -(2**63) - 1, 10**30)


@pytest.mark.parametrize("cursor", [*FOREIGN, *(paging.encode("rollouts", number) for number in FAR)])
def test_what_is_no_cursor_of_this_list_is_told(shop: Shop, cursor: str) -> None:
    answer = shop.desk.client.get("/rollouts", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:wherry:problem:invalid")


@pytest.mark.parametrize("key", ["pi-1", "ü", 7])
def test_a_cursor_is_read_as_it_was_made(key: int | str) -> None:
    assert paging.decode("devices", paging.encode("devices", key), type(key)) == key
    with pytest.raises(Invalid):
        paging.decode("models", paging.encode("devices", key), type(key))


def test_a_link_is_one_line_whatever_the_path_is(shop: Shop) -> None:
    answer = shop.desk.client.get("/rollouts/%0A1/verdicts", params={"limit": 1})
    assert answer.status_code in (200, 404, 422)
    assert "\n" not in answer.headers.get("link", "")
