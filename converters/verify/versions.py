"""Operator versions, derived anew from the tensors of a file.

Rules upheld here:
- The version stored in a file is never believed: quantizers other than TensorFlow's own write it too low, and an
  old runtime then loads the file and computes wrongly, without a word. What counts is the larger of both.
- An operator without a rule keeps its stored version and is told apart (`known` is false).
- Versions are raised and never lowered; nothing else of the file changes, and weights stay where they are.

Source of the facts: `op_version.cc` and `op_signature.cc` of LiteRT (tflite/tools/versioning, later under
tflite/converter). Where they fall short, `version_rules.py` asks for more and says why.
tests/integration/test_static_checks.py holds the table against what TensorFlow's converter writes.
"""

from collections.abc import Iterator
from typing import Any

from wherry.converters.flatbuffer import builtin_code, builtin_names, parse
from wherry.converters.verify import version_rules
from wherry.converters.verify.signature import Signature
from wherry.protocol.types import Count, Struct

_LARGEST = 2**31
"""Larger files keep weights behind the flatbuffer, at fixed places; nothing can be appended to them."""

_OPERATOR_CODES = 6
"""Where the root table's vtable has the offset of `operator_codes`, its second field."""

_ALIGNMENT = 16


class Derived(Struct, frozen=True, kw_only=True):
    """One operator, counted through all subgraphs. `version` is 0 where there is no rule (`known` is false)."""

    index: Count
    name: str
    stored: Count
    version: Count = 0

    @property
    def known(self) -> bool:
        return self.version > 0

    @property
    def needed(self) -> int:
        """What a runtime must have."""
        return max(self.stored, self.version)


def derive(model: Any) -> tuple[Derived, ...]:
    """All built-in operators of all subgraphs in order; custom ones have the name CUSTOM and no rule."""
    return tuple(derived for _, derived in _each(model))


def raise_versions(content: bytes) -> bytes:
    """The same file with every version at least as derived; the very same bytes where that is so already.

    Operators that share an operator code share its version, the largest of theirs. The new codes are
    appended, and the one reference to them is turned there.
    """
    model = parse(content)
    raised = False
    for code_index, derived in _each(model):
        code = model.operatorCodes[code_index]
        if derived.version > code.version:
            code.version, raised = derived.version, True
    return _with_codes(content, model.operatorCodes) if raised and len(content) < _LARGEST else content


def _each(model: Any) -> Iterator[tuple[int, Derived]]:
    """Index of the operator code, and what was derived. Versions are those of the moment before."""
    names, index = builtin_names(), 0
    stored = [code.version for code in model.operatorCodes]
    for graph in model.subgraphs:
        for op in graph.operators or ():
            code = model.operatorCodes[op.opcodeIndex]
            name = names[builtin_code(code)]
            rule = version_rules.RULES.get(name)
            version = rule(Signature(graph, op)) if rule else 0
            yield op.opcodeIndex, Derived(index=index, name=name, stored=stored[op.opcodeIndex], version=version)
            index += 1


def _with_codes(content: bytes, codes: list[Any]) -> bytes:
    """Offsets of a flatbuffer are relative and point forwards, so that whatever is appended can be referred to."""
    from flatbuffers import Builder, encode, number_types, table

    builder = Builder(256)
    packed = [code.Pack(builder) for code in codes]
    builder.StartVector(4, len(packed), 4)
    for offset in reversed(packed):
        builder.PrependUOffsetTRelative(offset)
    vector = builder.EndVector()
    tail = bytes(builder.Bytes[builder.Head() :])
    padding = bytes(-(len(content) + len(tail)) % _ALIGNMENT)  # alignment counts from the end of what was built
    joined = bytearray(content + padding + tail)
    root = table.Table(joined, encode.Get(number_types.UOffsetTFlags.packer_type, joined, 0))
    slot = root.Pos + root.Offset(_OPERATOR_CODES)
    encode.Write(number_types.UOffsetTFlags.packer_type, joined, slot, len(joined) - vector - slot)
    return bytes(joined)
