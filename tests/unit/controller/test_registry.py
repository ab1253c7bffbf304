"""Models and versions."""

from pathlib import Path

import pytest

from tests.support.controller_values import make_manifest, make_variant
from tests.support.depot import Depot
from tests.unit.controller.test_rollouts import complete, start
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.errors import Conflict, Invalid, NotFound, Unavailable
from wherry.controller.operations import audit, deletion, registry
from wherry.controller.operations.aliases import delete_alias, set_alias
from wherry.controller.operations.deletion import delete_version
from wherry.controller.operations.history import history
from wherry.controller.operations.retirement import retire, unretire
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
        ("digits@7", Invalid, "not a version"),
        ("digits@stable:1", Invalid, "not a version"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(depot: Depot, text: str, error: type[Exception], words: str) -> None:
    depot.version("a")
    with pytest.raises(error) as refused:
        registry.get_version(depot.db, text)
    assert words in refused.value.line  # type: ignore[attr-defined]


def _alias(depot: Depot, version: int, alias: str = "stable") -> registry.ModelView:
    return set_alias(depot.db, "digits", alias, version, now_s=depot.now_s, actor="ann")


def _actions(depot: Depot) -> list[str]:
    return [row.action for row in audit.list_audit(depot.db)][::-1]


def test_an_alias_names_a_version_and_is_moved(depot: Depot) -> None:
    depot.version("a")
    depot.version("b")
    assert _alias(depot, 1).aliases == {"stable": 1}
    assert str(registry.get_version(depot.db, "digits@stable")) == "digits:1"
    assert _alias(depot, 2).aliases == {"stable": 2}
    assert registry.get_version(depot.db, "digits@stable").aliases == ("stable",)
    _alias(depot, 2)
    assert delete_alias(depot.db, "digits", "stable", now_s=1.0, actor="ann").aliases == {}
    assert _actions(depot)[2:] == ["alias-set", "alias-set", "alias-deleted"], "the repetition changed nothing"


@pytest.mark.parametrize("alias", ["7", "", "Stable", "a:b", "a@b", "a/b", "x" * 64])
def test_what_is_no_alias_is_refused(depot: Depot, alias: str) -> None:
    depot.version("a")
    with pytest.raises(Invalid, match="not an alias"):
        _alias(depot, 1, alias)


def test_an_alias_that_is_not_there_is_told_with_those_that_are(depot: Depot) -> None:
    depot.version("a")
    with pytest.raises(NotFound, match="no version digits:9"):
        _alias(depot, 9)
    with pytest.raises(NotFound, match="no alias digits@stable") as refused:
        registry.get_version(depot.db, "digits@stable")
    assert "has no aliases" in refused.value.fix
    _alias(depot, 1, "candidate")
    with pytest.raises(NotFound) as refused:
        delete_alias(depot.db, "digits", "stable", now_s=1.0, actor="ann")
    assert refused.value.fix == "known are digits@candidate"


def test_a_retired_version_runs_on_and_is_not_rolled_out(fleet: Depot) -> None:
    complete(fleet, 1)
    assert retire(fleet.db, "digits:1", reason="old", now_s=2.0, actor="ann").retired_s == 2.0
    assert retire(fleet.db, "digits:1", now_s=3.0, actor="ann").retired_s == 2.0, "the second time changes nothing"
    assert str(fleet.runs("pi-1")) == "digits:1"
    assert registry.list_models(fleet.db)[0].retired == (1,)
    with pytest.raises(Conflict, match="digits:1 is retired"):
        start(fleet, 1)
    with pytest.raises(Conflict, match="digits:1 is retired"):
        _alias(fleet, 1)
    assert unretire(fleet.db, "digits:1", now_s=4.0, actor="ann").retired_s is None
    assert _alias(fleet, 1).aliases == {"stable": 1}


def test_what_is_in_use_is_neither_retired_nor_deleted(fleet: Depot) -> None:
    _alias(fleet, 2)
    start(fleet, 2)
    for refused in (retire, delete_version):
        with pytest.raises(Conflict) as why:
            refused(fleet.db, "digits:2", now_s=1.0, actor="ann")
        assert "named by digits@stable; rollout 1 of it is running" in why.value.message
    assert "wanted on pi-1" in why.value.message


def test_what_runs_or_would_be_given_back_is_not_deleted(fleet: Depot) -> None:
    complete(fleet, 1)
    start(fleet, 2)
    with pytest.raises(Conflict) as why:
        delete_version(fleet.db, "digits:1", now_s=1.0, actor="ann")
    first = why.value.message.split("; ")
    assert first[0].startswith("digits:1 is in use: a revert would give it back to pi-")
    assert first[1].startswith("wanted on pi-")
    assert first[2] == "reported by pi-1, pi-2, pi-3, pi-4"


def test_a_number_is_never_given_again(depot: Depot) -> None:
    depot.version("a")
    depot.version("b")
    delete_version(depot.db, "digits:2", now_s=1.0, actor="ann")
    assert str(depot.version("b")) == "digits:3"
    for number in (1, 3):
        delete_version(depot.db, f"digits:{number}", now_s=1.0, actor="ann")
    with pytest.raises(NotFound, match="has no versions any more"):
        registry.get_version(depot.db, "digits")
    assert str(depot.version("c")) == "digits:4"


def test_blobs_that_another_version_names_stay(depot: Depot) -> None:
    shared = make_variant("shared")
    depot.version("a", shared)
    depot.version("b", shared, make_variant("b", name="float16"))
    gone = delete_version(depot.db, "digits:2", now_s=1.0, actor="ann").blobs
    assert len(gone) == 3, "its manifest, and both blobs of float16"
    assert not {shared.artifact.digest, shared.golden.digest}.intersection(gone)
    assert len(delete_version(depot.db, "digits:1", now_s=1.0, actor="ann").blobs) == 3


def test_files_go_only_where_no_row_names_them(depot: Depot, tmp_path: Path) -> None:
    """Negative control: a sweep that did not look at the rows would drop all three."""
    store = ArtifactStore(tmp_path / "artifacts")
    kept, gone, back = (store.put(text.encode() * 40_000) for text in ("kept", "gone", "back"))
    registry.add_blob(depot.db, kept, now_s=1.0)
    registry.add_blob(depot.db, back, now_s=1.0)
    assert store.digests(older_than_s=1000.0) == []
    assert deletion.let_go(depot.db, [gone.digest, back.digest], store.drop) == [gone.digest]
    assert deletion.sweep(depot.db, store.digests(), store.drop) == []
    assert store.digests() == sorted([kept.digest, back.digest])
    assert not (tmp_path / "artifacts" / f"{gone.digest}.hashes").exists()
    with pytest.raises(Unavailable, match="let go of meanwhile"):
        registry.add_blob(depot.db, gone, now_s=1.0, has=store.has)


def test_the_history_tells_of_a_model_or_of_one_version(fleet: Depot) -> None:
    _alias(fleet, 1)
    complete(fleet, 1)
    registry.edit_notes(fleet.db, "digits:3", "a try", now_s=5.0, actor="bob")
    delete_version(fleet.db, "digits:3", now_s=6.0, actor="bob")
    told = [(row.actor, row.action, row.subject) for row in history(fleet.db, "digits")]
    assert told[:2] == [("bob", "version-deleted", "digits:3"), ("bob", "notes-changed", "digits:3")]
    assert ("ann", "alias-set", "digits@stable") in told
    assert ("ann", "rollout-started", "rollout 1") in told
    assert [row.subject for row in history(fleet.db, "digits:3")] == ["digits:3"] * 3
    assert {row.subject for row in history(fleet.db, "digits@stable")} == {"digits:1", "rollout 1"}
    with pytest.raises(NotFound, match="no version digits:4"):
        history(fleet.db, "digits:4")


def test_notes_are_changed_and_what_they_were_is_on_record(depot: Depot) -> None:
    depot.version("a")
    for _ in range(2):
        assert registry.edit_notes(depot.db, "digits:1", "for the hall", now_s=1.0, actor="ann").notes == "for the hall"
    rows = audit.list_audit(depot.db, subject="digits:1")
    assert [row.detail for row in rows if row.action == "notes-changed"] == [{"before": "", "notes": "for the hall"}]


def test_models_are_listed_in_pages(depot: Depot) -> None:
    for name in ("a", "b", "c"):
        depot.version(name, model=name)
    assert [model.name for model in registry.list_models(depot.db, after="a", limit=1)] == ["b"]
