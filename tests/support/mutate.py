"""Damages `.tflite` files where it hurts: in the fields that a runtime believes, found by the schema.

Rules upheld here:
- Most damaged files are still well formed: what is wrong is what they say.
- The same seed gives the same file, so that a death can be looked at again.
"""

import random
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema

EVIL = (0, 1, -1, 2, 3, 7, 255, 1000, 2**16, 2**30, 2**31 - 1, -(2**31))
"""Lengths, indices and options that lie."""


class Field(NamedTuple):
    """So many bytes from `position` on; `kind` is for a person."""

    kind: str
    position: int
    size: int


def mutated(data: bytes, fields: list[Field], seed: int) -> tuple[str, bytes]:
    """What was changed in a few words, and the file with it."""
    chance, changed = random.Random(seed), bytearray(data)
    what = chance.choices(("fields", "bits", "cut"), (16, 3, 1))[0]
    if what == "fields":
        chosen = [chance.choice(fields) for _ in range(chance.choice((1, 1, 2)))]
        for field in chosen:
            _set(changed, field, chance)
        return " and ".join(field.kind for field in chosen), bytes(changed)
    if what == "bits":
        for _ in range(chance.choice((1, 4, 32))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return "bits", bytes(changed)
    return "cut", bytes(changed[: chance.randrange(len(changed))])


def fields_of(data: bytes) -> list[Field]:
    """Every number of the file that a runtime goes by."""
    return [*_fields(data)]


def _set(data: bytearray, field: Field, chance: random.Random) -> None:
    if field.size == 1:
        data[field.position] = chance.randrange(256)
    else:
        struct.pack_into("<i", data, field.position, chance.choice(EVIL))


def _fields(data: bytes) -> Iterator[Field]:
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        yield from _numbers(graph._tab, 6, "graph input")
        yield from _numbers(graph._tab, 8, "graph output")
        for number in range(graph.TensorsLength()):
            yield from _of_tensor(graph.Tensors(number)._tab)
        for number in range(graph.OperatorsLength()):
            yield from _of_operator(graph.Operators(number)._tab, data)
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)._tab
        yield from _one(code, 4, "old operator code", 1)
        yield from _one(code, 8, "operator version", 4)
        yield from _one(code, 10, "operator code", 4)


def _of_tensor(tensor: Any) -> Iterator[Field]:
    yield from _numbers(tensor, 4, "shape")
    yield from _one(tensor, 6, "type", 1)
    yield from _one(tensor, 8, "buffer", 4)
    if quantization := _table(tensor, 12):
        yield from _numbers(quantization, 8, "scale")
        yield from _one(quantization, 16, "quantized dimension", 4)


def _of_operator(operator: Any, data: bytes) -> Iterator[Field]:
    yield from _one(operator, 4, "operator", 4)
    yield from _numbers(operator, 6, "operator input")
    yield from _numbers(operator, 8, "operator output")
    yield from _one(operator, 10, "kind of options", 1)
    if options := _table(operator, 12):
        (back,) = struct.unpack_from("<i", data, options.Pos)
        (length,) = struct.unpack_from("<H", data, options.Pos - back)
        for slot in range(4, length, 2):
            yield from _one(options, slot, "option", 4 if options.Pos + 8 < len(data) else 1)


def _numbers(table: Any, slot: int, kind: str) -> Iterator[Field]:
    if offset := table.Offset(slot):
        start = table.Vector(offset)
        yield from (Field(kind, start + 4 * number, 4) for number in range(min(table.VectorLen(offset), 16)))


def _one(table: Any, slot: int, kind: str, size: int) -> Iterator[Field]:
    if (offset := table.Offset(slot)) and table.Pos + offset + size <= len(table.Bytes):
        yield Field(kind, table.Pos + offset, size)


def _table(table: Any, slot: int) -> Any:
    """The table that a field refers to, or None."""
    if not (offset := table.Offset(slot)):
        return None
    return type(table)(table.Bytes, table.Indirect(table.Pos + offset))
