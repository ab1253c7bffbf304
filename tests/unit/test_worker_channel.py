"""The control channel: framing, limits and hostile bytes."""

import os
import random
import socket
from collections.abc import Iterator

import pytest

from wherry.agent.worker.channel import (
    MAX_MESSAGE_BYTES,
    Frames,
    Received,
    WorkerChannel,
    decode_answer,
    decode_order,
    encode,
)
from wherry.agent.worker.errors import ChannelBroken, ChannelClosed
from wherry.agent.worker.messages import Identity, Load, Refused, SelfTest, Serve, Stop, Stopped
from wherry.protocol.manifest import Tolerance
from wherry.protocol.types import MAX_REASON_CHARS

ORDERS = [Serve(window_s=5.0, max_request_bytes=4096), Stop(), Serve()]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, WorkerChannel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, WorkerChannel(theirs)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 7, 64, 4096])
def test_messages_survive_any_cutting_of_the_stream(chunk_bytes: int) -> None:
    stream = b"".join(encode(order) for order in ORDERS)
    frames = Frames()
    bodies = [body for at in range(0, len(stream), chunk_bytes) for body in frames.feed(stream[at : at + chunk_bytes])]
    assert [decode_order(body) for body in bodies] == ORDERS


def test_a_length_over_the_limit_is_refused_before_the_body_comes() -> None:
    with pytest.raises(ChannelBroken, match="exceeds the limit"):
        list(Frames().feed((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")))


def test_a_message_over_the_limit_is_never_sent() -> None:
    with pytest.raises(ValueError, match="exceeds the limit"):
        encode(Load(family="litert", inputs=(), outputs=(), identity=Identity(model="x" * MAX_MESSAGE_BYTES)))


def test_whatever_is_not_an_answer_breaks_the_channel_and_nothing_else() -> None:
    chance = random.Random(3)
    honest = encode(Refused(reason="no"))[4:]
    broken = 0
    for _ in range(2000):
        data = bytearray(honest if chance.random() < 0.5 else chance.randbytes(chance.randrange(1, 60)))
        data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode_answer(bytes(data))
        except ChannelBroken:
            broken += 1
    assert broken > 1000


@pytest.mark.parametrize("data", [b"", encode(Stop())[4:], encode(Refused(reason="x" * (MAX_REASON_CHARS + 1)))[4:]])
def test_empty_foreign_and_overlong_messages_are_no_answers(data: bytes) -> None:
    with pytest.raises(ChannelBroken):
        decode_answer(data)


def test_two_orders_in_one_packet_are_both_taken(pair: tuple[socket.socket, WorkerChannel]) -> None:
    ours, channel = pair
    ours.sendall(encode(ORDERS[0]) + encode(ORDERS[1]))
    assert [channel.poll(None), channel.poll(None)] == [Received(order, []) for order in ORDERS[:2]]
    assert channel.poll(0) is None


def test_half_an_order_is_waited_for(pair: tuple[socket.socket, WorkerChannel]) -> None:
    ours, channel = pair
    data = encode(ORDERS[0])
    ours.sendall(data[:5])
    assert channel.poll(0) is None
    ours.sendall(data[5:])
    assert channel.poll(None) == Received(ORDERS[0], [])


def test_end_of_file_closes_the_channel(pair: tuple[socket.socket, WorkerChannel]) -> None:
    ours, channel = pair
    ours.close()
    with pytest.raises(ChannelClosed):
        channel.poll(None)
    with pytest.raises(ChannelClosed):
        channel.say(Stopped())


def test_open_files_stay_with_their_orders(pair: tuple[socket.socket, WorkerChannel]) -> None:
    ours, channel = pair
    pipes = [os.pipe() for _ in range(3)]
    load = SelfTest(tolerance=Tolerance(family="litert", max_abs=0, min_cosine=1))
    ours.sendall(encode(Stop()))
    socket.send_fds(ours, [encode(load)], [pipes[0][0]])
    socket.send_fds(ours, [encode(Serve(listeners=("http", "fast"), files=2))], [pipes[1][0], pipes[2][0]])
    received = [channel.poll(1.0) for _ in range(3)]
    for number, (_, end) in enumerate(pipes):
        os.write(end, bytes([number]))
    read = [[os.read(file, 1)[0] for file in one.files] for one in received if one is not None]
    assert read == [[], [0], [1, 2]]
    for file in [*(file for one in received if one for file in one.files), *(end for pipe in pipes for end in pipe)]:
        os.close(file)


def test_an_order_without_its_open_files_breaks_the_channel(pair: tuple[socket.socket, WorkerChannel]) -> None:
    ours, channel = pair
    ours.sendall(encode(SelfTest(tolerance=Tolerance(family="litert", max_abs=0, min_cosine=1))))
    with pytest.raises(ChannelBroken, match="0 of its 1 open files"):
        channel.poll(1.0)
