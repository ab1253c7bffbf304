"""The state record on disk: two copies of one record, each with a sequence number and a checksum.

A copy is a header of 60 bytes and the record as MessagePack. All numbers are big-endian:

    8  magic "WHERRY\\r\\n"    4  format    8  sequence    4  payload length
    32 SHA-256 of the payload              4  CRC-32 of the 56 bytes before

The header never changes, whatever the format, so that an older agent knows a newer record for what
it is and does not take it for a damaged one. A record of an older format is migrated as it is read; the next
save writes it in the present one over the other copy, so that a cut meanwhile leaves the old one.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from wherry.agent.adapters.store.durable import disk_errors, overwrite
from wherry.agent.core.record import DeviceRecord
from wherry.agent.errors import NewerFormat, StoreError

FORMAT = 2
MAGIC = b"WHERRY\r\n"
_HEADER = struct.Struct(">8sIQI32s")
_CHECK = struct.Struct(">I")


Raw = dict[str, Any]


def _from_1(raw: Raw) -> Raw:
    """Format 1 counted no unsteady starts, and knew neither a document at hand nor a floor of time."""
    return {**raw, "unsteady_boots": 0, "handling": None, "floor_s": 0.0}


MIGRATIONS: dict[int, Callable[[Raw], Raw]] = {1: _from_1}
"""From each older format to the one after it. Released ones are never edited."""


class Copy(msgspec.Struct, frozen=True):
    """What one valid copy holds."""

    format: int
    sequence: int
    payload: bytes


class RecordFile:
    """Loads the newest valid copy and writes over the other one."""

    def __init__(self, directory: Path) -> None:
        self._paths = (directory / "state.a", directory / "state.b")
        self._sequence = 0
        self._next = 0
        self.damaged: tuple[str, ...] = ()

    def load(self) -> DeviceRecord | None:
        """The newest valid record; None where there is none. Raises NewerFormat.

        `damaged` then names the copies that exist and are not valid, or hold no record. Raises StoreError where none is
        valid and the disk does not give one: it may give it at the next start, and nothing must be written over it.
        """
        found = [(path, self._read(path)) for path in self._paths]
        self.damaged = tuple(path.name for path, copy in found if not isinstance(copy, Copy | FileNotFoundError))
        valid = [(copy, path) for path, copy in found if isinstance(copy, Copy)]
        for copy, path in sorted(valid, key=lambda entry: entry[0].sequence, reverse=True):
            if copy.format > FORMAT:
                raise NewerFormat(path.parent, copy.format, FORMAT)
            record = decode(copy)
            if record is not None:
                self._sequence = max(copy.sequence for copy, _ in valid)
                self._next = 1 - self._paths.index(path)
                return record
            self.damaged += (path.name,)
        for _, error in found:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise StoreError(f"reading the state record: {error.strerror or error}") from error
        return None

    def save(self, record: DeviceRecord) -> None:
        """Make `record` the newest; it is on disk when this returns. Raises StoreError."""
        data = pack(self._sequence + 1, msgspec.msgpack.encode(record))
        with disk_errors("saving the state record"):
            overwrite(self._paths[self._next], data)
        self._sequence += 1
        self._next = 1 - self._next

    def _read(self, path: Path) -> Copy | OSError | None:
        """None where it is damaged."""
        try:
            return unpack(path.read_bytes())
        except OSError as error:
            return error


def decode(copy: Copy) -> DeviceRecord | None:
    """The record in a copy of this format or an older one; None where it is none, which would be a bug of ours."""
    try:
        if copy.format == FORMAT:
            return msgspec.msgpack.decode(copy.payload, type=DeviceRecord)
        raw = msgspec.msgpack.decode(copy.payload)
        for number in range(copy.format, FORMAT):
            raw = MIGRATIONS[number](raw)
        return msgspec.convert(raw, DeviceRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return None


def pack(sequence: int, payload: bytes, record_format: int = FORMAT) -> bytes:
    header = _HEADER.pack(MAGIC, record_format, sequence, len(payload), hashlib.sha256(payload).digest())
    return header + _CHECK.pack(zlib.crc32(header)) + payload


def unpack(data: bytes) -> Copy | None:
    """The copy in `data`; None where a single bit of it is not as it was written."""
    start = _HEADER.size + _CHECK.size
    if len(data) < start:
        return None
    magic, record_format, sequence, length, digest = _HEADER.unpack_from(data)
    payload = data[start:]
    if magic != MAGIC or _CHECK.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
        return None
    if len(payload) != length or hashlib.sha256(payload).digest() != digest:
        return None
    return Copy(record_format, sequence, payload)
