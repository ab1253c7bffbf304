"""Who may call what: without tokens on loopback everybody, with the first token nobody without one."""

import importlib
import pkgutil
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import wherry.controller.http as http
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from wherry.controller.cli.__main__ import run
from wherry.controller.core.roles import LEAST_ROLE, ROLES, Role, reaches
from wherry.controller.errors import Conflict, Invalid, NotFound
from wherry.controller.operations import audit, tokens
from wherry.controller.store.database import Database

pytestmark = pytest.mark.slow

NEVER_THERE = {"device": "pi-9", "rollout": "9", "conversion": "9", "digest": "0" * 64, "version": "9"}
REFUSED = (401, 403)


def _routes() -> set[tuple[str, str]]:
    """Of every router in the package, also of one that somebody adds tomorrow."""
    modules = [
        importlib.import_module(f"{http.__name__}.{found.name}") for found in pkgutil.iter_modules(http.__path__)
    ]
    routers = [module.router for module in modules if hasattr(module, "router")]
    return {(method, route.path) for router in routers for route in router.routes for method in route.methods}


def _make(db: Database, name: str, role: Role, *, now_s: float = 1000.0, expires_s: float | None = None) -> str:
    made = tokens.create(db, name, role, expires_s=expires_s, now_s=now_s, actor="ann", random_hex=secrets.token_hex)
    return made.token


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        yield desk


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HttpDesk, dict[str, str]]]:
    """A controller with a token of each role."""
    with serving(tmp_path_factory.mktemp("guarded")) as desk:
        yield desk, {role: _make(desk.db, f"a-{role}", role) for role in ROLES}


def test_every_route_has_a_role_and_every_role_a_route() -> None:
    assert set(LEAST_ROLE) == _routes()


@pytest.mark.parametrize(("method", "template"), sorted(LEAST_ROLE))
def test_each_call_is_refused_below_its_role_and_let_in_from_there(
    guarded: tuple[HttpDesk, dict[str, str]], method: str, template: str
) -> None:
    desk, known = guarded
    least = LEAST_ROLE[method, template]
    for caller in (None, *ROLES):
        headers = _bearer(known[caller]) if caller else {}
        answer = desk.client.request(method, _path(template), headers=headers, content=b"{")
        if least is None:
            assert answer.status_code not in REFUSED
        elif caller is None:
            assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        elif reaches(caller, least):
            assert answer.status_code not in REFUSED
        else:
            assert answer.status_code == 403
            assert f"this needs the role {least}" in answer.json()["fix"]


def test_a_route_without_a_role_is_for_nobody(desk: HttpDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LEAST_ROLE, ("GET", "/rollouts"))
    assert desk.client.get("/rollouts").status_code == 403


def test_negative_control_without_the_check_a_stranger_reads_the_fleet(
    desk: HttpDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(desk.db, "root", "admin")
    assert desk.client.get("/devices").status_code == 401
    monkeypatch.setitem(LEAST_ROLE, ("GET", "/devices"), None)
    assert desk.client.get("/devices").status_code == 200


def test_without_tokens_on_loopback_everybody_may_do_everything(desk: HttpDesk) -> None:
    assert desk.client.get("/tokens").status_code == 200
    made = desk.client.post("/tokens", json={"name": "root", "role": "admin"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert desk.client.get("/tokens").status_code == 401
    assert desk.client.get("/tokens", headers=_bearer(made.json()["token"])).status_code == 200


def test_on_an_address_that_others_reach_a_token_is_needed_from_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as desk:
        assert desk.client.get("/devices").status_code == 401
        token = _make(desk.db, "root", "admin")
        assert desk.client.get("/devices", headers=_bearer(token)).status_code == 200


def test_the_token_stands_in_the_audit_log_by_its_name(desk: HttpDesk) -> None:
    token = _make(desk.db, "root", "admin")
    order = {"name": "ci", "role": "viewer", "expires_in_s": 3600}
    desk.client.post("/tokens", json=order, headers=_bearer(token)).raise_for_status()
    desk.client.delete("/tokens/ci", headers=_bearer(token)).raise_for_status()
    rows = desk.client.get("/audit", headers=_bearer(token)).json()
    assert [(row["actor"], row["action"], row["subject"]) for row in rows] == [
        ("root", "token-revoke", "ci"),
        ("root", "token-create", "ci"),
        ("ann", "token-create", "root"),
    ]


def test_a_revoked_token_is_refused_at_once_and_the_door_stays_shut(desk: HttpDesk) -> None:
    token = _make(desk.db, "root", "admin")
    assert desk.client.delete("/tokens/root", headers=_bearer(token)).status_code == 200
    assert desk.client.get("/tokens", headers=_bearer(token)).status_code == 401
    assert desk.client.get("/tokens").status_code == 401


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer wrong", "Basic cm9vdDpyb290", "Bearer " + "a" * 5000, "x", "Bearer \xff\xfe"],
)
def test_what_is_no_token_is_401(guarded: tuple[HttpDesk, dict[str, str]], header: str) -> None:
    desk, _known = guarded
    raw = httpx.Headers([(b"authorization", header.encode("latin-1"))])
    assert desk.client.get("/devices", headers=raw).status_code == 401


def test_a_header_that_is_no_token_is_refused_also_where_none_is_needed(desk: HttpDesk) -> None:
    assert desk.client.get("/devices", headers=_bearer("wrong")).status_code == 401


def test_status_tells_a_stranger_whether_it_works_and_no_more(guarded: tuple[HttpDesk, dict[str, str]]) -> None:
    desk, known = guarded
    assert desk.client.get("/status").json() == {"ok": False}
    assert "version" in desk.client.get("/status", headers=_bearer(known["viewer"])).json()


def test_no_handler_names_an_actor_of_its_own() -> None:
    (folder,) = http.__path__
    named = [path.name for path in Path(folder).glob("*.py") if "actor=ACTOR" in path.read_text()]
    assert named == []


def test_the_token_itself_is_kept_nowhere(depot: Depot) -> None:
    token = _make(depot.db, "root", "admin")
    kept = f"{tokens.list_tokens(depot.db)} {audit.list_audit(depot.db)}"
    assert token not in kept
    assert tokens.digest(token) not in kept


def test_a_token_is_its_callers_until_it_expires(depot: Depot) -> None:
    token = _make(depot.db, "ci", "operator", expires_s=2000.0)
    caller = tokens.find_caller(depot.db, token, now_s=1999.0)
    assert caller == tokens.Caller(name="ci", role="operator")
    assert tokens.find_caller(depot.db, token, now_s=2000.0) is None
    assert tokens.find_caller(depot.db, "wherry_other\ud800\0", now_s=0.0) is None


def test_revoking_is_idempotent_and_told_once(depot: Depot) -> None:
    token = _make(depot.db, "ci", "operator")
    first = tokens.revoke(depot.db, "ci", now_s=1500.0, actor="bob")
    assert tokens.revoke(depot.db, "ci", now_s=1600.0, actor="bob") == first
    assert tokens.find_caller(depot.db, token, now_s=1501.0) is None
    assert [row.action for row in audit.list_audit(depot.db)] == ["token-revoke", "token-create"]
    with pytest.raises(NotFound):
        tokens.revoke(depot.db, "cd", now_s=1.0, actor="bob")


def test_a_name_means_one_token_for_ever(depot: Depot) -> None:
    _make(depot.db, "ci", "operator")
    tokens.revoke(depot.db, "ci", now_s=1500.0, actor="bob")
    with pytest.raises(Conflict):
        _make(depot.db, "ci", "admin")


@pytest.mark.parametrize(
    ("name", "expires_s"), [("No Name", None), ("", None), ("engine", None), ("operator", None), ("ci", 999.0),
                            ("ci", float("nan")), ("ci", float("inf"))]
)  # fmt: skip
def test_a_token_that_cannot_be_right_is_refused(depot: Depot, name: str, expires_s: float | None) -> None:
    with pytest.raises(Invalid):
        _make(depot.db, name, "viewer", expires_s=expires_s)


def _path(template: str) -> str:
    parts = [part.strip("{}") for part in template.split("/")]
    return "/".join(NEVER_THERE.get(part, "none") if f"{{{part}}}" in template else part for part in parts)


def test_the_first_token_is_made_beside_a_controller_that_runs_and_is_used_from_the_environment(
    desk: HttpDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data-dir", str(desk.artifacts_dir.parent)]
    url = ["--url", f"http://127.0.0.1:{desk.port}"]
    monkeypatch.delenv("WHERRY_TOKEN", raising=False)
    assert run(["tokens", "create", "root", "--role", "admin", *place]) == 0
    token = capsys.readouterr().out.strip()
    assert run(["tokens", "list", *url]) == 4
    assert "set WHERRY_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("WHERRY_TOKEN", token)
    assert run(["tokens", "list", *url]) == 0
    assert token not in capsys.readouterr().out
    assert run(["tokens", "revoke", "root", *url]) == 0
    assert run(["tokens", "list", *url]) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that leads to this machine
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[nonsense"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_no_page_of_the_web_may_do_what_everybody_on_the_machine_may(desk: HttpDesk, headers: dict[str, str]) -> None:
    body = b'{"name": "mine", "role": "admin"}'
    assert desk.client.post("/tokens", content=body, headers=headers).status_code == 401
    assert desk.client.get("/devices", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers", [{}, {"Host": "localhost:8470"}, {"Origin": "http://127.0.0.1:8470"}, {"Host": "[::1]"}]
)
def test_who_is_on_the_machine_may(desk: HttpDesk, headers: dict[str, str]) -> None:
    assert desk.client.get("/devices", headers=headers).status_code == 200
