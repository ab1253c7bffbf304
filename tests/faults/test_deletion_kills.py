"""A controller killed anywhere in the deletion of a version: a row always has its file, and no file stays for good.

The version is either there with all that it names, or gone. What a kill leaves of its files is found by the sweep at
the next start.
"""

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.controller_values import make_manifest, make_variant
from tests.support.depot import Depot
from tests.support.statement_kills import Copies, Operate, killed, moments, opened
from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.operations import deletion, registry
from wherry.controller.store.database import Database
from wherry.controller.store.tables import BlobRow, VersionRow
from wherry.protocol.blob import BlobRef
from wherry.protocol.manifest import Manifest

pytestmark = pytest.mark.slow

Tried = Callable[[str], None]
Drop = Callable[[str], object]

VARIANTS = ("shared int8", "a float16", "b float16")
"""The bytes of the stand-ins that `make_variant` describes are their names."""


class Shelf:
    """Two versions, which share one variant, in a database at `place` and with their files."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "controller.db"
        self.store = ArtifactStore(directory / "artifacts")
        self._kept = [f"{what} {of}".encode() for what in ("artifact", "golden") for of in VARIANTS]
        depot = Depot(self.place)
        shared = make_variant("shared")
        for salt in "ab":
            self._register(depot.db, make_manifest(salt, shared, make_variant(salt, name="float16")))
        depot.db.close()

    def fill(self) -> None:
        """Bring back whatever files were taken."""
        for data in self._kept:
            self.store.put(data)

    def _register(self, db: Database, manifest: Manifest) -> None:
        for variant in manifest.variants:
            for ref in (variant.artifact, variant.golden):
                registry.add_blob(db, ref, now_s=1.0)
        registry.create_version(db, manifest, report=b"{}", keep=self._keep, now_s=1.0, actor="ann")

    def _keep(self, manifest: bytes) -> BlobRef:
        self._kept.append(manifest)
        return self.store.put(manifest)

    def what_is_wrong(self, db: Database) -> list[str]:
        """After the start of the next controller."""
        deletion.sweep(db, self.store.digests(), self.store.drop)
        with db.read() as session:
            rows = set(session.scalars(select(BlobRow.digest)))
            versions = list(session.scalars(select(VersionRow.number).order_by(VersionRow.number)))
        files = set(self.store.digests())
        found = [f"{digest} has a row and no file" for digest in rows - files]
        found += [f"{digest} has a file and no row" for digest in files - rows]
        expected = {(1, 2): 8, (1,): 5}
        if len(rows) != expected.get(tuple(versions)):
            found.append(f"versions {versions} with {len(rows)} blobs")
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def _delete(drop: Drop) -> Operate:
    """As the route does it."""

    def operate(db: Database) -> None:
        gone = deletion.delete_version(db, "digits:2", now_s=2.0, actor="ann")
        assert len(gone.blobs) == 3
        deletion.let_go(db, gone.blobs, drop)

    return operate


def _delete_files_first(drop: Drop) -> Operate:
    """A fault: the files go before it is certain that the rows do."""

    def operate(db: Database) -> None:
        with db.read() as session:
            named = session.get_one(VersionRow, ("digits", 2)).manifest_digest
        drop(named)
        deletion.delete_version(db, "digits:2", now_s=2.0, actor="ann")

    return operate


def _dying(drop: Drop, at: int) -> Drop:
    """Kills the process before the file that has this number is dropped."""
    passed = count()

    def dying(digest: str) -> None:
        if next(passed) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        drop(digest)

    return dying


def _kill_everywhere(
    shelf: Shelf, make: Callable[[Drop], Operate], scratch: Path, *, files: int
) -> tuple[int, list[str]]:
    """At every statement, and before each of its `files`; how many kills there were, and what was wrong after them."""
    with Copies(shelf.place, scratch).copy() as place:
        told = moments(place, make(shelf.store.drop))
    tries = [(make(shelf.store.drop), at) for at in range(1, len(told) + 1)]
    tries += [(make(_dying(shelf.store.drop, at)), len(told) + 1) for at in range(files)]
    wrong = []
    for operate, at in tries:
        shelf.fill()
        with Copies(shelf.place, scratch).copy() as place:
            assert killed(place, operate, at)
            with opened(place) as db:
                wrong += shelf.what_is_wrong(db)
    return len(tries), wrong


def test_a_kill_anywhere_in_a_deletion_leaves_no_row_without_its_file_and_no_file_for_good(
    shelf: Shelf, tmp_path: Path, tried: Tried
) -> None:
    kills, wrong = _kill_everywhere(shelf, _delete, tmp_path, files=3)
    tried(f"{kills} kills in a deletion")
    assert wrong == []


def test_files_that_go_first_are_found(shelf: Shelf, tmp_path: Path) -> None:
    """The negative control."""
    _, wrong = _kill_everywhere(shelf, _delete_files_first, tmp_path, files=1)
    assert any("has a row and no file" in line for line in wrong)
