"""Operators are read from the file itself, and foreign ones refused."""

import pytest

from wherry.converters.errors import UnsupportedOperators
from wherry.converters.verify import operators
from wherry.protocol.manifest import Operator

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


def model(*codes: tuple[int, int, bytes | None]) -> object:
    """A model that uses each operator code once; (built-in code, version, custom name)."""
    found, graph = schema.ModelT(), schema.SubGraphT()
    found.operatorCodes, graph.operators, found.subgraphs = [], [], [graph]
    for index, (builtin, version, custom) in enumerate(codes):
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.version, code.customCode, op.opcodeIndex = builtin, version, custom, index
        found.operatorCodes.append(code)
        graph.operators.append(op)
    return found


def test_operators_are_counted_by_name_and_version() -> None:
    builtin = schema.BuiltinOperator
    found = operators.operators(
        model((builtin.SOFTMAX, 2, None), (builtin.CONV_2D, 3, None), (builtin.CONV_2D, 3, b""))
    )
    assert found == (Operator(name="CONV_2D", version=3, count=2), Operator(name="SOFTMAX", version=2, count=1))


@pytest.mark.parametrize("name", [b"FlexErfinv", b"MyOwn"])
def test_custom_and_flex_operators_are_refused_by_name(name: bytes) -> None:
    with pytest.raises(UnsupportedOperators, match=name.decode()):
        operators.operators(model((schema.BuiltinOperator.CUSTOM, 1, name)))
