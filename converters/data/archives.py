"""`.npz` and `.npy` files, told apart by their first bytes.

Rules upheld here:
- Pickled objects are never loaded.
- An archive is read row by row to its end, so its checksums are checked and what is not taken is not kept; a
  single array is mapped into memory.
- A header that does not fit the size of its file is damage: nothing is allocated on its word.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from wherry.converters.data.rows import (
    Array,
    ArrayColumn,
    Column,
    Found,
    Labels,
    not_finite,
    refuse_bad,
    rows_a_chunk,
)
from wherry.converters.errors import DataError

FORM = "save it with numpy.savez(path, x=inputs) or numpy.savez(path, x=inputs, y=class_indices)"

_format: Any = np.lib.format  # has no types
_HEADERS = {(1, 0): _format.read_array_header_1_0, (2, 0): _format.read_array_header_2_0}


def read_file(where: str, path: Path) -> Found:
    """The arrays of the file. Raises DataError."""
    with _blaming(where), path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PK"):
        with _blaming(where):
            columns = _members(where, path)
        return Found(where, columns, fix=FORM)
    if start == _format.MAGIC_PREFIX:
        with _blaming(where):
            values = _mapped(path)
        return Found(where, {"x": ArrayColumn(f"{where}: x", values)}, fix="save it with numpy.save(path, inputs)")
    if start.startswith(b"\x80"):
        raise _pickled(where)
    kinds = "a .npz or .npy file, a folder of pictures, or package.module:callable"
    raise DataError(f"{where}: not an .npz or .npy file, or damaged", f"data is {kinds}; {FORM}")


def read_arrays(where: str, arrays: dict[str, Array], fix: str) -> Found:
    """Arrays that are in memory already."""
    columns: dict[str, Column] = {name: ArrayColumn(f"{where}: {name}", values) for name, values in arrays.items()}
    return Found(where, columns, fix=fix)


@dataclass(frozen=True)
class MemberColumn:
    """An array in an archive, of which only the header was read."""

    where: str
    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool

    def take(self, indices: Labels) -> Array:
        name = self.member.removesuffix(".npy")
        with _blaming(self.where), zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            if self.by_column:
                values = _format.read_array(stream, allow_pickle=False)
                return ArrayColumn(f"{self.where}: {name}", values).take(indices)
            _header(stream)
            return self._taken(f"{self.where}: {name}", stream, indices)

    def _taken(self, name: str, stream: IO[bytes], indices: Labels) -> Array:
        taken = np.empty((len(indices), *self.shape[1:]), self.dtype)
        start, bad = 0, [np.empty(0, np.int64)]
        for chunk in self._chunks(stream):
            first, last = np.searchsorted(indices, [start, start + len(chunk)])
            taken[first:last] = chunk[indices[first:last] - start]
            bad.append(not_finite(chunk) + start)
            start += len(chunk)
        refuse_bad(name, np.concatenate(bad), self.shape[0])
        return taken

    def _chunks(self, stream: IO[bytes]) -> Iterator[Array]:
        step = rows_a_chunk(self.shape, self.dtype)
        row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        for start in range(0, self.shape[0], step):
            rows = min(step, self.shape[0] - start)
            data = stream.read(rows * row_bytes)
            yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
        if stream.read(1):  # at the end of the member its checksum is compared
            raise EOFError


def _members(where: str, path: Path) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                shape, by_column, dtype = _header(stream)
                header_bytes = stream.tell()
            if not dtype.hasobject and header_bytes + _size_bytes(shape, dtype) != member.file_size:
                raise EOFError
            name = member.filename.removesuffix(".npy")
            columns[name] = MemberColumn(where, path, member.filename, shape, dtype, by_column and len(shape) > 1)
    return columns


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    read = _HEADERS.get(_format.read_magic(stream))
    if read is None:
        raise ValueError("of a later format")
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header


def _size_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size


def _mapped(path: Path) -> Array:
    values: Array
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # nothing can be mapped of an empty array
        values = np.load(path, allow_pickle=False)
    return values


def _pickled(where: str) -> DataError:
    return DataError(f"{where}: holds Python objects, which are not loaded", FORM)


@contextmanager
def _blaming(where: str) -> Iterator[None]:
    """Whatever reading raises is about the file."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{where}: not readable by this user", "change its permissions") from error
    except (ValueError, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise _pickled(where) from error
        raise DataError(f"{where}: not an .npz or .npy file, or damaged", FORM) from error
