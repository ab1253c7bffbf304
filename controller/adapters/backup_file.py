"""A backup: one tar file with a copy of the SQLite database and every artifact that this copy names.

Rules upheld here:
- It can be taken while a controller works: SQLite copies one moment, and artifacts never change.
- A file appears under its name whole, read again and found right; or not at all.
- Nothing in it is trusted when it is restored: names are those of the list, bytes have their digests.
- A restored data directory appears whole, or not at all.
"""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

import msgspec

from wherry.controller.errors import Invalid, Unavailable
from wherry.protocol.types import Struct, is_digest

FORMAT = 1
LIST = "backup.json"
DATABASE = "controller.db"
ARTIFACTS = "artifacts"
MAX_LIST_BYTES = 64 * 2**20
CHUNK_BYTES = 2**20


class Listed(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is in a backup: `database` is the digest of the copy, `artifacts` are those of the blobs."""

    format: int
    taken_s: float
    database: str
    artifacts: tuple[str, ...]


def take(database: Path, artifacts: Path, target: Path, *, now_s: float) -> Listed:
    """Write a backup to `target`, which must not be there. Raises Invalid or Unavailable."""
    if target.exists():
        raise Invalid(f"{target} is there already", "choose another name: a backup is never overwritten")
    if not database.is_file():
        raise Invalid(f"no database at {database}", "say with --data-dir where the controller keeps it")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as text:
            return _take(database, artifacts, Path(text), target, now_s)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise Unavailable(f"cannot back up to {target}: {error}", "see that there is room") from error


def _take(database: Path, artifacts: Path, scratch: Path, target: Path, now_s: float) -> Listed:
    copy, whole = scratch / DATABASE, scratch / "whole.tar"
    _copy_database(database, copy)
    listed = Listed(format=FORMAT, taken_s=now_s, database=_digest(copy), artifacts=_named(copy))
    (scratch / LIST).write_bytes(msgspec.json.encode(listed))
    with whole.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(scratch / LIST, LIST)
            tar.add(copy, DATABASE)
            for digest in listed.artifacts:
                tar.add(artifacts / digest, f"{ARTIFACTS}/{digest}")
        file.flush()
        os.fsync(file.fileno())
    read(whole, lambda _name, stream: _drain(stream))
    os.link(whole, target)  # unlike a rename, it refuses what has come there meanwhile
    _sync_directory(target.parent)
    return listed


def restore(backup: Path, data_dir: Path, prepare: Callable[[Path], None]) -> Listed:
    """Make `data_dir` of the backup; `prepare` changes the database in between. Raises Invalid or Unavailable.

    The directory must be empty or not there.
    """
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise Invalid(f"{data_dir} is not empty", "restore into a new directory, and start the controller on that")
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir.parent, prefix=f".{data_dir.name}-") as text:
            made = Path(text) / "data"
            (made / ARTIFACTS).mkdir(parents=True)
            listed = read(backup, lambda name, stream: _write(made / name, stream))
            prepare(made / DATABASE)
            _sync_directory(made / ARTIFACTS)
            _sync_directory(made)
            made.replace(data_dir)
            _sync_directory(data_dir.parent)
            return listed
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"cannot restore into {data_dir}: {error}", "see that there is room") from error


def read(backup: Path, take_in: Callable[[str, IO[bytes]], str]) -> Listed:
    """Go through a backup; `take_in` gets each file and tells its digest. Raises Invalid for what is not whole."""
    try:
        with tarfile.open(backup, "r:") as tar:
            listed = _list(tar)
            expected = {DATABASE: listed.database} | {f"{ARTIFACTS}/{digest}": digest for digest in listed.artifacts}
            for member in tar:
                digest = expected.pop(member.name, None)
                stream = tar.extractfile(member) if member.isreg() and digest is not None else None
                if stream is not None and take_in(member.name, stream) != digest:
                    raise Invalid(f"{member.name} in {backup} is damaged", "use another backup")
    except (tarfile.TarError, msgspec.MsgspecError, EOFError) as error:
        raise Invalid(f"{backup} is not a backup of Wherry, or not all of it: {error}", "use another one") from error
    except FileNotFoundError as error:
        raise Invalid(f"no backup at {backup}") from error
    if expected:
        raise Invalid(f"{backup} lacks {len(expected)} files", "use another backup")
    return listed


def _list(tar: tarfile.TarFile) -> Listed:
    first = tar.next()
    stream = tar.extractfile(first) if first is not None and first.name == LIST and first.isreg() else None
    if stream is None:
        raise tarfile.ReadError(f"it does not begin with {LIST}")
    listed = msgspec.json.decode(stream.read(MAX_LIST_BYTES), type=Listed)
    if listed.format != FORMAT or not all(map(is_digest, listed.artifacts)):
        raise tarfile.ReadError(f"its format is {listed.format}")
    return listed


def _copy_database(source: Path, target: Path) -> None:
    """One moment of the database, whoever writes meanwhile."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        found = copy.execute("PRAGMA integrity_check").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(f"the copy is damaged: {found[0]}")


def _named(database: Path) -> tuple[str, ...]:
    with closing(sqlite3.connect(database)) as copy:
        return tuple(row[0] for row in copy.execute("SELECT digest FROM blobs ORDER BY digest"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return _drain(file)


def _drain(stream: IO[bytes]) -> str:
    found = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()


def _write(path: Path, stream: IO[bytes]) -> str:
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())
    return _digest(path)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
