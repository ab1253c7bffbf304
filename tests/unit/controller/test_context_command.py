"""`wherry context` on a real file: who is called, which token goes where, and what nobody is shown."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.wherry_command import Said, wherry
from wherry.controller.cli.context_file import LOCAL_URL, Context, Contexts, load, resolve, save
from wherry.controller.errors import ControllerError, Invalid, Unavailable

pytestmark = pytest.mark.slow

TOKEN = "wherry_secret-of-the-lab"
OTHER_TOKEN = "wherry_of-the-environment"


class Listener(HTTPServer):
    """Answers every call in one way, and keeps what was sent to be known by."""

    def __init__(self, status: int = 200, location: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.location = status, location
        self.heard: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.heard.append(self.headers.get("Authorization"))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        pass


def listening(server: Listener) -> Iterator[Listener]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lab() -> Iterator[Listener]:
    yield from listening(Listener())


@pytest.fixture
def sea() -> Iterator[Listener]:
    yield from listening(Listener())


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "config" / "contexts.json"
    monkeypatch.setenv("WHERRY_CONTEXTS", str(place))
    monkeypatch.delenv("WHERRY_URL", raising=False)
    monkeypatch.delenv("WHERRY_TOKEN", raising=False)
    return place


def add(name: str, url: str, token: str = "", *, by: pytest.MonkeyPatch) -> Said:
    import io
    import sys

    if not token:
        return wherry("context", "add", name, "--url", url)
    with by.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(token + "\n"))
        return wherry("context", "add", name, "--url", url, "--token-stdin")


def test_the_context_in_use_is_called_with_its_token(lab: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    assert add("lab", lab.url, TOKEN, by=monkeypatch).status == 0
    assert wherry("context", "use", "lab").status == 0
    assert wherry("rollout", "list").status == 0
    assert lab.heard == [f"Bearer {TOKEN}"]


def test_a_context_that_is_not_in_use_is_not_called(lab: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    add("lab", lab.url, TOKEN, by=monkeypatch)
    assert resolve("") == Context(url=LOCAL_URL)


def test_what_was_typed_comes_before_the_environment_and_that_before_the_context(
    lab: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("lab", lab.url, TOKEN, by=monkeypatch)
    wherry("context", "use", "lab")
    assert wherry("rollout", "list", url="http://127.0.0.1:1").status == 3
    assert wherry("rollout", "list", "--url", lab.url, url="http://127.0.0.1:1").status == 0
    assert len(lab.heard) == 1


def test_a_token_is_sent_nowhere_but_to_its_own_url(
    lab: Listener, sea: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("lab", lab.url, TOKEN, by=monkeypatch)
    wherry("context", "use", "lab")
    assert wherry("rollout", "list", "--url", sea.url).status == 0
    assert wherry("rollout", "list", url=sea.url).status == 0
    add("sea", sea.url, by=monkeypatch)
    wherry("context", "use", "sea")
    assert wherry("rollout", "list").status == 0
    assert sea.heard == [None, None, None]
    assert lab.heard == []


def test_a_token_does_not_follow_a_redirection(sea: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    for lab in listening(Listener(307, sea.url)):
        add("lab", lab.url, TOKEN, by=monkeypatch)
        wherry("context", "use", "lab")
        said = wherry("rollout", "list")
        assert (said.status, lab.heard, sea.heard) == (3, [f"Bearer {TOKEN}"], [])


def test_the_environments_token_goes_to_all_but_a_context_with_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_TOKEN", OTHER_TOKEN)
    contexts = {"lab": Context(url="http://lab:1", token=TOKEN), "sea": Context(url="http://sea:1")}
    save(Contexts(in_use="lab", contexts=contexts))
    assert resolve("").token == TOKEN
    assert resolve("http://sea:1").token == OTHER_TOKEN
    save(Contexts(in_use="sea", contexts=contexts))
    assert resolve("") == Context(url="http://sea:1", token=OTHER_TOKEN)


def test_no_command_shows_a_token(lab: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        add("lab", lab.url, TOKEN, by=monkeypatch),
        add("lab", "http://elsewhere:1", TOKEN, by=monkeypatch),
        wherry("context", "use", "lab"),
        wherry("context", "list"),
        wherry("context", "list", "--json"),
        wherry("context", "remove", "lab"),
    ]
    assert [said.status for said in told] == [0, 2, 0, 0, 0, 0]
    assert not any(TOKEN in said.out + said.err for said in told)
    assert told[4].json == [{"name": "lab", "url": lab.url, "in_use": True, "has_token": True}]


def test_nobody_but_the_owner_may_read_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add("lab", "http://lab:8470/", TOKEN, by=monkeypatch)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.chmod(0o644)
    add("sea", "http://sea:8470", by=monkeypatch)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert json.loads(file.read_bytes())["contexts"]["lab"] == {"url": "http://lab:8470", "token": TOKEN}


def test_a_link_stays_a_link(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    file.symlink_to(tmp_path / "kept-elsewhere.json")
    add("lab", "http://lab:8470", by=monkeypatch)
    assert file.is_symlink()
    assert "lab" in load().contexts


def test_the_same_name_and_url_renews_the_token_and_another_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    add("lab", "http://lab:1", TOKEN, by=monkeypatch)
    wherry("context", "use", "lab")
    assert add("lab", "http://lab:1", OTHER_TOKEN, by=monkeypatch).status == 0
    assert add("lab", "http://lab:1", by=monkeypatch).status == 2
    assert add("lab", "http://other:1", OTHER_TOKEN, by=monkeypatch).status == 2
    assert resolve("") == Context(url="http://lab:1", token=OTHER_TOKEN)


def test_a_context_that_was_in_use_and_is_removed_leaves_none_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    add("lab", "http://lab:1", TOKEN, by=monkeypatch)
    wherry("context", "use", "lab")
    assert wherry("context", "remove", "lab").status == 0
    assert load() == Contexts()
    add("lab", "http://lab:1", TOKEN, by=monkeypatch)
    wherry("context", "use", "lab")
    assert wherry("context", "use", "--none").status == 0
    assert resolve("") == Context(url=LOCAL_URL)


@pytest.mark.parametrize(
    "arguments",
    [
        ("use", "none-such"),
        ("use",),
        ("use", "lab", "--none"),
        ("remove", "none-such"),
        ("add", "Not A Name", "--url", "http://lab:1"),
        ("add", "sea", "--url", "lab:8470"),
        ("add", "sea", "--url", "http://"),
        ("add", "sea", "--url", "http://[lab"),
        ("add", "sea", "--url", "http://lab:port"),
        ("add", "sea", "--url", "http://me:secret@lab:1"),
    ],
)
def test_a_mistake_is_said_in_one_line_and_changes_nothing(
    arguments: tuple[str, ...], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("lab", "http://lab:1", TOKEN, by=monkeypatch)
    before = file.read_bytes()
    said = wherry("context", *arguments)
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert "secret" not in said.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("token", ["two words", "two\nlines", "größer", "\x00"])
def test_what_is_no_token_is_refused_without_being_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = add("lab", "http://lab:1", token, by=monkeypatch)
    assert (said.status, token in said.err, load()) == (2, False, Contexts())
    if "\x00" not in token:  # no environment can have one
        monkeypatch.setenv("WHERRY_TOKEN", token)
        assert wherry("rollout", "list", url="http://127.0.0.1:1").status == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"contexts": []}', b'{"contexts": {"lab": {}}}', b"\xff"])
def test_a_damaged_file_is_said_in_one_line_and_left_alone(
    content: bytes, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(Invalid, match="is damaged"):
        resolve("")
    assert add("lab", "http://lab:1", by=monkeypatch).status == 2
    assert file.read_bytes() == content
    assert resolve("http://lab:1").url == "http://lab:1", "who says where does not need the file"


def test_a_file_that_names_one_in_use_that_is_not_there_means_this_machine() -> None:
    save(Contexts(in_use="gone"))
    assert resolve("") == Context(url=LOCAL_URL)


def test_a_file_that_cannot_be_replaced_stays_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in its way, so that it holds for a superuser as well."""
    (file / "in the way").mkdir(parents=True)
    with pytest.raises(Unavailable):
        save(Contexts(in_use="lab"))
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(ControllerError):
        load()


def test_whoever_lists_them_is_told_that_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    add("lab", "http://lab:1", by=monkeypatch)
    assert "WHERRY_URL is set, and comes first: http://sea:1" in wherry("context", "list", url="http://sea:1").err
    assert wherry("context", "list").err == ""
