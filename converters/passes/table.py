"""Every pass there is, with its options and results; imports nothing heavy.

`edition` of a pass is raised whenever our own code for it comes to another result.
"""

from typing import Any, Literal

from wherry.converters.model import Framework, SourceModel, SourceOptions
from wherry.converters.passes.terms import Pass
from wherry.converters.report import LayerCost, LayerError
from wherry.protocol.recipe import VariantName
from wherry.protocol.types import Count, Struct

_TENSORFLOW = ("tensorflow", "keras", "tf-keras")
_ONNX = ("tensorflow", "onnx", "onnx2tf", "onnxsim", "onnx-graphsurgeon", "sng4onnx")
_RUNTIME = ("ai-edge-litert",)


class Nothing(Struct, frozen=True, kw_only=True):
    """The result is in the files."""


class BuildOptions(Struct, frozen=True, kw_only=True):
    """`spec` is `module:factory` where the source is no file."""

    framework: Framework
    source: SourceOptions = SourceOptions()
    spec: str = ""


class PredictOptions(Struct, frozen=True, kw_only=True):
    framework: Framework
    model: SourceModel
    source: SourceOptions = SourceOptions()
    spec: str = ""


class RangeOptions(Struct, frozen=True, kw_only=True):
    method: Literal["percentile", "mse"]


RangeMethod = Literal["minmax", "percentile", "mse"]


class Chosen(Struct, frozen=True, kw_only=True):
    """Which ranges int8 is nearest to float with."""

    method: RangeMethod


class VariantOptions(Struct, frozen=True, kw_only=True):
    """`keep`: tensor names of operators that stay in float; `mixed` only."""

    variant: VariantName
    keep: tuple[str, ...] = ()


class RankOptions(Struct, frozen=True, kw_only=True):
    layers: dict[str, str] = {}


class Ranking(Struct, frozen=True, kw_only=True):
    """Most costly first."""

    costs: tuple[LayerCost, ...]


class LayerOptions(Struct, frozen=True, kw_only=True):
    layers: dict[str, str] = {}


class LayerErrors(Struct, frozen=True, kw_only=True):
    errors: tuple[LayerError, ...]


class Equalized(Struct, frozen=True, kw_only=True):
    """How many places of the graph were changed; 0 where it allows none."""

    places: Count


_AT = "wherry.converters.passes"

BUILD = Pass("build", f"{_AT}.sources:build", BuildOptions, SourceModel, (*_TENSORFLOW, *_ONNX))
TO_ONNX = Pass("export to ONNX", f"{_AT}.sources:to_onnx", BuildOptions, Nothing, ("torch", "onnx"))
PREDICT = Pass("predict", f"{_AT}.sources:predict", PredictOptions, Nothing, (*_TENSORFLOW, "onnxruntime", "torch"))
CALIBRATE = Pass("calibrate", f"{_AT}.quantizing:calibrate", Nothing, Nothing, ("tensorflow",))
RANGES = Pass("narrow ranges", f"{_AT}.quantizing:ranges", RangeOptions, Equalized, ("tensorflow", *_RUNTIME))
CHOOSE = Pass("choose ranges", f"{_AT}.quantizing:choose", Nothing, Chosen, ("tensorflow", *_RUNTIME))
EQUALIZE = Pass("equalize", f"{_AT}.quantizing:equalize_layers", Nothing, Equalized, _RUNTIME)
BIAS = Pass("correct biases", f"{_AT}.quantizing:correct_bias", Nothing, Equalized, _RUNTIME)
VARIANT = Pass("compress", f"{_AT}.quantizing:variant", VariantOptions, Nothing, ("tensorflow", "ai-edge-quantizer"))
RANK = Pass("rank layers", f"{_AT}.quantizing:rank", RankOptions, Ranking, ("tensorflow", *_RUNTIME))
LAYERS = Pass("compare layers", f"{_AT}.quantizing:layers", LayerOptions, LayerErrors, _RUNTIME)

PASSES: dict[str, Pass[Any, Any]] = {
    work.name: work
    for work in (BUILD, TO_ONNX, PREDICT, CALIBRATE, RANGES, CHOOSE, EQUALIZE, BIAS, VARIANT, RANK, LAYERS)
}
