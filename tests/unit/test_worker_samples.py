"""What a worker keeps of what it was asked, and what its successor reads of it, whatever stands there."""

import contextlib
import os
import struct
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_interpreter import INPUT, FakeInterpreter
from wherry.agent.adapters.sample_file import SampleFile
from wherry.agent.worker.engine import Engine, InferenceFailed
from wherry.agent.worker.messages import Identity
from wherry.agent.worker.model import Model
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.agent.worker.samples import (
    MAX_FILE_BYTES,
    MAX_SAMPLES,
    SAMPLE_EVERY_S,
    Described,
    Sample,
    SampleKeeper,
    read_samples,
)

WHAT = Described(inputs=(INPUT,), classes=4, labels=("a", "b", "c", "d"))
ROOMY = 64 * 1024


@pytest.fixture
def file() -> Iterator[SampleFile]:
    made = SampleFile(ROOMY)
    yield made
    made.close()


def keeper(file: SampleFile) -> SampleKeeper:
    return SampleKeeper(os.dup(file.writable), WHAT)


def x(number: int) -> Tensor:
    return np.array([[number % 128, 1, 2, 3]], np.int8)


def read(file: SampleFile) -> list[Sample]:
    opened = file.open_for_reading()
    try:
        described, samples = read_samples(opened)
    finally:
        os.close(opened)
    assert described == WHAT
    return samples


def test_what_was_kept_is_read_as_it_was_asked_and_answered(file: SampleFile) -> None:
    kept = keeper(file)
    for number in range(3):
        kept.answered([x(number)], number, number * SAMPLE_EVERY_S)
    assert read(file) == [Sample(x(number).tobytes(), number) for number in range(3)]


def test_only_the_newest_stay_and_none_that_follows_at_once(file: SampleFile) -> None:
    kept = keeper(file)
    for number in range(MAX_SAMPLES + 7):
        at_s = number * SAMPLE_EVERY_S
        kept.answered([x(number)], number, at_s)
        kept.answered([x(99)], 99, at_s + SAMPLE_EVERY_S / 2)
    tops = [sample.top for sample in read(file)]
    assert sorted(tops) == list(range(7, MAX_SAMPLES + 7))


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
        SampleKeeper(os.dup(file.writable), WHAT)
    opened = file.open_for_reading()
    with pytest.raises(ValueError, match="nothing was kept"):
        read_samples(opened)
    os.close(opened)
    file.close()


@given(st.binary(max_size=300), st.booleans())
def test_whatever_stands_in_the_file_is_read_or_refused_in_words(garbage: bytes, with_header: bool) -> None:
    """Whoever wrote it may have been a worker that a model had taken over."""
    file = SampleFile(1000)
    if with_header:
        keeper(file)
    os.pwrite(file.writable, garbage, 200 if with_header else 0)
    with contextlib.closing(file), contextlib.suppress(ValueError):
        described, samples = read_samples(file.writable)
        assert {len(sample.inputs) for sample in samples} <= {described.size_bytes}


def test_sizes_that_nobody_has_are_refused_before_they_are_read() -> None:
    """Of the file, of the header, and of an input as the header says it."""
    file = SampleFile(MAX_FILE_BYTES + 1)
    with pytest.raises(ValueError, match="are too many"):
        read_samples(file.writable)
    file.close()
    file = SampleFile(100)
    os.pwrite(file.writable, struct.pack("<II", 0xFFFFFFFF, 0), 0)
    with pytest.raises(ValueError, match="nothing was kept"):
        read_samples(file.writable)
    file.close()
    file = SampleFile(1000)
    large = msgspec.structs.replace(INPUT, shape=(1, 1 << 40))
    with pytest.raises(ValueError, match="have no room"):
        SampleKeeper(os.dup(file.writable), msgspec.structs.replace(WHAT, inputs=(large,)))
    file.close()


def test_an_engine_keeps_what_it_answered_and_not_what_failed(file: SampleFile) -> None:
    interpreter = FakeInterpreter()
    engine = Engine(Model("litert", interpreter), Identity(), 0.0, keeper(file))
    interpreter.run = lambda _: [np.zeros((1, 3), np.int8)]  # type: ignore[method-assign]
    with pytest.raises(InferenceFailed):
        engine.infer([x(9)])
    engine = Engine(Model("litert", FakeInterpreter()), Identity(), 0.0, keeper(file))
    engine.infer([x(7)])
    assert read(file) == [Sample(x(7).tobytes(), 0)]
