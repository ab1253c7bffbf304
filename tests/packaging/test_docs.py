"""The documentation is in step with the code: generated pages, tables of defaults, links, and quoted commands."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from tests.packaging import commands_page, http_page, settings_page
from wherry.controller.cli.__main__ import app
from wherry.controller.core.gates import GATES
from wherry.controller.core.members import Standing
from wherry.controller.core.plan import RolloutPlan, Target, WaveStep
from wherry.protocol.codec import LIMIT_BYTES
from wherry.protocol.manifest import HealthLimits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SKIPPED = {".venv", ".wherry", "build", "dist", ".git", ".pytest_cache"}
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts) and not path.is_symlink()
)
PROSE = [path for path in PAGES if path not in (commands_page.PAGE, ROOT / "CHANGELOG.md")]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """Of the headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """Relative links of `page` that lead to no file, or to no heading."""
    found = []
    for link in LINK.findall(without_code(text)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_to_nowhere_is_noticed() -> None:
    """The negative control."""
    text = "[a](nowhere.md) [b](README.md#nothing) `[c](code.md)` [d](README.md#wherry)"
    assert broken(ROOT / "README.md", text) == ["nowhere.md", "README.md#nothing"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """What stands between backticks and begins with a folder at the top."""
    tops = "agent|benchmarks|controller|converters|docs|examples|firmware-images|protocol|requirements|tests|wherry"
    named = re.findall(rf"`((?:{tops})/[\w./-]*)`", FENCE.sub("", page.read_text()))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    assert [name_of(page) for page in sorted(DOCS.rglob("*.md")) if page != index and page not in linked] == []


def test_the_page_of_commands_is_in_step() -> None:
    assert commands_page.PAGE.read_text() == commands_page.page(), "run `make generated`"


def test_the_page_of_the_http_api_is_in_step() -> None:
    assert http_page.PAGE.read_text() == http_page.page(), "run `make generated`"


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^(?: {4})?make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets((ROOT / "Makefile").read_text())


# Commands.


def quoted(text: str) -> Iterator[str]:
    """Every command line that begins with `wherry`, in code blocks and between backticks."""
    for language, block in FENCE.findall(text):
        if language in ("sh", "text"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from re.findall(r"(?:^|&& |^\$ )(wherry .*?)(?= && |$)", line)
    yield from re.findall(r"`(wherry [a-z][^`\n]*)`", FENCE.sub("", text))


def words(line: str) -> list[str]:
    """The arguments, without what belongs to the shell."""
    plain = re.split(r"\s+(?:#|[0-9]?>|&|\|)(?:\s|$)", line.replace("…", "").strip(), maxsplit=1)[0]
    return shlex.split(plain)[1:]


@cache
def command() -> Any:
    return typer.main.get_command(app)


def problem(line: str) -> str:
    """Why the command would not be understood, empty where it would be. An argument may be left out in prose."""
    node: Any = command()
    rest = words(line)
    while getattr(node, "commands", None) and rest and not rest[0].startswith("-"):
        if rest[0] not in node.commands:
            return f"no command {rest[0]}"
        node, rest = node.commands[rest[0]], rest[1:]
    try:
        node.make_context("wherry", list(rest))  # it takes the list apart
    except typer.Exit:
        return ""
    except typer.TyperException as error:
        said = error.format_message()
        return "" if said.startswith("Missing") or not rest else said
    return ""


def test_every_command_that_is_quoted_would_be_understood() -> None:
    found = [(name_of(page), line) for page in PROSE for line in quoted(page.read_text())]
    assert len(found) > 50
    assert [(page, line, why) for page, line in found if (why := problem(line))] == []


@pytest.mark.parametrize(
    "line",
    ["wherry sail", "wherry rollout begin", "wherry devices --colour", "wherry rollout watch one", "wherry logs a b"],
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    """The negative control."""
    assert list(quoted(f"```sh\n{line}\n```")) == [line]
    assert problem(line)


# Tables.


def rows(page: Path) -> dict[str, list[str]]:
    """Cells by what stands between backticks in the first one; several names there have as many values."""
    found: dict[str, list[str]] = {}
    for line in page.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        first, *cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        names = re.findall(r"`([^`]+)`", first)
        values = cells[0].split(", ") if len(names) > 1 else [cells[0]]
        assert len(values) in (1, len(names)), line
        for number, name in enumerate(names):
            found[name] = [values[min(number, len(values) - 1)].strip("`").strip(), *cells[1:]]
    return found


def shown(value: object) -> str:
    """A default as the tables have it."""
    if value is None or value == {} or value == ():
        return "none"
    if isinstance(value, Target):
        return "all"
    if isinstance(value, tuple) and all(isinstance(step, WaveStep) for step in value):
        return ",".join(f"{step.amount}{'%' if step.percent else ''}" for step in value)
    if isinstance(value, int | float) and value >= 1024 * 1024 and value % (1024 * 1024) == 0:
        return f"{value / (1024 * 1024):g} MiB"
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def defaults(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key with its default, sections unfolded; required ones are empty."""
    for field in msgspec.structs.fields(kind):
        value = field.default
        if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            value = field.default_factory()
        if isinstance(value, msgspec.Struct) and not isinstance(value, Target):
            yield from defaults(type(value), f"{prefix}{field.name}.")
        elif field.name not in ("slots", "feed"):
            yield prefix + field.name, "" if value is msgspec.NODEFAULT else shown(value)


def test_the_page_of_the_agents_settings_is_in_step() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `make generated`"


def test_every_setting_says_what_it_means() -> None:
    """A field without a docstring below it has no meaning to print."""
    told = {kind.__name__: settings_page.docstrings(kind).keys() for kind in settings_page.sections()}
    fields = {kind.__name__: set(kind.__struct_fields__) for kind in settings_page.sections()}
    nested = {"broker", "artifacts", "worker", "data_plane", "sandbox", "slots"}
    assert {name: found - told[name] - nested for name, found in fields.items() if found - told[name] - nested} == {}


def test_health_limits_and_plan_are_documented_with_their_defaults() -> None:
    page = (DOCS / "reference" / "health-and-gates.md").read_text()
    for kind, heading in ((HealthLimits, "## Health limits, on the device"), (RolloutPlan, "## The plan")):
        section = page.partition(heading + "\n")[2].partition("\n## ")[0]
        found = re.findall(r"^\| `(\w+)` \| (.*?) ?\|", section, re.MULTILINE)
        assert dict(found) == dict(defaults(kind)), heading


def test_every_gate_and_every_standing_is_documented() -> None:
    page = rows(DOCS / "reference" / "health-and-gates.md")
    assert {name for name, _ in GATES} <= page.keys()
    assert set(Standing.__args__) <= page.keys()  # type: ignore[attr-defined]


def test_every_message_is_documented_with_its_limit() -> None:
    page = (DOCS / "reference" / "protocol.md").read_text()
    found = re.findall(r"^\| `d/\{device\}/(?:up|down)/(\w+)` \|.*\| (\d+) KiB \|", page, re.MULTILINE)
    assert {kind: int(size) * 1024 for kind, size in found} == LIMIT_BYTES
