"""The controllers that a person works with, by name: a file of theirs, read anew by every command.

Rules upheld here:
- Nobody but its owner may read the file, since tokens stand in it. It is replaced whole, or not at all.
- The token of a context is sent to the URL of that context, and nowhere else.
- What was typed comes before the environment, the environment before the file, the file before this machine.
"""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from wherry.controller.errors import Invalid, Unavailable

LOCAL_URL = "http://127.0.0.1:8470"
"""Where a controller on this machine answers that was told nothing else."""


class Context(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A controller, and what is sent to it to be known there; "" where nothing is."""

    url: str
    token: str = ""


class Contexts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`in_use` is the name of one of them, or ""."""

    in_use: str = ""
    contexts: dict[str, Context] = {}


def resolve(url: str) -> Context:
    """The controller to call: at `url` where something was said, else that in use, else this machine's. Raises Invalid.

    A token in the environment goes to all but a context that has its own.
    """
    given = checked_token(os.environ.get("WHERRY_TOKEN", ""), "WHERRY_TOKEN")
    if url:
        return Context(url=url, token=given)
    known = load()
    chosen = known.contexts.get(known.in_use, Context(url=LOCAL_URL))
    return chosen if chosen.token else Context(url=chosen.url, token=given)


def load() -> Contexts:
    """Raises Invalid where the file is no such file, Unavailable where it cannot be read."""
    file = place()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Unavailable(f"cannot read {file}: {error.strerror}", "see to its rights") from error
    except msgspec.MsgspecError as error:
        raise Invalid(f"{file} is damaged: {error}", "mend or remove it, and add the contexts again") from error


def save(contexts: Contexts) -> None:
    """Raises Unavailable, with the old file as it was."""
    file = place().resolve()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(file, msgspec.json.format(msgspec.json.encode(contexts), indent=2))
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}", "see to room and rights") from error


def place() -> Path:
    """In the person's own configuration, or where WHERRY_CONTEXTS says."""
    import typer

    named = os.environ.get("WHERRY_CONTEXTS")
    return Path(named) if named else Path(typer.get_app_dir("wherry")) / "contexts.json"


def checked_url(url: str) -> str:
    """Raises Invalid for what no controller can answer at, or where a password stands in it, which lists would show."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Invalid(f"{url!r} is not a URL of a controller", "use http://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise Invalid("a URL of a controller has no user, query or fragment", "use http://HOST:PORT and --token-stdin")
    return url.rstrip("/")


def checked_token(text: str, source: str) -> str:
    """`text` as it can stand in a header. Raises Invalid, without the token."""
    token = text.strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise Invalid(f"{source} has no token in it", "give the one line that `wherry tokens create` printed")
    return token


def _replace(file: Path, content: bytes) -> None:
    """mkstemp makes a file that its owner alone may read."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as fresh:
            fresh.write(content)
            fresh.flush()
            os.fsync(fresh.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
