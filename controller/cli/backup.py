"""`wherry backup` and `wherry restore`: a copy of all that a controller keeps, and a controller out of it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from wherry.controller.errors import Invalid

ACTOR = "operator"

DataDir = Annotated[Path, typer.Option(help="The controller's data directory.")]
Database = Annotated[
    str | None,
    typer.Option(
        envvar="WHERRY_DATABASE", show_envvar=True, show_default=False, help="The controller's PostgreSQL database."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print what was done as one line of JSON.")]


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")],
    data_dir: DataDir = Path("wherry-data"),
    database: Database = None,
    json: Json = False,
) -> None:
    """Copy the database and every artifact into one file, also while the controller works.

    The file appears when it is whole and was read again. Of a controller on PostgreSQL, use pg_dump and copy the
    directory of artifacts afterwards.

    Example: wherry backup /backup/wherry-2027-03-01.tar --data-dir /var/lib/wherry
    """
    from wherry.controller.adapters import backup_file

    if database is not None:
        raise Invalid(
            "this controller keeps its rows in PostgreSQL",
            "back those up with pg_dump, and copy the directory `artifacts` afterwards",
        )
    listed = backup_file.take(data_dir / backup_file.DATABASE, data_dir / "artifacts", file, now_s=time.time())
    count, size = len(listed.artifacts), file.stat().st_size
    _tell(listed, f"{file}: the database and {count} artifacts, {size} bytes", json=json)


def restore(
    file: Annotated[Path | None, typer.Argument(help="What `wherry backup` wrote.", show_default=False)] = None,
    data_dir: DataDir = Path("wherry-data"),
    database: Database = None,
    json: Json = False,
) -> None:
    """Make a data directory of a backup, in a new epoch, so that the fleet follows it.

    Devices that were ordered something newer since are given what the backup says of them. Rollouts that were under
    way are paused: resume those that are still wanted. The controller that the backup is of must not run any more.
    With --database and without a file, a PostgreSQL database that pg_restore has made is prepared in the same way.

    Example: wherry restore /backup/wherry-2027-03-01.tar --data-dir /var/lib/wherry
    """
    from wherry.controller.adapters import backup_file
    from wherry.controller.operations import backup as operations
    from wherry.controller.store.database import open_database

    done: list[operations.TakenOver] = []

    def prepare(place: Path | str) -> None:
        db = open_database(place)
        try:
            done.append(operations.take_over(db, now_s=time.time(), actor=ACTOR))
        finally:
            db.close()

    if (file is None) == (database is None):
        raise Invalid("say what to restore", "name a FILE, or with --database a restored PostgreSQL database")
    if file is not None:
        backup_file.restore(file, data_dir.absolute(), prepare)
    elif database is not None:
        prepare(database)
    _tell(done[0], _words(done[0]), json=json)


def _words(done: object) -> str:
    from wherry.controller.operations.backup import TakenOver

    assert isinstance(done, TakenOver)
    paused = f"; paused: rollouts {', '.join(map(str, done.paused))}" if done.paused else ""
    return f"restored in epoch {done.epoch}; {done.ordered} devices are ordered anew{paused}"


def _tell(value: object, words: str, *, json: bool) -> None:
    from wherry.controller.cli import show

    if json:
        show.as_json_line(value)
    else:
        typer.echo(words)
