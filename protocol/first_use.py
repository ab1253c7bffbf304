"""Every type of message known to msgspec before there are threads.

msgspec learns a type at its first use, and keeps what it knows so far where all threads find it (0.22: the field of a
`Struct` that it has not come to is a null pointer there). A thread that decodes the same type meanwhile crashes the
whole process. So who is about to start threads calls `learn_types` first; `tests/faults/test_first_use.py` shows both.
"""

import contextlib
from collections.abc import Iterator

import msgspec


def learn_types(package: str = "") -> int:
    """Have msgspec learn every type that is defined by now; how many there are. Takes 2 ms for the agent's.

    In a process that is not ours alone only those of one `package`.
    """
    learnt = 0
    for each in _below(msgspec.Struct):
        if each.__module__.startswith(package):
            with contextlib.suppress(TypeError):  # what cannot be decoded is made by hand alone
                msgspec.json.Decoder(each)
                learnt += 1
    return learnt


def _below(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)
