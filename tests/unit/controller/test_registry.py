"""Models and versions."""

import pytest

from tests.support.controller_values import make_manifest
from tests.support.depot import Depot
from wherry.controller.errors import Invalid, NotFound
from wherry.controller.operations import audit, registry
from wherry.protocol.blob import describe
from wherry.protocol.manifest import decode_manifest


def test_versions_are_numbered_and_their_manifests_kept(depot: Depot) -> None:
    first, second = depot.version("a"), depot.version("b")
    assert [str(first), str(second)] == ["digits:1", "digits:2"]
    kept = decode_manifest(depot.kept[second.manifest_ref.digest])
    assert (kept.version, kept) == (2, second.manifest)
    assert describe(depot.kept[second.manifest_ref.digest]) == second.manifest_ref
    assert [row.action for row in audit.list_audit(depot.db)] == ["version-created"] * 2


def test_the_same_content_is_the_same_version(depot: Depot) -> None:
    first = depot.version("a")
    depot.version("b")
    again = depot.version("a")
    assert (first.created, again.created) == (True, False)
    assert again.number == 1
    assert registry.list_models(depot.db)[0].versions == (1, 2)


def test_a_version_whose_bytes_are_missing_is_refused(depot: Depot) -> None:
    with pytest.raises(Invalid, match="the artifact of variant int8"):
        registry.create_version(depot.db, make_manifest("x"), report=b"{}", keep=depot.keep, now_s=1.0, actor="ann")
    assert registry.list_models(depot.db) == []
    assert depot.kept == {}


def test_a_report_must_be_json(depot: Depot) -> None:
    with pytest.raises(Invalid, match="report is not JSON"):
        registry.create_version(depot.db, make_manifest("x"), report=b"{", keep=depot.keep, now_s=1.0, actor="ann")


def test_a_name_without_a_number_is_the_newest(depot: Depot) -> None:
    depot.version("a")
    depot.version("b")
    assert str(registry.get_version(depot.db, "digits")) == "digits:2"
    assert str(registry.get_version(depot.db, "digits:1")) == "digits:1"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("digits:9", NotFound, "no version digits:9; the newest is digits:1"),
        ("doors", NotFound, "no model 'doors'; known are digits"),
        ("digits:x", Invalid, "name it as digits:3"),
        ("../etc", Invalid, "not a version"),
        ("digits:1\n", Invalid, "not a version"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(depot: Depot, text: str, error: type[Exception], words: str) -> None:
    depot.version("a")
    with pytest.raises(error) as refused:
        registry.get_version(depot.db, text)
    assert words in refused.value.line  # type: ignore[attr-defined]
