"""Threads that meet types for the first time, all at once: `python -m tests.support.first_use ROUNDS [learnt]`.

Each round defines new types, as a process that has just started has them, and every thread decodes the same message a
little later than the one before. With `learnt` the types are learnt before the threads start, as our processes do.
"""

import sys
import threading
import time

import msgspec

from wherry.protocol.first_use import learn_types

THREADS = 6
APART_S = 15e-6
DEPTH = 6


def message_type(number: int) -> type[msgspec.Struct]:
    """A struct of structs of structs: the longer it takes to learn, the likelier is somebody else's turn meanwhile."""
    inner: type = int
    for depth in range(DEPTH):
        fields = [("name", str), ("inner", inner), ("other", str)]
        inner = msgspec.defstruct(f"Round{number}Depth{depth}", fields)
    return inner


def body() -> bytes:
    text = b"0"
    for _ in range(DEPTH):
        text = b'{"name":"a","inner":%b,"other":"b"}' % text
    return text


def one_round(number: int, *, learnt: bool) -> None:
    kind, data = message_type(number), body()
    if learnt:
        learn_types(kind.__module__)

    def decode(after_s: float) -> None:
        due_s = time.perf_counter() + after_s
        while time.perf_counter() < due_s:
            pass
        msgspec.json.decode(data, type=kind)

    threads = [threading.Thread(target=decode, args=(place * APART_S,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(rounds: int, *, learnt: bool) -> None:
    sys.setswitchinterval(1e-6)
    for number in range(rounds):
        one_round(number, learnt=learnt)


if __name__ == "__main__":
    main(int(sys.argv[1]), learnt=sys.argv[2:] == ["learnt"])
