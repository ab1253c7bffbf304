"""What a script may rely on: every kind of end has a number of its own, and `--help` tells it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import wherry, wherry_process
from wherry.controller import errors
from wherry.controller.cli.__main__ import _status_of

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md"

STATUS = {
    errors.NotFound: 2,
    errors.Conflict: 2,
    errors.Invalid: 2,
    errors.NotAllowed: 4,
    errors.Unavailable: 3,
    errors.Deposed: 3,
    errors.NewerSchema: 3,
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        yield desk


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_has_its_status(kind: type[errors.ControllerError]) -> None:
    assert _status_of(kind("it is so")) == STATUS[kind]


def test_no_kind_of_error_is_forgotten() -> None:
    found = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert found - STATUS.keys() == {errors.ControllerError, errors.UserError, errors.Changed}
    assert _status_of(errors.Changed(None)) == 2


def test_commands_end_with_them(desk: HttpDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{desk.port}"
    monkeypatch.delenv("WHERRY_TOKEN", raising=False)
    assert wherry("models", "list", url=url).status == 0
    assert wherry("models", "show", "nothing:1", url=url).status == 2
    assert wherry("models", "launch").status == 2
    assert wherry("models", "list", url="http://127.0.0.1:1").status == 3
    place = ("--data-dir", str(desk.artifacts_dir.parent))
    token = wherry("tokens", "create", "guest", *place).out.strip()
    assert wherry("models", "list", url=url).status == 4, "with the first token, who has none is not known"
    monkeypatch.setenv("WHERRY_TOKEN", token)
    assert wherry("models", "list", url=url).status == 0
    refused = wherry("tokens", "list", url=url)
    assert refused.status == 4
    assert "this needs the role admin" in refused.err


@pytest.mark.slow
def test_a_process_ends_with_them() -> None:
    said = wherry_process("models", "list", "--url", "http://127.0.0.1:1")
    assert (said.status, said.out, len(said.err.splitlines())) == (3, "", 1)


def test_help_and_the_page_tell_them() -> None:
    told = " ".join(wherry("--help").out.split())
    assert "Exit status: 0 well, 1 the answer is bad, 2 change something, 3 no controller, 4 not allowed" in told
    page = PAGE.read_text()
    assert all(f"| {status} |" in page for status in (0, 1, 2, 3, 4, 130))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("wherry roll", {"rollout", "rollback"}), ("wherry rollout pau", {"pause"}), ("wherry context use la", {"lab"})],
)
def test_the_shell_completes_commands_and_names_of_contexts(typed: str, offered: set[str], tmp_path: Path) -> None:
    contexts = tmp_path / "contexts.json"
    contexts.write_text('{"contexts": {"lab": {"url": "http://lab:1"}, "sea": {"url": "http://sea:1"}}}')
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_WHERRY_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "wherry.controller.cli"],
        env=os.environ | words | {"WHERRY_CONTEXTS": str(contexts)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) == offered
