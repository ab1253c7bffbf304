"""What a `.tflite` file holds: its operators with their versions, its inputs and outputs.

Rules upheld here:
- An operator's version is the larger of the file's and of that derived from its tensors (`versions.py`).
- Operators that are not built into every runtime are refused, with the layers that use them and what to do.
- Inputs and outputs have the names of the signature; those of the tensors where there is none.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from wherry.converters import flatbuffer
from wherry.converters.errors import UnsupportedModel, UnsupportedOperators
from wherry.converters.flatbuffer import builtin_code, indices, shape, text, type_names
from wherry.converters.verify import versions
from wherry.converters.verify.signature import scales
from wherry.protocol.manifest import Operator, Quantization, TensorSpec

_FOURIER = "compute spectra before the model, or as a multiplication with a fixed matrix"
_ADVICE = {
    "FlexErf": "use the tanh form of GELU (`approximate=True`)",
    "FlexErfc": "write it with exp or tanh",
    "FlexRFFT": _FOURIER,
    "FlexRFFT2D": _FOURIER,
    "FlexIRFFT": _FOURIER,
    "FlexFFT": _FOURIER,
    "FlexAudioSpectrogram": _FOURIER,
    "FlexExtractImagePatches": "cut patches with a strided convolution, or slice and concatenate",
    "FlexConv3D": "fold time into the channels, or use 2D convolutions",
    "FlexMatrixInverse": "invert the matrix before export, and store it as a constant",
    "FlexEinsum": "write it with matmul and transpose, and fix all lengths",
    "FlexTensorListReserve": "fix the length of the sequence and the batch, or unroll the recurrent layer",
    "FlexTensorListSetItem": "fix the length of the sequence and the batch, or unroll the recurrent layer",
    "FlexTensorListStack": "fix the length of the sequence and the batch, or unroll the recurrent layer",
    "FlexNonMaxSuppressionV2": "end the model before it, and select boxes in the app",
    "FlexCombinedNonMaxSuppression": "end the model before it, and select boxes in the app",
    "TFLite_Detection_PostProcess": "end the model before it, and select boxes in the app",
    "FlexRandomStandardNormal": "take randomness out of the model, or feed it as an input",
    "FlexRandomUniform": "take randomness out of the model, or feed it as an input",
    "FlexStringSplitV2": "prepare text before the model, and feed numbers",
    "FlexStaticRegexReplace": "prepare text before the model, and feed numbers",
    "FlexLookupTableFindV2": "look words up before the model, and feed numbers",
    "FlexHashTableV2": "look words up before the model, and feed numbers",
}
"""What to do about some operators that are often met."""

_MOST_NAMES = 5


def parse(content: bytes) -> Any:
    """The flatbuffer as a tree of Python objects (`ModelT` of TFLite's schema)."""
    return flatbuffer.parse(content)


def operators(model: Any, layers: Mapping[str, str] | None = None) -> tuple[Operator, ...]:
    """All operators of all subgraphs, by name and version. Raises UnsupportedOperators for custom and Flex ones.

    `layers` gives the source's layer to a tensor's name, for the refusal.
    """
    refuse_foreign(model, layers or {})
    counts = Counter((found.name, found.needed) for found in versions.derive(model))
    return tuple(Operator(name=name, version=version, count=n) for (name, version), n in sorted(counts.items()))


def without_rule(model: Any) -> tuple[str, ...]:
    """Operators whose version could not be derived, and is the file's own."""
    return tuple(sorted({found.name for found in versions.derive(model) if not found.known}))


def refuse_foreign(model: Any, layers: Mapping[str, str]) -> None:
    """Raises UnsupportedOperators where any operator is not built in."""
    users: dict[str, dict[str, None]] = {}
    for graph in model.subgraphs:
        for op in graph.operators or ():
            custom = _custom_name(model.operatorCodes[op.opcodeIndex])
            if custom:
                names = (text(graph.tensors[index].name) for index in indices(op.outputs))
                users.setdefault(custom, {}).update(dict.fromkeys(layers.get(name, name) for name in names))
    if users:
        raise UnsupportedOperators(
            "the converted file needs operators that no TFLite runtime has built in: "
            + "; ".join(f"{name}{_used_by(list(names))}" for name, names in sorted(users.items())),
            "; ".join(_advice(name) for name in sorted(users)),
        )


def has_per_channel_dense(model: Any) -> bool:
    """Whether a dense layer has int8 weights with more than one scale, which no operator version tells."""
    from ai_edge_litert import schema_py_generated as schema

    return any(
        len(scales(graph.tensors[weights])) > 1
        for graph in model.subgraphs
        for op in graph.operators or ()
        if builtin_code(model.operatorCodes[op.opcodeIndex]) == schema.BuiltinOperator.FULLY_CONNECTED
        for weights in indices(op.inputs)[1:2]
    )


def tensor_specs(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs in the runtime's order. Raises UnsupportedModel for types that a manifest has not."""
    graph = model.subgraphs[0]
    signature = next((found for found in model.signatureDefs or () if found.subgraphIndex == 0), None)

    def specs(ends: Any, entries: Any) -> tuple[TensorSpec, ...]:
        named = {entry.tensorIndex: text(entry.name) for entry in entries or ()}
        return tuple(_spec(graph.tensors[index], named.get(index)) for index in indices(ends))

    inputs = specs(graph.inputs, getattr(signature, "inputs", None))
    return inputs, specs(graph.outputs, getattr(signature, "outputs", None))


def _spec(tensor: Any, name: str | None) -> TensorSpec:
    name = name or text(tensor.name)
    kind = type_names().get(tensor.type, str(tensor.type))
    if kind not in flatbuffer.DTYPES:
        known = ", ".join(flatbuffer.DTYPES.values())
        raise UnsupportedModel(f"{name} holds {kind.lower()} values", f"inputs and outputs can hold {known}")
    affine, steps = None, scales(tensor)
    if steps:
        zero_points = indices(tensor.quantization.zeroPoint)
        affine = Quantization(scale=steps[0], zero_point=zero_points[0] if zero_points else 0)
    return TensorSpec(name=name, shape=shape(tensor), dtype=flatbuffer.DTYPES[kind], quantization=affine)


def _custom_name(code: Any) -> str:
    """Empty for a built-in operator."""
    from ai_edge_litert import schema_py_generated as schema

    unnamed = "CUSTOM" if builtin_code(code) == schema.BuiltinOperator.CUSTOM else ""
    return text(code.customCode) or unnamed


def _used_by(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f" (used by {', '.join(names[:_MOST_NAMES])}{more})"


def _advice(name: str) -> str:
    if name in _ADVICE:
        return f"{name}: {_ADVICE[name]}"
    if name.startswith("Flex"):
        return f"{name}: write what tf.{name.removeprefix('Flex')} does with other layers"
    return f"{name}: replace the layers that use it with built-in ones"
