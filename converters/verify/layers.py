"""How far each layer of a quantized file is from the same layer of the float file that it was made from.

Rules upheld here:
- Both files are run by LiteRT's built-in kernels with every tensor kept, on the same samples; tensors are matched by
  name, since a quantizer keeps the names of activations, and the model's outputs by place as well. What has no
  partner is left out.
- The error of a layer is the whole error up to it, not what it adds alone.
- A value counts as saturated where it lies at the end of the stored range and the float value beyond that end by more
  than half a step. A ReLU's zeros are no saturation.
- One sample is held at a time; only sums are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.converters.flatbuffer import builtin_code, builtin_names, indices, parse, text
from wherry.converters.verify.compare import MAX_SNR_DB
from wherry.protocol.preparation import round_half_away
from wherry.protocol.types import Count, Share, Struct

MAX_SAMPLES = 32
_LARGEST = 1e30
"""Stands for what is not finite, which JSON has not."""

_ENDS = {"QUANTIZE", "DEQUANTIZE"}

Array = npt.NDArray[Any]


class LayerError(Struct, frozen=True, kw_only=True):
    """One operator's output. `float_low` to `float_high` were seen in the float file; `low` to `high` is what the
    quantized tensor can hold, or was seen to hold where it is float itself."""

    index: Count
    operator: str
    tensor: str
    layer: str
    snr_db: float
    rmse: float
    saturated: Share
    float_low: float
    float_high: float
    low: float
    high: float


def measure(
    float_file: bytes, quantized: bytes, feeds: list[list[Array]], layers: Mapping[str, str]
) -> list[LayerError]:
    """Errors of all layers that both files have, in the order of the quantized one.

    `feeds`: for each sample the real-valued inputs in the order of the float file, whole shapes; at most
    MAX_SAMPLES are used, evenly spread. `layers` gives source layers to tensor names. Raises ValueError or
    RuntimeError, as LiteRT does, where a file does not run.
    """
    reference, found = _Run(float_file), _Run(quantized)
    pairs = _pairs(reference, found)
    sums = [_Sums() for _ in pairs]
    for at in _evenly(len(feeds)):
        named = dict(zip(reference.input_names, feeds[at], strict=True))
        reference.run([named[name] for name in reference.input_names])
        found.run([named[name] for name in _order(found.input_names, reference.input_names)])
        for pair, total in zip(pairs, sums, strict=True):
            total.add(reference.real(pair.reference), found.real(pair.found), found.limits(pair.found))
    return [_error(pair, total, found, layers) for pair, total in zip(pairs, sums, strict=True) if total.elements]


@dataclass(frozen=True)
class _Pair:
    index: int
    operator: str
    tensor: str
    reference: int
    found: int


class _Run:
    """One file in an interpreter that keeps every tensor."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self.input_names = [details["name"] for details in self._inputs]
        self._details = {details["index"]: details for details in self._interpreter.get_tensor_details()}
        model = parse(content)
        self._graph = model.subgraphs[0]
        self._names = [builtin_names()[builtin_code(code)] for code in model.operatorCodes]

    def run(self, inputs: list[Array]) -> None:
        for details, x in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(details["index"], _stored(x, details).reshape(details["shape"]))
        self._interpreter.invoke()

    def real(self, index: int) -> npt.NDArray[np.float64]:
        """A tensor of the last run."""
        scale, zero_point = _affine(self._details[index])
        stored: npt.NDArray[np.float64] = self._interpreter.get_tensor(index).astype(np.float64)
        return np.multiply(stored - zero_point, scale) if scale else stored

    def limits(self, index: int) -> tuple[float, float, float] | None:
        """The least and greatest real value that a quantized tensor can hold, and its step."""
        scale, zero_point = _affine(self._details[index])
        if not scale:
            return None
        info = np.iinfo(self._details[index]["dtype"])
        return (info.min - zero_point) * scale, (info.max - zero_point) * scale, scale

    def outputs(self) -> dict[str, tuple[int, str, int]]:
        """By tensor name: place of the operator that writes it, that operator, and the tensor's index."""
        found: dict[str, tuple[int, str, int]] = {}
        for place, op in enumerate(self._graph.operators or ()):
            operator = self._names[op.opcodeIndex]
            for index in indices(op.outputs):
                name = text(self._graph.tensors[index].name)
                if name and (name not in found or found[name][1] in _ENDS):
                    found[name] = (place, operator, index)
        return found

    def ends(self) -> list[str]:
        """Names of the model's outputs."""
        return [text(self._graph.tensors[index].name) for index in indices(self._graph.outputs)]


def _pairs(reference: _Run, found: _Run) -> list[_Pair]:
    partners = reference.outputs()
    if len(reference.ends()) == len(found.ends()):
        for theirs, ours in zip(reference.ends(), found.ends(), strict=True):
            if theirs in partners:
                partners.setdefault(ours, partners[theirs])
    return sorted(
        (
            _Pair(place, operator, name, partners[name][2], index)
            for name, (place, operator, index) in found.outputs().items()
            if name in partners
        ),
        key=lambda pair: pair.index,
    )


@dataclass
class _Sums:
    """Over all samples of one tensor."""

    signal: float = 0.0
    noise: float = 0.0
    elements: int = 0
    saturated: int = 0
    reference: list[float] = field(default_factory=lambda: [np.inf, -np.inf])
    found: list[float] = field(default_factory=lambda: [np.inf, -np.inf])

    def add(
        self,
        reference: npt.NDArray[np.float64],
        found: npt.NDArray[np.float64],
        limits: tuple[float, float, float] | None,
    ) -> None:
        if reference.shape != found.shape or not reference.size:
            return
        self.signal += float(np.square(reference).sum())
        self.noise += float(np.square(reference - found).sum())
        self.elements += reference.size
        _widen(self.reference, reference)
        _widen(self.found, found)
        if limits is not None:
            low, high, step = limits
            beyond = ((found >= high) & (reference > high + step / 2)) | ((found <= low) & (reference < low - step / 2))
            self.saturated += int(beyond.sum())


def _error(pair: _Pair, total: _Sums, found: _Run, layers: Mapping[str, str]) -> LayerError:
    limits = found.limits(pair.found)
    low, high = limits[:2] if limits is not None else total.found
    return LayerError(
        index=pair.index,
        operator=pair.operator,
        tensor=pair.tensor,
        layer=layers.get(pair.tensor, ""),
        snr_db=_snr_db(total.signal, total.noise),
        rmse=_finite(float(np.sqrt(total.noise / total.elements))),
        saturated=total.saturated / total.elements,
        float_low=_finite(total.reference[0]),
        float_high=_finite(total.reference[1]),
        low=_finite(low),
        high=_finite(high),
    )


def _snr_db(signal: float, noise: float) -> float:
    if noise == 0:
        return MAX_SNR_DB
    if not np.isfinite(noise) or signal == 0:
        return -MAX_SNR_DB
    return float(np.clip(10 * np.log10(signal / noise), -MAX_SNR_DB, MAX_SNR_DB))


def _widen(span: list[float], values: npt.NDArray[np.float64]) -> None:
    span[0], span[1] = min(span[0], float(values.min())), max(span[1], float(values.max()))


def _finite(value: float) -> float:
    return float(np.nan_to_num(value, nan=_LARGEST, posinf=_LARGEST, neginf=-_LARGEST))


def _affine(details: Any) -> tuple[float, int]:
    """Scale and zero point; scale 0 where the tensor is not quantized as a whole."""
    parameters = details["quantization_parameters"]
    if len(parameters["scales"]) != 1 or not np.issubdtype(details["dtype"], np.integer):
        return 0.0, 0
    return float(parameters["scales"][0]), int(parameters["zero_points"][0])


def _stored(x: Array, details: Any) -> Array:
    """A real-valued input in the type of the file."""
    scale, zero_point = _affine(details)
    if not scale:
        return np.asarray(x).astype(details["dtype"])
    info = np.iinfo(details["dtype"])
    steps: Array = np.clip(round_half_away(x / scale) + zero_point, info.min, info.max)
    return steps.astype(details["dtype"])


def _order(names: list[str], reference: list[str]) -> list[str]:
    """Inputs of the quantized file by name, or by place where its names are others."""
    return names if set(names) == set(reference) else reference


def _evenly(count: int) -> list[int]:
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, MAX_SAMPLES))}) if count else []
