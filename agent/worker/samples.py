"""Inputs that a worker answered of late, kept in memory that its successor can read: would it answer alike?

    header    length (4 bytes), checksum (4), MessagePack of `Described`
    place     checksum (4 bytes), top class (4), the stored inputs one after the other; as many places as there is room

Rules upheld here:
- What is kept stays on the board: the file has no name, and ends with those who have it open.
- At most one input is kept in `SAMPLE_EVERY_S`, whatever is asked, and all memory is taken at the beginning: a worker
  that keeps inputs does not look like one that leaks.
- A place is read while it may be written. Its checksum tells, and it is passed over.
- Whoever reads trusts nothing that was written, and holds one sample at a time.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.types import MAX_COMPARED

SAMPLE_EVERY_S = 0.5
"""So that what is kept is of the last minute or so: pictures that follow each other at once are all the same."""

MAX_HEADER_BYTES = 128 * 1024
"""As much as the order has that the specs come with."""

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

    @property
    def place_bytes(self) -> int:
        return _WORDS.size + self.size_bytes


class Sample(NamedTuple):
    """The stored inputs as they were asked, one after the other, and the top class that was answered."""

    inputs: bytes
    top: int


class SampleKeeper:
    """Keeps the newest answers in the open `file`, the caller's to close. Raises ValueError where none has room."""

    def __init__(self, file: int, described: Described) -> None:
        header = framed(msgspec.msgpack.encode(described))
        self._first, self._stride = len(header), described.place_bytes
        self._sizes = [spec.size_bytes for spec in described.inputs]
        room = os.fstat(file).st_size
        self._places = min((room - self._first) // self._stride, MAX_COMPARED)
        if self._places < 1:
            raise ValueError(f"{room} bytes have no room for a sample of {described.size_bytes}")
        self._memory = mmap.mmap(file, self._first + self._places * self._stride)
        for offset in range(0, len(self._memory), _PAGE_BYTES):
            self._memory[offset] = 0
        self._memory[: self._first] = header
        self._count, self._due_s = 0, 0.0

    def answered(self, inputs: Sequence[Tensor], top: int, now_s: float) -> None:
        """Keep this one, unless one was kept just now, or it is not as described."""
        if now_s < self._due_s or [tensor.nbytes for tensor in inputs] != self._sizes:
            return
        self._due_s = now_s + SAMPLE_EVERY_S
        start = self._first + self._count % self._places * self._stride
        checksum, at = zlib.crc32(top.to_bytes(4, "little")), start + _WORDS.size
        for tensor in inputs:
            data = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
            self._memory[at : at + data.nbytes] = data
            checksum, at = zlib.crc32(data, checksum), at + data.nbytes
        _WORDS.pack_into(self._memory, start, checksum, top)
        self._count += 1


def read_samples(file: int) -> tuple[Described, Iterator[Sample]]:
    """What is in the open `file`. Raises ValueError where nothing has been kept in it, or it is something else."""
    frame = os.pread(file, _WORDS.size, 0)
    length, checksum = _WORDS.unpack(frame) if len(frame) == _WORDS.size else (0, 0)
    header = os.pread(file, min(length, MAX_HEADER_BYTES), _WORDS.size)
    if not length or len(header) < length or zlib.crc32(header) != checksum:
        raise ValueError("nothing was kept")
    try:
        described = msgspec.msgpack.decode(header, type=Described)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"what was kept cannot be read: {error}") from error
    return described, _samples(file, _WORDS.size + length, described.place_bytes)


def _samples(file: int, first: int, stride: int) -> Iterator[Sample]:
    places = min((os.fstat(file).st_size - first) // stride, MAX_COMPARED)
    for number in range(places):
        place = os.pread(file, stride, first + number * stride)
        checksum, top = _WORDS.unpack_from(place)
        if zlib.crc32(place[4:]) == checksum:
            yield Sample(place[_WORDS.size :], top)


def framed(body: bytes) -> bytes:
    return _WORDS.pack(len(body), zlib.crc32(body)) + body
