"""`wherry models`, as a person gives it, from the package to the last of its files."""

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cargo_hold import make_version
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import NO_CONTEXTS, WHERRY, Said, wherry, write_package

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    """Two versions, registered from their packages."""
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data") as desk:
        for number in (1, 2):
            package = write_package(tmp_path / f"package-{number}", make_version(number))
            assert models(desk, "add", package).status == 0
        yield desk


def models(desk: HttpDesk, *arguments: str | Path) -> Said:
    return wherry("models", *arguments, url=f"http://127.0.0.1:{desk.port}")


def test_a_version_is_named_shown_by_its_name_and_listed(desk: HttpDesk) -> None:
    assert models(desk, "alias", "digits@stable", "1").out == "digits@stable is digits:1\n"
    assert models(desk, "alias", "digits@stable", "digits:2", "--json").json["aliases"] == {"stable": 2}
    assert "aliases: stable" in models(desk, "show", "digits@stable").out
    assert models(desk, "retire", "digits:1").status == 0
    assert "1 (retired), 2" in models(desk).out
    assert "stable: 2" in models(desk).out
    assert models(desk, "alias", "digits@stable", "--delete").out == "digits@stable is no name any more\n"


def test_a_version_gets_notes_and_is_retired_and_taken_back(desk: HttpDesk) -> None:
    assert models(desk, "notes", "digits:1", "of the winter").out == "digits:1: of the winter\n"
    assert "digits:1 is retired" in models(desk, "retire", "digits:1", "--reason", "old").out
    shown = models(desk, "show", "digits:1").out
    assert ("notes: of the winter" in shown, "retired 0 s ago" in shown) == (True, True)
    assert models(desk, "retire", "digits:1", "--undo").out == "digits:1 is in use again\n"
    told = models(desk, "history", "digits:1").out
    assert all(what in told for what in ("version-unretired", "version-retired", "notes-changed", "version-created"))


def test_a_version_is_deleted_with_the_files_that_only_it_had(desk: HttpDesk) -> None:
    before = desk.left_behind()
    gone = models(desk, "delete", "digits:1", "--yes", "--json").json
    assert (gone["version"], len(gone["blobs"])) == ("digits:1", 3)
    assert not any(name.startswith(digest) for name in desk.left_behind() for digest in gone["blobs"])
    assert set(desk.left_behind()) < set(before)
    for digest in gone["blobs"]:
        assert desk.client.get(f"/artifacts/{digest}").status_code == 404
    assert models(desk, "show", "digits:2").status == 0
    assert models(desk, "show", "digits:1").status == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("alias", "digits"), "name it as digits@stable"),
        (("alias", "digits@stable"), "give its number"),
        (("alias", "digits@stable", "digits:x"), "give its number"),
        (("alias", "digits@stable", "9"), "no version digits:9"),
        (("alias", "digits@7", "1"), "not a version"),
        (("notes", "digits", "x"), "names no single version"),
        (("retire", "digits@stable"), "no alias digits@stable"),
        (("delete", "digits:1"), "add --yes"),
        (("history", "doors"), "no model 'doors'"),
    ],
)
def test_a_mistake_is_said_in_one_line(desk: HttpDesk, arguments: tuple[str, ...], words: str) -> None:
    said = models(desk, *arguments)
    assert (said.status, words in said.err) == (2, True), said.err


def test_an_upload_shows_a_bar_on_a_terminal_and_nowhere_else(desk: HttpDesk, tmp_path: Path) -> None:
    package = write_package(tmp_path / "package-3", make_version(3))
    screen, terminal = pty.openpty()
    command = [*WHERRY, "models", "add", str(package), "--url", f"http://127.0.0.1:{desk.port}"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "WHERRY_CONTEXTS": NO_CONTEXTS}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, check=True)
    os.close(terminal)
    shown = os.read(screen, 65536).decode()
    os.close(screen)
    assert "220.0/220.0 kB" in shown
    assert all(file.name in shown for file in package.glob("*.tflite"))
    assert done.stdout.startswith("registered as digits:3")
    assert models(desk, "add", package).err == ""
