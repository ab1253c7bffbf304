"""The fast mode on the wire: a Unix stream socket, a hello, then a frame for each request and each answer.

    hello    4 length                                     MessagePack, from the worker, as soon as it has accepted
    request  4 length  4 label                            every input's stored bytes, in the model's order; -1: no label
    answer   4 length  1 status 1 flags 2 0 4 latency_us  every output's stored bytes, or a text

All numbers are little-endian; a length is of what follows the header. A connection belongs to one worker, so to one
version: what it said in its hello holds until it is closed. A worker that gives way to another stops reading, answers
what it has read, with the flag `MOVED`, and closes; what was sent later is not read by anybody, and can be sent again.
"""

import struct

import msgspec

from wherry.agent.worker.messages import Identity
from wherry.protocol.manifest import TensorSpec
from wherry.protocol.types import Struct

REQUEST = struct.Struct("<Ii")
ANSWER = struct.Struct("<IBBHI")
HELLO = struct.Struct("<I")

OK, REFUSED, FAILED = 0, 1, 2
MOVED = 1

NO_LABEL = -1
MAX_HELLO_BYTES = 256 * 1024
MAX_TEXT_BYTES = 4096


class Hello(Struct, frozen=True, kw_only=True):
    """Who answers on this connection, and what it takes and gives. `refusal` instead, where it takes no more."""

    v: int = 1
    identity: Identity = Identity()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    refusal: str = ""


def encode_hello(hello: Hello) -> bytes:
    body = msgspec.msgpack.encode(hello)
    return HELLO.pack(len(body)) + body
