"""What `wherry conversions start` sends: files uploaded by digest, directories packed, options in TOML.

Rules upheld here:
- The same directory is packed into the same bytes, so that it is uploaded once.
- Nothing is left out in silence: a link, or what else is no plain file, is refused, as the controller would.
"""

import hashlib
import re
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wherry.controller.cli.api import Api
from wherry.controller.errors import Invalid

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a .zip can tell: a file's time is no part of what it is."""

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")
_WORD = re.compile(r"[\w.:+-]+\Z")


def upload(api: Api, given: str) -> dict[str, str]:
    """Put a file or a packed directory into the artifact store; the input that names it. Raises Invalid."""
    path = Path(given)
    if not path.exists() and _CALLABLE.match(given):
        return {"callable": given}
    try:
        if path.is_dir():
            return _upload_directory(api, path)
        return {"digest": _put(api, path), "file_name": path.name}
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}", "name a file or a directory that can be read") from error


def options(given: Iterable[str]) -> dict[str, Any]:
    """`name=value` as fields: TOML, with a bare word as a string. Raises Invalid."""
    lines = [_line(option) for option in given]
    try:
        return tomllib.loads("\n".join(lines))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid(f"the options do not go together: {error}", "give each once") from error


def recipe(given: str) -> str:
    """The name of a variant as it is, or the text of the file. Raises Invalid."""
    path = Path(given)
    if not path.exists():
        return given
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: cannot be read as a recipe: {error}", "name a variant, or a TOML file") from error


def _line(option: str) -> str:
    name, separator, value = option.partition("=")
    if separator and _WORD.match(value.strip()) and not _is_toml(option):
        option = f'{name}="{value.strip()}"'
    if not separator or not _is_toml(option):
        raise Invalid(f"not name=value: {option!r}", 'write the value as in TOML: 3, 0.5, true, "text", [1, 2]')
    return option


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def _upload_directory(api: Api, directory: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
        packed = Path(scratch) / "packed.zip"
        _pack(directory, packed)
        return {"digest": _put(api, packed), "file_name": f"{directory.resolve().name}.zip"}


def _pack(directory: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise Invalid(f"{path} is no plain file", "copy what it stands for into the directory")
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix() + "/" * path.is_dir(), EPOCH)
            if path.is_dir():
                archive.writestr(entry, b"")
                continue
            with path.open("rb") as file, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := file.read(1024 * 1024):
                    target.write(chunk)


def _put(api: Api, path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    api.put_file(f"artifacts/{digest}", path)
    return digest
