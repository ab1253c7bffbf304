"""What a `.tflite` file holds: its operators with their versions, its inputs and outputs."""

from collections import Counter
from typing import Any

from wherry.converters.errors import UnsupportedOperators
from wherry.protocol.manifest import DType, Operator, Quantization, TensorSpec

_DTYPES: dict[str, DType] = {
    "FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "UINT8": "uint8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
}  # fmt: skip


def parse(content: bytes) -> Any:
    """The flatbuffer as a tree of Python objects (`ModelT` of TFLite's schema)."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def operators(model: Any) -> tuple[Operator, ...]:
    """All operators of all subgraphs, by name and version. Raises UnsupportedOperators for custom and Flex ones."""
    from ai_edge_litert import schema_py_generated as schema

    names = _names(schema.BuiltinOperator)
    codes = [model.operatorCodes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or ()]
    foreign = sorted({_text(code.customCode) for code in codes if code.customCode})
    if foreign:
        raise UnsupportedOperators(
            f"the converted file needs the operators {', '.join(foreign)}, which no TFLite runtime has built in",
            "replace the layers that use them",
        )
    counts = Counter((names[max(code.builtinCode, code.deprecatedBuiltinCode)], code.version) for code in codes)
    return tuple(Operator(name=name, version=version, count=n) for (name, version), n in sorted(counts.items()))


def has_per_channel_dense(model: Any) -> bool:
    """Whether a dense layer has int8 weights with more than one scale, which no operator version tells."""
    from ai_edge_litert import schema_py_generated as schema

    for graph in model.subgraphs:
        for op in graph.operators or ():
            code = model.operatorCodes[op.opcodeIndex]
            if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.FULLY_CONNECTED:
                quantization = graph.tensors[op.inputs[1]].quantization
                if quantization is not None and quantization.scale is not None and len(quantization.scale) > 1:
                    return True
    return False


def tensor_specs(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs in the runtime's order, under the names of the signature."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    named = {entry.tensorIndex: _text(entry.name) for entry in [*signature.inputs, *signature.outputs]}
    inputs = tuple(_spec(graph.tensors[index], named[index]) for index in graph.inputs)
    return inputs, tuple(_spec(graph.tensors[index], named[index]) for index in graph.outputs)


def _spec(tensor: Any, name: str) -> TensorSpec:
    from ai_edge_litert import schema_py_generated as schema

    stored = tensor.quantization
    affine = None
    if stored is not None and stored.scale is not None and len(stored.scale):
        affine = Quantization(scale=float(stored.scale[0]), zero_point=int(stored.zeroPoint[0]))
    dtype = _DTYPES[_names(schema.TensorType)[tensor.type]]
    return TensorSpec(name=name, shape=tuple(int(n) for n in tensor.shape), dtype=dtype, quantization=affine)


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
