"""Unpacks a `.zip` that a client sent, into a directory of our own.

Rules upheld here:
- Nothing lands outside: no absolute names, no `..`, no backslashes, no links, no name twice.
- Files and unpacked bytes are counted while they are written; what the archive says of itself is not believed.
- Whatever is wrong is the client's to mend, and names the entry.
"""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from wherry.controller.errors import Invalid
from wherry.protocol import limits

MAX_FILES = 100_000
MAX_BYTES = 8 * limits.KIB**3
_CHUNK_BYTES = limits.KIB * limits.KIB


def unpack(archive: Path, directory: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
    """Make `directory` with what `archive` holds. Raises Invalid, with nothing left of it."""
    directory.mkdir()
    try:
        with zipfile.ZipFile(archive) as source:
            _unpack(source, directory, max_files, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        shutil.rmtree(directory)
        raise Invalid(f"not a .zip that can be unpacked: {error}", "pack the directory again") from error
    except BaseException:
        shutil.rmtree(directory)
        raise


def _unpack(source: zipfile.ZipFile, directory: Path, max_files: int, max_bytes: int) -> None:
    entries = source.infolist()
    if len(entries) > max_files:
        raise Invalid(f"a .zip of {len(entries)} entries, where {max_files} are allowed", "send fewer")
    left_bytes = max_bytes
    for entry in entries:
        path = directory / _inside(entry)
        try:
            if entry.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open(entry) as packed, path.open("xb") as file:
                left_bytes -= _copy(packed, file, left_bytes)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Invalid(f"the .zip has {entry.filename!r} twice", "pack the directory again") from error
        if left_bytes < 0:
            raise Invalid(f"the .zip unpacks to more than {max_bytes} bytes", "send less")


def _copy(packed: IO[bytes], file: IO[bytes], limit_bytes: int) -> int:
    """How many bytes were copied; a little more than the limit at most."""
    copied = 0
    while copied <= limit_bytes and (chunk := packed.read(_CHUNK_BYTES)):
        file.write(chunk)
        copied += len(chunk)
    return copied


def _inside(entry: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's place below the directory. Raises Invalid where it has none."""
    name = PurePosixPath(entry.filename)
    mode = entry.external_attr >> 16
    odd = bool(stat.S_IFMT(mode)) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    long = any(len(part.encode(errors="surrogateescape")) > 255 for part in name.parts) or len(entry.filename) > 2048
    if odd or long or name.is_absolute() or ".." in name.parts or "\\" in entry.filename or not name.parts:
        raise Invalid(f"the .zip has {entry.filename[:200]!r}, which is no plain file in it", "pack plain files only")
    return name
