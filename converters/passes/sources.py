"""The passes that need the source's own framework."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wherry.converters.model import Framework, SourceModel, SourceOptions
from wherry.converters.passes.table import BuildOptions, Nothing, PredictOptions

Say = Callable[[int, int], None]

MODULES: dict[Framework, str] = {
    "keras": "wherry.converters.sources.keras",
    "saved_model": "wherry.converters.sources.saved_model",
    "onnx": "wherry.converters.sources.onnx",
    "pytorch": "wherry.converters.sources.pytorch",
    "tflite": "wherry.converters.sources.tflite",
}


def module(framework: Framework) -> ModuleType:
    """The module of a framework, which imports the framework only when it is put to work."""
    return importlib.import_module(MODULES[framework])


def build(files: dict[str, Path], options: BuildOptions, out: Path, _say: Say) -> SourceModel:
    """Write `float.tflite`, or `source.tflite` as it was."""
    built: SourceModel = module(options.framework).build(_source(files, options), _given(files, options.source), out)
    return built


def to_onnx(files: dict[str, Path], options: BuildOptions, out: Path, _say: Say) -> Nothing:
    """Write `model.onnx`."""
    module("pytorch").to_onnx(_source(files, options), _given(files, options.source), out / "model.onnx")
    return Nothing()


def predict(files: dict[str, Path], options: PredictOptions, out: Path, _say: Say) -> Nothing:
    """Write the source's own outputs for `samples` to `outputs.npz`, in the order of the model's outputs."""
    samples = load_arrays(files["samples"])
    call: Any = module(options.framework).predict
    found = call(_source(files, options), options.model, _given(files, options.source), samples)
    save_arrays(out / "outputs.npz", found)
    return Nothing()


def save_arrays(path: Path, arrays: list[Any]) -> None:
    """Arrays in order; the same arrays give the same bytes."""
    np.savez(path, **{str(index): array for index, array in enumerate(arrays)})


def load_arrays(path: Path) -> list[Any]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[str(index)] for index in range(len(archive.files))]


def _source(files: dict[str, Path], options: BuildOptions | PredictOptions) -> Path:
    return files["source"] if "source" in files else Path(options.spec)


def _given(files: dict[str, Path], options: SourceOptions) -> SourceOptions:
    """The options with the path of the weights, which the content of the key must not hold."""
    if "weights" not in files:
        return options
    return SourceOptions(
        input_shapes=options.input_shapes,
        layout=options.layout,
        signature=options.signature,
        weights=str(files["weights"]),
        trust_pickle=options.trust_pickle,
    )
