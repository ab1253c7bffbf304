"""PyTorch: exported programs (`.pt2`), TorchScript (`.pt`, `.pth`), and `package.module:factory` with weights.

Rules upheld here:
- No pickle is opened unless the user says that its code may run: what a file holds is read off the zip's
  listing, and PyTorch is told to load weights only, whatever it would do by itself.
- The way goes through ONNX, in two steps: `to_onnx` needs torch and no TensorFlow, the rest TensorFlow and no
  torch. `build` does both; where `to_onnx` was called before, in a process of its own, it does the second only.
- Inputs have the names of the parameters of `forward`; outputs are `output`, or `output_0`, `output_1`, …
- torch is imported inside of functions: it is an extra.
"""

import importlib
import importlib.util
import inspect as introspection
import itertools
import os
import types
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from wherry.converters.errors import (
    BadRequest,
    ConversionError,
    SourceMissing,
    ToolFailed,
    UnreadableModel,
    UnsafeModel,
    UnsupportedModel,
)
from wherry.converters.model import SourceModel, SourceOptions
from wherry.converters.sources import onnx
from wherry.converters.sources.ends import check_names, first_line, fixed_shape

Array = npt.NDArray[Any]
Kind = Literal["program", "script", "pickle", "factory"]

ONNX_NAME = "source.onnx"
_OPSET = 17
_SAVE_AGAIN = "save the model again, with torch.export.save or torch.jit.save, and copy the file completely"
_PICKLED = (
    "save it with torch.export.save or torch.jit.save, name its factory as package.module:factory with --weights, "
    "or, if you trust whoever made the file, say --trust-pickle"
)


@dataclass(frozen=True)
class _Network:
    """A network in eval mode; `shapes` are of one call, by the name of each input in the order of `forward`."""

    call: Any
    shapes: dict[str, tuple[int, ...]]
    examples: tuple[Any, ...] = ()


def inspect(path: Path, options: SourceOptions) -> None:
    """Refuse what can be seen to be wrong; imports no torch. Raises ConversionError."""
    kind = _kind(path)
    if kind == "pickle" and not options.trust_pickle:
        raise UnsafeModel(f"{path}: holds pickled code, which runs when it is opened", _PICKLED)
    if kind == "factory":
        _check_factory(path, options)
    if importlib.util.find_spec("torch") is None:
        raise BadRequest(f"{path}: needs PyTorch, which is not installed", "pip install 'wherry[pytorch]'")


def to_onnx(path: Path, options: SourceOptions, target: Path) -> None:
    """Export the network to the ONNX file `target`; needs torch and no TensorFlow. Raises ConversionError."""
    import torch

    inspect(path, options)
    network = _load(path, options)
    examples = network.examples or _examples(path, network)
    with _quiet(), torch.no_grad():
        count = len(_tensors(network.call(*examples)))
        names = ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
        try:
            torch.onnx.export(
                network.call,
                examples,
                str(target),
                dynamo=False,
                opset_version=_OPSET,
                input_names=list(network.shapes),
                output_names=names,
            )
        except Exception as error:
            raise ToolFailed(
                f"{path}: torch cannot export it to ONNX: {first_line(error)}",
                "export the model to ONNX yourself, with torch.onnx.export, and convert that file",
            ) from error


def build(path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """Write the float TFLite as `float.tflite` into `scratch`, from `source.onnx` there if it was exported
    before. Raises ConversionError."""
    exported = scratch / ONNX_NAME
    if not exported.is_file():
        to_onnx(path, options, exported)
    fixed = msgspec.structs.replace(options, input_shapes={})
    try:
        model = onnx.build_as("pytorch", exported, fixed, scratch)
    except ConversionError as error:
        raise type(error)(error.message.replace(str(exported.resolve()), str(path)), error.fix) from error
    return msgspec.structs.replace(model, tools={**model.tools, "torch": version("torch")})


def predict(path: Path, model: SourceModel, options: SourceOptions, inputs: list[Array]) -> list[Array]:
    """The network's own outputs by torch, one sample after the other as a device computes them."""
    import torch

    network = _load(path, options)
    position = {end.name: index for index, end in enumerate(model.inputs)}
    unused = dict(zip(network.shapes, network.examples or _examples(path, network), strict=True))
    found: list[list[Array]] = [[] for _ in model.outputs]
    with _quiet(), torch.no_grad():
        for row in range(len(inputs[0])):
            arguments = [
                torch.from_numpy(np.array(inputs[position[name]][row]).reshape(model.inputs[position[name]].shape))
                if name in position
                else unused[name]
                for name in network.shapes
            ]
            values = _tensors(network.call(*arguments))
            for kept, end in zip(found, model.outputs, strict=True):
                value = values[int(end.name.rpartition("_")[2]) if end.name != "output" else 0]
                kept.append(value.numpy().reshape(end.sample_shape))
    return [np.stack(kept) for kept in found]


def _kind(path: Path) -> Kind:
    """What the path is, by the listing of the archive. Raises SourceError."""
    if not path.is_file():
        if ":" in path.name and not path.suffix.startswith((".pt", ".pth")):
            return "factory"
        raise SourceMissing(f"{path}: no such file", "check the path of the model, or name package.module:factory")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start[:1] == b"\x80":
            return "pickle"
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except PermissionError as error:
        raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise UnreadableModel(f"{path}: not a PyTorch file, truncated or damaged", _SAVE_AGAIN) from error
    if "archive_format" in names or "models/model.json" in names:
        return "program"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "script"
    if "data.pkl" in names:
        return "pickle"
    raise UnreadableModel(f"{path}: an archive, but none of PyTorch", _SAVE_AGAIN)


def _check_factory(path: Path, options: SourceOptions) -> None:
    module, _, name = str(path).partition(":")
    package = module.partition(".")[0]
    if not name.isidentifier() or importlib.util.find_spec(package) is None:
        raise SourceMissing(
            f"{path}: there is no package {package!r} to import {name!r} from",
            "install it into the environment of wherry, or run in the folder that holds it",
        )
    if options.weights and not Path(options.weights).is_file():
        raise SourceMissing(f"{options.weights}: no such file", "check the path after --weights")


def _load(path: Path, options: SourceOptions) -> _Network:
    # Some loaders of torch fall back to opening pickles where it is not told otherwise.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "0" if options.trust_pickle else "1"
    kind = _kind(path)
    with _quiet():
        try:
            network = _LOADERS[kind](path, options)
        except ConversionError:
            raise
        except Exception as error:
            raise UnreadableModel(f"{path}: torch cannot load it: {first_line(error)}", _SAVE_AGAIN) from error
    return network


def _load_program(path: Path, options: SourceOptions) -> _Network:
    import torch

    program = torch.export.load(str(path))
    module: Any = program.module()
    module.train = types.MethodType(lambda self, _mode=True: self, module)  # exporting asks for it, and it refuses
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    check_names(options, names)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    shapes, examples = {}, []
    for name in names:
        open_shape = tuple(length if isinstance(length, int) else None for length in values[name].shape)
        shapes[name] = fixed_shape(name, open_shape, options, only=len(names) == 1)
        examples.append(torch.zeros(shapes[name], dtype=values[name].dtype))
    return _Network(module, shapes, tuple(examples))


def _load_script(path: Path, options: SourceOptions) -> _Network:
    import torch

    module = torch.jit.load(str(path), map_location="cpu").eval()
    names = [argument.name for argument in module.forward.schema.arguments[1:]]  # the first is the module itself
    return _Network(module, _shapes(path, names, options))


def _load_pickle(path: Path, options: SourceOptions) -> _Network:
    import torch

    module = torch.load(str(path), map_location="cpu", weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedModel(
            f"{path}: holds weights only, no network", "name the factory as source, and this file with --weights"
        )
    return _Network(module.eval(), _shapes(path, _names(path, module.forward), options))


def _load_factory(path: Path, options: SourceOptions) -> _Network:
    import torch

    name, _, function = str(path).partition(":")
    try:
        module = getattr(importlib.import_module(name), function)()
    except (Exception, SystemExit) as error:
        raise BadRequest(f"{path}: the factory failed: {first_line(error)}", "call it yourself and mend it") from error
    if not isinstance(module, torch.nn.Module):
        raise BadRequest(f"{path}: gives a {type(module).__name__}", "return a torch.nn.Module")
    if options.weights:
        try:
            module.load_state_dict(_weights(Path(options.weights)))
        except RuntimeError as error:
            raise UnreadableModel(
                f"{options.weights}: does not fit {path}: {first_line(error)}", "give the weights of this network"
            ) from error
    return _Network(module.eval(), _shapes(path, _names(path, module.forward), options))


_LOADERS: dict[Kind, Callable[[Path, SourceOptions], _Network]] = {
    "program": _load_program,
    "script": _load_script,
    "pickle": _load_pickle,
    "factory": _load_factory,
}


def _weights(path: Path) -> Any:
    import torch

    if path.suffix == ".safetensors":
        if importlib.util.find_spec("safetensors") is None:
            raise BadRequest(f"{path}: needs the package safetensors", "pip install safetensors")
        from safetensors.torch import load_file

        return load_file(str(path))
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnsafeModel(
            f"{path}: is no plain state dict: {first_line(error)}", "save it with torch.save(model.state_dict(), path)"
        ) from error


def _names(path: Path, forward: Any) -> list[str]:
    """The parameters of `forward` that have no default."""
    parameters = introspection.signature(forward).parameters.values()
    names = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if not names:
        raise UnsupportedModel(f"{path}: its forward() names no inputs", "give forward() one parameter an input")
    return names


def _shapes(path: Path, names: list[str], options: SourceOptions) -> dict[str, tuple[int, ...]]:
    check_names(options, names)
    only = len(names) == 1
    missing = [name for name in names if name not in options.input_shapes and not (only and "" in options.input_shapes)]
    if missing:
        raise BadRequest(
            f"{path}: the shape of input {missing[0]!r} is not known",
            f"give it with the batch, as in --input-shape {missing[0]}=1,3,224,224",
        )
    return {name: fixed_shape(name, None, options, only=only) for name in names}


def _examples(path: Path, network: _Network) -> tuple[Any, ...]:
    """Zeros that the network takes: which inputs are integers is found by trying, floats first."""
    import torch

    first: Exception | None = None
    with _quiet(), torch.no_grad():
        for dtypes in itertools.product((torch.float32, torch.int64), repeat=len(network.shapes)):
            examples = tuple(torch.zeros(s, dtype=d) for s, d in zip(network.shapes.values(), dtypes, strict=True))
            try:
                network.call(*examples)
            except Exception as error:  # noqa: BLE001  a network raises anything at all
                first = first or error
            else:
                return examples
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in network.shapes.items())
    raise BadRequest(
        f"{path}: the network does not take {shapes}: {first_line(first or ValueError('no inputs'))}",
        "give shapes that it takes with --input-shape NAME=1,3,224,224",
    )


def _tensors(value: Any) -> list[Any]:
    """The tensors of an output, flat, in the order in which the export gives them."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


class _quiet(warnings.catch_warnings):  # noqa: N801  used like a function
    """Without the warnings of tracing and of what torch deprecates."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
