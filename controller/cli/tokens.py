"""`wherry tokens`: who may call the controller. With --data-dir, on its database itself: how the first one is made."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from wherry.controller.cli import show
from wherry.controller.cli.options import DEFAULT_URL, Json, Url

if TYPE_CHECKING:
    from wherry.controller.store.database import Database

app = typer.Typer(help="Who may call the controller.", no_args_is_help=True)

DataDir = Annotated[
    Path | None,
    typer.Option(help="Work on the database in this data directory, whether the controller runs or not."),
]
Place = Annotated[str | None, typer.Option("--database", help="Work on this PostgreSQL database, in the same way.")]
Name = Annotated[str, typer.Argument(help="Its name, as the audit log is to know it.")]


@app.command("create")
def create(
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, operator, release-manager or admin.")] = "viewer",
    days: Annotated[float | None, typer.Option(min=0.0, help="Expire after so many days; else never.")] = None,
    data_dir: DataDir = None,
    database: Place = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a token. It is printed once, and kept nowhere.

    Example: wherry tokens create root --role admin --data-dir wherry-data
    """
    from wherry.controller.operations import audit, tokens

    life_s = None if days is None else days * 86_400.0
    made: Any
    if data_dir is None and database is None:
        made = _api(url).post("tokens", {"name": name, "role": role, "expires_in_s": life_s})
    else:
        now_s = time.time()
        expires_s = None if life_s is None else now_s + life_s
        with _opened(data_dir, database) as db:
            made = msgspec.to_builtins(
                tokens.create(
                    db,
                    name,
                    tokens.known_role(role),
                    expires_s=expires_s,
                    now_s=now_s,
                    actor=audit.LOCAL,
                    random_hex=secrets.token_hex,
                )
            )
    show.as_json(made) if json else show.say(made["token"])


@app.command("list")
def list_tokens(data_dir: DataDir = None, database: Place = None, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List all that there ever were; none of the tokens themselves."""
    from wherry.controller.operations import tokens

    if data_dir is None and database is None:
        found = _api(url).get("tokens")
    else:
        with _opened(data_dir, database) as db:
            found = msgspec.to_builtins(tokens.list_tokens(db))
    if json:
        show.as_json(found)
        return
    rows = [(row["name"], row["role"], _state(row), show.age(row["created_s"]), row["created_by"]) for row in found]
    show.table(("token", "role", "state", "made", "by"), rows, empty="no tokens yet: `wherry tokens create`")


@app.command("revoke")
def revoke(
    name: Name, data_dir: DataDir = None, database: Place = None, json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Let no call with it be answered from now on."""
    from wherry.controller.operations import audit, tokens

    if data_dir is None and database is None:
        found = _api(url).delete(f"tokens/{tokens.known_name(name)}")
    else:
        with _opened(data_dir, database) as db:
            found = msgspec.to_builtins(tokens.revoke(db, name, now_s=time.time(), actor=audit.LOCAL))
    show.as_json(found) if json else show.say(f"{name} is revoked")


def _state(row: dict[str, Any]) -> str:
    if row["revoked_s"] is not None:
        return "revoked"
    if row["expires_s"] is None:
        return "valid"
    return "expired" if row["expires_s"] <= time.time() else "valid, expires"


def _api(url: str) -> Any:
    from wherry.controller.cli.api import Api

    return Api(url)


@contextmanager
def _opened(data_dir: Path | None, database: str | None) -> Iterator["Database"]:
    from wherry.controller.errors import Invalid
    from wherry.controller.store.database import open_database

    place = database if database is not None else (data_dir or Path()) / "controller.db"
    if isinstance(place, Path) and not place.is_file():
        raise Invalid(f"no controller has worked in {data_dir} yet", "start it once, or name its --data-dir")
    db = open_database(place, stand_by=True)
    try:
        yield db
    finally:
        db.close()
