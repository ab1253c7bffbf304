"""Inputs that a worker answered of late, kept in memory that its successor can read: would it answer alike?

    header    length (4 bytes), checksum (4), MessagePack of `Described`
    place     checksum (4 bytes), top class (4), the stored inputs one after the other; as many places as there is room

Rules upheld here:
- What is kept stays in memory and on the board: the file has no name, and ends with those who have it open.
- At most one input is kept in `SAMPLE_EVERY_S`, whatever is asked, and all memory is taken at the beginning: a worker
  that keeps inputs does not look like one that leaks.
- A place is read while it may be written. Its checksum tells, and it is passed over.
- Whoever reads trusts nothing that was written: sizes and lengths are judged first.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

MAX_SAMPLES = 100
SAMPLE_EVERY_S = 0.5
"""So that what is kept is of the last minute or so: pictures that follow each other at once are all the same."""

MAX_FILE_BYTES = 64 * 1024 * 1024

_WORDS = struct.Struct("<II")
_PAGE_BYTES = 4096


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What the stored inputs mean. `labels` are the names of the classes; `classes` is how many there are."""

    inputs: tuple[TensorSpec, ...]
    classes: int
    labels: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(spec.size_bytes for spec in self.inputs)


class Sample(NamedTuple):
    """The stored inputs as they were asked, one after the other, and the top class that was answered."""

    inputs: bytes
    top: int


class SampleKeeper:
    """Keeps the newest answers in `file`, which is closed here. Raises ValueError where not one has room in it."""

    def __init__(self, file: int, described: Described) -> None:
        try:
            room = min(os.fstat(file).st_size, MAX_FILE_BYTES)
            header = _framed(msgspec.msgpack.encode(described))
            self._first = len(header)
            self._stride = _WORDS.size + described.size_bytes
            self._places = min((room - self._first) // self._stride, MAX_SAMPLES)
            if self._places < 1:
                raise ValueError(f"{room} bytes have no room for a sample of {described.size_bytes}")
            self._memory = mmap.mmap(file, self._first + self._places * self._stride)
        finally:
            os.close(file)
        for offset in range(0, len(self._memory), _PAGE_BYTES):
            self._memory[offset] = 0
        self._memory[: self._first] = header
        self._count, self._due_s = 0, 0.0

    def answered(self, inputs: Sequence[Tensor], top: int, now_s: float) -> None:
        """Keep this one, unless one was kept just now."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + SAMPLE_EVERY_S
        body = b"".join([top.to_bytes(4, "little"), *[tensor.tobytes() for tensor in inputs]])
        if len(body) + 4 != self._stride:
            return  # answered all the same, though not as described
        at = self._first + self._count % self._places * self._stride
        self._memory[at : at + self._stride] = zlib.crc32(body).to_bytes(4, "little") + body
        self._count += 1


def read_samples(file: int) -> tuple[Described, list[Sample]]:
    """What is in the open `file`. Raises ValueError where nothing has been kept in it, or it is something else."""
    size = os.fstat(file).st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes are too many")
    data = os.pread(file, size, 0)
    if len(data) < _WORDS.size:
        raise ValueError("nothing was kept")
    length, checksum = _WORDS.unpack_from(data)
    header = data[_WORDS.size : _WORDS.size + length]
    if not length or len(header) < length or zlib.crc32(header) != checksum:
        raise ValueError("nothing was kept")
    try:
        described = msgspec.msgpack.decode(header, type=Described)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"what was kept cannot be read: {error}") from error
    return described, _samples(data[_WORDS.size + length :], described)


def _samples(data: bytes, described: Described) -> list[Sample]:
    stride = _WORDS.size + described.size_bytes
    found = []
    for at in range(0, min(len(data) - stride + 1, MAX_SAMPLES * stride), stride):
        checksum, top = _WORDS.unpack_from(data, at)
        if zlib.crc32(data[at + 4 : at + stride]) == checksum:
            found.append(Sample(data[at + _WORDS.size : at + stride], top))
    return found


def _framed(body: bytes) -> bytes:
    return _WORDS.pack(len(body), zlib.crc32(body)) + body
