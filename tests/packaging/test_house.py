"""The promises of the tree itself: lock, licences, CI, links."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.packaging import licences

ROOT = Path(__file__).parents[2]


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_locked_requirement_has_a_version_and_hashes() -> None:
    entries = re.split(r"\n(?=\S)", licences.LOCK.read_text().strip())
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"^[a-z0-9-]+==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_no_file_names_a_registry_or_an_address_outside() -> None:
    """The lock names packages; where they come from is the machine's own setting."""
    assert not re.search(r"https?://|--index-url|--find-links", licences.LOCK.read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert not re.search(r"https?://|--index-url|--find-links", makefile)


def test_every_dependency_is_locked() -> None:
    tables = project()
    extras = tables["project"]["optional-dependencies"]  # type: ignore[index]
    wanted = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower()
        for extra, requirements in extras.items()
        if extra != "pytorch"  # optional and of gigabytes: installed by those who convert from it
        for requirement in requirements
    }
    assert wanted <= set(licences.locked())


def test_the_extras_are_those_that_the_design_names_and_one_for_cameras() -> None:
    tables = project()
    named = {"agent", "tflite", "controller", "converters", "pytorch"}
    assert set(tables["project"]["optional-dependencies"]) == named | {"camera"}  # type: ignore[index]


def test_the_page_of_licences_is_in_step() -> None:
    assert licences.PAGE.read_text() == licences.page(), "run `make generated`"


def test_ci_runs_the_test_command_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]


@pytest.mark.parametrize("name", ["agent", "controller", "converters", "protocol"])
def test_each_package_at_the_top_is_linked_under_the_one_name(name: str) -> None:
    assert (ROOT / "wherry" / name).resolve() == ROOT / name


def test_no_tracked_file_names_a_path_of_somebodys_machine() -> None:
    found = subprocess.run(
        ["git", "grep", "-nIE", r"(^|[^A-Za-z0-9_.])/(home|root|work)/[a-z]", "--", ".", ":!LICENSE"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode not in (0, 1):
        pytest.skip("not a git checkout")
    assert found.stdout == ""
