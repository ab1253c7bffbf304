"""SavedModels: a directory with `saved_model.pb`, of TensorFlow 2 or 1, or a `.zip` of one.

Rules upheld here:
- Loading a SavedModel and calling it runs its graph, so the graph is searched for operators that reach out of
  it before TensorFlow sees the directory (`saved_model_file`).
- One signature is converted: the one asked for, else `serving_default`, else the only one.
- Open batches are fixed to 1. An end whose first length is another number has no batch.
"""

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from wherry.converters.errors import BadRequest, SourceMissing, UnreadableModel, UnsafeModel, UnsupportedModel
from wherry.converters.model import End, SourceModel, SourceOptions
from wherry.converters.sources import ends, layers, lower, saved_model_file
from wherry.converters.sources.ends import Array

_EXPORT_AGAIN = "export it again with model.export(directory) or tf.saved_model.save, and copy the whole directory"
_GRAPH = "saved_model.pb"
_INDEX = "variables/variables.index"
MAX_UNPACKED_BYTES = 4 * 2**30
"""A TFLite file ends at 2 GB, so no more than this is worth unpacking."""


def inspect(path: Path, options: SourceOptions) -> None:
    """Raises SourceError and BadRequest for what can be refused without TensorFlow."""
    content, names = _read(path)
    try:
        graphs = saved_model_file.read(content)
    except ValueError as error:
        raise UnreadableModel(f"{path}: {_GRAPH} is truncated or damaged: {error}", _EXPORT_AGAIN) from error
    for graph in graphs:
        outside = graph.outside()
        if outside:
            named = ", ".join(f"{op} (in {place})" for op, place in sorted(outside.items()))
            raise UnsafeModel(
                f"{path}: its graph reaches files, Python or other machines: {named}; it is not run",
                "export the model without these steps, and prepare its inputs outside of it",
            )
    graph = _served(path, graphs)
    _choose(path, graph.signatures, options)
    if graph.has_variables and _INDEX not in names:
        raise UnreadableModel(f"{path}: {_INDEX} is missing, so it has no weights", _EXPORT_AGAIN)
    if graph.has_variables and not any(name.startswith("variables/variables.data-") for name in names):
        raise UnreadableModel(f"{path}: variables/variables.data-… is missing, so it has no weights", _EXPORT_AGAIN)


def build(path: Path, options: SourceOptions, scratch: Path) -> SourceModel:
    """Write scratch/float.tflite. Raises ConversionError."""
    loaded = _load(path, options)
    _refuse_numbers(path, loaded)
    ends.check_names(options, list(loaded.inputs))
    only = len(loaded.inputs) == 1
    inputs = tuple(_input(name, spec, options, only=only) for name, spec in loaded.inputs.items())
    names = [end.name for end in inputs]

    def call(tensors: list[Any]) -> list[Any]:
        outputs = loaded.function(**dict(zip(names, tensors, strict=True)))
        return [outputs[name] for name in loaded.outputs]

    lower.export(call, inputs, loaded.root, scratch / "saved_model")
    lowered = lower.to_float(scratch / "saved_model", inputs, loaded.outputs)
    named = layers.name_tensors(lowered.model, layers.Scopes())
    lower.refuse_numbers(path, lowered.model)
    (scratch / "float.tflite").write_bytes(lowered.content())
    return SourceModel(
        framework="saved_model",
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        layers=named,
        tools=lower.tools(),
    )


def predict(path: Path, model: SourceModel, options: SourceOptions, inputs: list[Array]) -> list[Array]:
    """What the signature itself gives."""
    import tensorflow as tf

    loaded = _load(path, options)
    names = [end.name for end in model.inputs]

    def call(arrays: list[Array]) -> list[Array]:
        found = loaded.function(**{name: tf.constant(x) for name, x in zip(names, arrays, strict=True)})
        return [np.asarray(found[end.name]) for end in model.outputs]

    with lower.translated(f"{path}: TensorFlow cannot run it"):
        return ends.in_batches(call, model, inputs, together=loaded.any_batch)


@dataclass(frozen=True)
class _Loaded:
    """The chosen signature, and `root`, which holds its variables."""

    root: Any
    function: Any
    inputs: dict[str, Any]
    outputs: list[str]

    @property
    def any_batch(self) -> bool:
        return all(_shape(spec) is None or (_shape(spec) or (1,))[0] is None for spec in self.inputs.values())


def _load(path: Path, options: SourceOptions) -> _Loaded:
    inspect(path, options)
    graph = path / _GRAPH if path.is_dir() else path
    return _load_once(path, options.signature, graph.stat().st_mtime_ns, graph.stat().st_size)


@lru_cache(maxsize=1)
def _load_once(path: Path, signature: str, *_changed: int) -> _Loaded:
    import tensorflow as tf

    graphs = saved_model_file.read(_read(path)[0])
    key = _choose(path, _served(path, graphs).signatures, SourceOptions(signature=signature))
    with unpacked(path) as directory:
        try:
            root = tf.saved_model.load(str(directory), tags=["serve"] if len(graphs) > 1 else None)
            function = root.signatures[key]
        except Exception as error:  # TensorFlow raises anything at all for a damaged file
            reason = ends.first_line(error)
            raise UnreadableModel(f"{path}: TensorFlow cannot load it: {reason}", _EXPORT_AGAIN) from error
    inputs = dict(sorted(function.structured_input_signature[1].items(), key=_natural))
    if not inputs or not function.structured_outputs:
        raise UnsupportedModel(
            f"{path}: the signature {key!r} has no inputs or no outputs", "choose another with --signature"
        )
    return _Loaded(
        root, function, inputs, [name for name, _ in sorted(function.structured_outputs.items(), key=_natural)]
    )


def _natural(named: tuple[str, Any]) -> list[tuple[str, int]]:
    """Sorts output_2 before output_10; the order in the file is not always the same."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", named[0])]


def _read(path: Path) -> tuple[bytes, set[str]]:
    """The graph, and the names of all files, relative to the directory."""
    if path.is_dir():
        names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        _require_graph(path, names)
        try:
            return (path / _GRAPH).read_bytes(), names
        except PermissionError as error:
            raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    if not path.exists():
        raise SourceMissing(f"{path}: no such directory", "check the path of the model")
    with _opened(path) as archive:
        inside = _inside(path, archive)
        return archive.read(inside[_GRAPH]), set(inside)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever reading it raises is about the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise UnreadableModel(f"{path}: not a SavedModel directory, nor a sound .zip of one", _EXPORT_AGAIN) from error


def _require_graph(path: Path, names: set[str]) -> None:
    if _GRAPH in names:
        return
    if "saved_model.pbtxt" in names:
        raise UnsupportedModel(f"{path}: is in text form, saved_model.pbtxt", "export it in binary form")
    raise UnreadableModel(f"{path}: not a SavedModel, it has no {_GRAPH}", "give the directory that holds it")


def _inside(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members below the directory that has the graph. Raises SourceError for a bomb or for no SavedModel."""
    members = [info for info in archive.infolist() if not info.is_dir()]
    if sum(info.file_size for info in members) > MAX_UNPACKED_BYTES:
        raise UnsupportedModel(f"{path}: unpacks to more than 4 GB", "export the model without its training data")
    roots = [PurePosixPath(info.filename).parent for info in members if PurePosixPath(info.filename).name == _GRAPH]
    if len(roots) != 1:
        raise UnreadableModel(f"{path}: holds {len(roots)} SavedModels", "pack one SavedModel directory")
    below = [(PurePosixPath(info.filename), info) for info in members]
    inside = {str(name.relative_to(roots[0])): info for name, info in below if name.is_relative_to(roots[0])}
    if any(".." in PurePosixPath(name).parts or name.startswith("/") for name in inside):
        raise UnsafeModel(f"{path}: has names that lead out of it", "pack it again")
    return inside


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The directory itself, or the unpacked one for as long as it is needed. Raises SourceError."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wherry-saved-model-") as scratch:
        with _opened(path) as archive:
            for name, info in _inside(path, archive).items():
                target = Path(scratch) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file)
        yield Path(scratch)


def _served(path: Path, graphs: list[saved_model_file.MetaGraph]) -> saved_model_file.MetaGraph:
    served = [graph for graph in graphs if "serve" in graph.tags]
    if len(graphs) > 1 and len(served) != 1:
        raise UnsupportedModel(f"{path}: has {len(graphs)} graphs, none with the tag 'serve'", "export it for serving")
    return served[0] if served else graphs[0]


def _choose(path: Path, signatures: list[str], options: SourceOptions) -> str:
    wanted, listed = options.signature, ", ".join(sorted(signatures))
    if not signatures:
        raise UnsupportedModel(f"{path}: has no signature", "export it with signatures=…, or with model.export")
    if wanted and wanted not in signatures:
        raise BadRequest(f"{path}: has no signature {wanted!r}, it has {listed}", "give one of these as --signature")
    if wanted or "serving_default" in signatures:
        return wanted or "serving_default"
    if len(signatures) > 1:
        raise BadRequest(f"{path}: has the signatures {listed}", "say which with --signature")
    return signatures[0]


def _input(name: str, spec: Any, options: SourceOptions, *, only: bool) -> End:
    shape = ends.fixed_shape(name, _shape(spec), options, only=only)
    return End(
        name=name, shape=shape, dtype=ends.dtype_of("input", name, spec.dtype), batched=bool(shape) and shape[0] == 1
    )


def _shape(spec: Any) -> ends.Shape | None:
    return None if spec.shape.rank is None else tuple(spec.shape.as_list())


def _refuse_numbers(path: Path, loaded: _Loaded) -> None:
    variables = [*getattr(loaded.function, "variables", ()), *getattr(loaded.root, "variables", ())]
    for variable in variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise lower.not_finite(path, f"the variable {variable.name!r}")
