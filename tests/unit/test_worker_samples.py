"""What a worker keeps of what it was asked, and what its successor reads of it, whatever stands there."""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.fake_interpreter import INPUT, FakeInterpreter
from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.worker.engine import Engine, InferenceFailed
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.samples import (
    SAMPLE_EVERY_S,
    Described,
    Sample,
    SampleKeeper,
    framed,
    read_samples,
)
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.types import MAX_COMPARED

SPECS = st.builds(
    TensorSpec,
    name=st.just("x"),
    shape=st.lists(st.integers(0, 4), max_size=2).map(tuple),
    dtype=st.sampled_from(["int8"]),
)
WHAT = Described(inputs=(INPUT,), classes=4, labels=("a", "b", "c", "d"))
ROOMY = 64 * 1024


@pytest.fixture
def file() -> Iterator[SampleFile]:
    made = SampleFile(ROOMY)
    yield made
    made.close()


def keeper(file: SampleFile) -> SampleKeeper:
    return SampleKeeper(file.writable, WHAT)


def x(number: int) -> Tensor:
    return np.array([[number % 128, 1, 2, 3]], np.int8)


def read(file: SampleFile) -> list[Sample]:
    opened = file.open_for_reading()
    try:
        described, samples = read_samples(opened)
        assert described == WHAT
        return list(samples)
    finally:
        os.close(opened)


def test_what_was_kept_is_read_as_it_was_asked_and_answered(file: SampleFile) -> None:
    kept = keeper(file)
    for number in range(3):
        kept.answered([x(number)], number, number * SAMPLE_EVERY_S)
    assert read(file) == [Sample(x(number).tobytes(), number) for number in range(3)]


def test_only_the_newest_stay_and_none_that_follows_at_once(file: SampleFile) -> None:
    kept = keeper(file)
    for number in range(MAX_COMPARED + 7):
        at_s = number * SAMPLE_EVERY_S
        kept.answered([x(number)], number, at_s)
        kept.answered([x(99)], 99, at_s + SAMPLE_EVERY_S / 2)
    tops = [sample.top for sample in read(file)]
    assert sorted(tops) == list(range(7, MAX_COMPARED + 7))


def test_a_place_that_is_being_written_is_passed_over(file: SampleFile) -> None:
    kept = keeper(file)
    for number in range(3):
        kept.answered([x(number)], number, number * SAMPLE_EVERY_S)
    data = os.pread(file.writable, ROOMY, 0)
    at = data.index(x(1).tobytes())
    os.pwrite(file.writable, b"\x55", at)
    assert [sample.top for sample in read(file)] == [0, 2]


def test_nobody_can_cut_the_file_short_and_who_reads_cannot_write(file: SampleFile) -> None:
    """It is mapped into workers that serve: they would be killed."""
    with pytest.raises(PermissionError):
        os.ftruncate(file.writable, 10)
    opened = file.open_for_reading()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(opened, b"x", 0)
    os.close(opened)


@pytest.mark.parametrize("room", [0, 10, 100])
def test_where_not_one_input_has_room_nothing_is_kept(room: int) -> None:
    file = SampleFile(room)
    with pytest.raises(ValueError, match="have no room for a sample of 4"):
        SampleKeeper(file.writable, WHAT)
    opened = file.open_for_reading()
    with pytest.raises(ValueError, match="nothing was kept"):
        read_samples(opened)
    os.close(opened)
    file.close()


HEADERS = st.builds(Described, inputs=st.lists(SPECS, max_size=3).map(tuple), classes=st.integers(0, 9))


@given(HEADERS, st.lists(st.binary(max_size=20), max_size=5), st.booleans())
def test_whatever_stands_in_the_places_is_read_as_so_many_bytes_or_passed_over(
    described: Described, bodies: list[bytes], are_whole: bool
) -> None:
    """Whoever wrote it may have been a worker that a model had taken over: checksums are right, sizes are anything."""
    header = framed(msgspec.msgpack.encode(described))
    if are_whole:
        bodies = [(body + bytes(100))[: described.size_bytes + 4] for body in bodies]
    places = b"".join(struct.pack("<I", zlib.crc32(body)) + body for body in bodies)
    with contextlib.closing(SampleFile(1000)) as file:
        os.pwrite(file.writable, header + places, 0)
        found, samples = read_samples(file.writable)
        kept = [*samples]
    event(f"samples: {min(len(kept), 1)}")
    assert found == described
    assert len(kept) <= MAX_COMPARED
    assert {len(sample.inputs) for sample in kept} <= {described.size_bytes}
    assert not are_whole or [sample.inputs for sample in kept][: len(bodies)] == [body[4:] for body in bodies]


def _nested(depth: int) -> bytes:
    """`{"inputs": [[[[…"""
    return b"\x81\xa6inputs" + b"\x91" * depth + b"\xc0"


LIES = {
    "nothing": b"", "length": struct.pack("<II", 0xFFFFFFFF, 0), "depth": framed(_nested(100_000)),
    "no struct": framed(b"\xc0"), "checksum": framed(b"\xc0")[:4] + b"1234",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(lie: str) -> None:
    with contextlib.closing(SampleFile(200_000)) as file:
        os.pwrite(file.writable, LIES[lie], 0)
        with pytest.raises(ValueError, match=r"nothing was kept|cannot be read"):
            read_samples(file.writable)


def test_an_input_larger_than_any_memory_has_no_room_and_is_not_read() -> None:
    large = msgspec.structs.replace(WHAT, inputs=(msgspec.structs.replace(INPUT, shape=(1, 1 << 40)),))
    with contextlib.closing(SampleFile(1000)) as file:
        with pytest.raises(ValueError, match="have no room"):
            SampleKeeper(file.writable, large)
        os.pwrite(file.writable, framed(msgspec.msgpack.encode(large)), 0)
        assert [*read_samples(file.writable)[1]] == []


def test_an_engine_keeps_what_it_answered_and_not_what_failed(file: SampleFile) -> None:
    interpreter = FakeInterpreter()
    engine = Engine(Model("litert", interpreter), Identity(), 0.0, keeper(file))
    interpreter.run = lambda _: [np.zeros((1, 3), np.int8)]  # type: ignore[method-assign]
    with pytest.raises(InferenceFailed):
        engine.infer([x(9)])
    engine = Engine(Model("litert", FakeInterpreter()), Identity(), 0.0, keeper(file))
    engine.infer([x(7)])
    assert read(file) == [Sample(x(7).tobytes(), 0)]
