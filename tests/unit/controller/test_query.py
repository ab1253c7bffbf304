"""Queries over the fleet: what they mean, and where the mistake is when they mean nothing."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.controller_values import LITERT, TFLITE, make_birth
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.query import MAX_CHARACTERS, expand, groups_of, holds, parse_query
from wherry.controller.errors import Invalid

BOARD = Candidate(
    device="pi-1", online=True,
    birth=make_birth(
        LITERT, TFLITE, python="3.11.7", agent_version="0.10.0", machine="aarch64", ram_bytes=2_000_000_000,
        slots=("main", "spare"), accelerators=("edgetpu",),
        labels={"site": "berlin", "line": "7", "shelf row": "3 b", "device": "mine", "runtime.x": "y"},
    ),
)  # fmt: skip
MUTE = Candidate(device="pi-2", online=False, birth=None)


@pytest.mark.parametrize(
    "text",
    [
        "site=berlin",
        "label.site=berlin",
        "site = berlin and ram_mb>=2000 and runtime.litert>=2.1",
        "site=rome or site=berlin",
        "site=rome and line=1 or site=berlin",
        "site=berlin or site=rome and line=1",
        "not (site=rome or line=8)",
        "not site=rome and not line=8",
        "site in (rome, berlin)",
        "ram_mb=2000",
        "ram_mb<2000.5",
        "ram_mb>1999.5",
        "cpu_count in (2, 4)",
        "agent>0.9",
        "python<3.12",
        "runtime.tflite-runtime=2.14",
        "slot=spare",
        "accelerator=edgetpu",
        "machine=aarch64 and os=Linux",
        "presence=online",
        "device in (pi-1, pi-9)",
        "label.device=mine",
        "site!=rome",
        "nothing!=here",
        'site="berlin"',
        "notebook!=1 and order!=2",
    ],
)
def test_a_query_means_the_board(text: str) -> None:
    assert holds(parse_query(text), BOARD)
    assert not holds(parse_query(f"not ({text})"), BOARD)


@pytest.mark.parametrize(
    "text", ["site=rome", "site=Berlin", "ram_mb>2000", "slot!=spare", "agent<0.9", "nothing=here", "accelerator=gpu"]
)
def test_a_query_means_others(text: str) -> None:
    assert not holds(parse_query(text), BOARD)


def test_a_board_that_has_not_said_what_it_can_is_known_by_its_name_alone() -> None:
    assert holds(parse_query("device=pi-2 and presence=offline"), MUTE)
    for text in ("site=berlin", "ram_mb>=0", "python>0", "machine=aarch64", "slot=main", "runtime.litert>=0"):
        assert not holds(parse_query(text), MUTE)
        assert holds(parse_query(f"not {text}"), MUTE)


def test_a_version_that_cannot_be_read_compares_with_nothing() -> None:
    odd = Candidate(device="pi-3", online=True, birth=make_birth(agent_version="unreleased", python=""))
    assert not holds(parse_query("agent>=0 or agent<0 or python>=0"), odd)


SAVED = {"lab": "site=berlin or site=rome", "big": "ram_mb>=2000"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("@lab", "(site=berlin or site=rome)"),
        ("@lab and @big", "(site=berlin or site=rome) and (ram_mb>=2000)"),
        ("not(@lab)and line=7", "not((site=berlin or site=rome))and line=7"),
        ('line="@lab" or @big', 'line="@lab" or (ram_mb>=2000)'),
        ("line=7", "line=7"),
    ],
)
def test_a_group_stands_for_its_query(text: str, expanded: str) -> None:
    assert expand(text, SAVED) == expanded
    assert groups_of(expanded) == ()
    assert holds(parse_query(expanded), BOARD) in (True, False)


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("line=7 and @hall", 12, "at '@hall': no such group; there are @big, @lab"),
        ("@Lab", 1, "names of groups have lower case letters"),
        ("line=@lab", 6, "at '@lab': expected a value"),
        ("@lab=3", 5, "at '=3': expected and, or, the end"),
        ("line=7 and @", 12, "at '@': expected a field, a @group, "),
    ],
)
def test_a_mistake_with_a_group_is_shown_where_it_is(text: str, column: int, what: str) -> None:
    with pytest.raises(Invalid) as refused:
        expand(text, SAVED)
    assert refused.value.message.startswith(f"column {column} of the query, "), refused.value.message
    assert what in refused.value.message


def test_a_query_that_grows_too_long_by_its_groups_is_refused() -> None:
    with pytest.raises(Invalid, match="a query of 1007 characters with its groups"):
        expand("@a and @a", {"a": "b=" + "c" * 497})


def test_a_group_that_was_not_looked_up_is_never_taken_for_nobody() -> None:
    with pytest.raises(Invalid, match="there is no group @lab here"):
        holds(parse_query("line=7 and @lab"), BOARD)


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "at the end: expected a field, a @group, not, a parenthesis"),
        ("site", 5, "at the end: expected = != < <= > >=, in"),
        ("site=", 6, "at the end: expected a value"),
        ("site=berlin and", 16, "at the end: expected a field"),
        ("(site=a or site=b", 18, "expected a closing parenthesis"),
        ("site=a site=b", 8, "at 'site=b': expected and, or, the end"),
        ("site in (a, b", 14, "expected a closing parenthesis, a comma"),
        ("site in a", 9, "at 'a': expected a parenthesis"),
        ("site=ä", 6, "at 'ä': expected a value"),
        ("site>3", 1, "site is text, which has no order"),
        ("site=a and ram_mb>=big", 20, "at 'big': expected a number, such as 2000"),
        ("site=a and runtime.litert>=new", 28, "at 'new': expected a version, such as 2.14.0"),
        ("runtime.tf>=1", 1, "no such field; there are runtime.litert, runtime.tflite-runtime"),
        ("ram_mb>=nan", 9, "expected a number"),
        ("ram_mb>=1e999", 9, "expected a number"),
        ("python>=3.x", 9, "expected a version"),
        ('site="berlin', 6, "expected a value"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, column: int, what: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_query(text)
    assert refused.value.message.startswith(f"column {column} of the query, ")
    assert what in refused.value.message


def test_long_and_deep_queries_are_read_or_refused() -> None:
    deep = "(" * 498 + "a=1" + ")" * 498
    assert len(deep) <= MAX_CHARACTERS
    assert not holds(parse_query(deep), BOARD)
    assert not holds(parse_query("not " * 248 + "a=1"), BOARD)
    with pytest.raises(Invalid, match="a query of 1001 characters"):
        parse_query("a" * 1001)


def test_the_queries_of_the_page_are_right() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "fleet-queries.md").read_text()
    queries = re.findall(r"(?m)^    wherry .*'(.+)'", page)
    assert len(queries) == 5
    for query in queries:
        parse_query(query)


PIECES = ["site", "=", "!=", ">", "(", ")", "and", "or", "not", "in", ",", "7", '"', "ram_mb", "ä", "@lab"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        query = parse_query(expand(text, SAVED))
    except Invalid:
        return
    assert holds(query, BOARD) in (True, False)
