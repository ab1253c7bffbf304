"""From what the user names to the canonical float TFLite: which framework it is, and the passes that it takes."""

from dataclasses import dataclass, replace
from pathlib import Path

from wherry.converters.cache import content_digest
from wherry.converters.errors import BadRequest, ConversionError, SourceMissing, UnsupportedModel
from wherry.converters.model import Framework, SourceModel, SourceOptions
from wherry.converters.passes import sources
from wherry.converters.passes.table import BUILD, PREDICT, TO_ONNX, BuildOptions, PredictOptions
from wherry.converters.sources.onnx_graph import side_files
from wherry.converters.workshop import Made, Workshop
from wherry.protocol import blob
from wherry.protocol.conversion import ConversionRequest

_BY_SUFFIX: dict[str, Framework] = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".onnx": "onnx",
    ".pt2": "pytorch",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".tflite": "tflite",
}


@dataclass(frozen=True)
class Origin:
    """What is converted. `spec` is `module:factory` where there is no file; `sides` are files that belong to it."""

    framework: Framework
    options: SourceOptions
    path: Path | None
    spec: str
    weights: Path | None
    sides: dict[str, Path]

    @property
    def files(self) -> dict[str, Path]:
        named = {"source": self.path, "weights": self.weights} | self.sides
        return {name: path for name, path in named.items() if path is not None}

    @property
    def digest(self) -> str:
        """Of the file or directory, with what belongs to it; empty for a factory, whose code no digest tells."""
        if self.path is None:
            return ""
        own = content_digest(self.path)
        beside = [f"{name} {content_digest(file)}" for name, file in sorted(self.sides.items())]
        return blob.sha256("\n".join([own, *beside]).encode()) if beside else own

    @property
    def size_bytes(self) -> int:
        return sum(_size_bytes(path) for path in self.files.values())


@dataclass(frozen=True)
class Built:
    """The source as a TFLite file, and what its own framework needs to be asked again."""

    origin: Origin
    model: SourceModel
    file: Path
    asked: Framework
    asked_files: dict[str, Path]


def recognise(request: ConversionRequest) -> Origin:
    """Which framework it is, by name and form. Raises SourceError for what cannot be converted."""
    path = Path(request.source)
    options = SourceOptions(
        input_shapes=request.input_shapes,
        layout=request.recipe.layout,
        signature=request.signature,
        weights=request.weights,
        trust_pickle=request.trust_pickle,
    )
    framework = _framework(path, request.source)
    if request.signature and framework not in ("saved_model", "tflite"):
        raise BadRequest(f"{request.source}: has no signatures to choose from", "leave --signature out")
    if request.weights and not (framework == "pytorch" and not path.exists()):
        raise BadRequest(f"{request.source}: holds its weights itself", "leave --weights out")
    is_file = path.exists()
    origin = Origin(
        framework=framework,
        options=options,
        path=path if is_file else None,
        spec="" if is_file else request.source,
        weights=Path(request.weights) if request.weights else None,
        sides={},
    )
    if origin.weights is not None and not origin.weights.is_file():
        raise SourceMissing(f"{origin.weights}: no such file", "check the path of the weights")
    sources.module(framework).inspect(path if is_file else Path(request.source), options)
    if framework != "onnx":
        return origin
    sides = {f"beside: {name}": file for name, file in side_files(path).items()}
    return replace(origin, sides=sides)


def build(origin: Origin, shop: Workshop, torch_shop: Workshop) -> Built:
    """Bring it to TFLite. PyTorch goes by ONNX, in a process without TensorFlow. Every refusal names the source."""
    try:
        return _build(origin, shop, torch_shop)
    except ConversionError as error:
        named = origin.spec or str(origin.path)
        if named in error.message:
            raise
        raise type(error)(f"{named}: {error.message}", error.fix) from error


def _build(origin: Origin, shop: Workshop, torch_shop: Workshop) -> Built:
    keep = origin.path is not None
    options = BuildOptions(framework=origin.framework, source=_anywhere(origin.options), spec=origin.spec)
    if origin.framework != "pytorch":
        made = shop.run(BUILD, origin.files, options, keep=keep)
        return _built(origin, made, origin.framework, origin.files)
    exported = torch_shop.run(TO_ONNX, origin.files, options, keep=keep)
    onnx = {"source": exported.file("model.onnx")}
    shapeless = SourceOptions(layout=origin.options.layout)
    made = shop.run(BUILD, onnx, BuildOptions(framework="onnx", source=shapeless))
    return _built(origin, made, "pytorch", origin.files)


def predict(built: Built, samples: Path, shop: Workshop) -> Path:
    """The source's own outputs for an archive of samples in its own layout: an archive of arrays."""
    origin = built.origin
    options = PredictOptions(
        framework=built.asked, model=built.model, source=_anywhere(origin.options), spec=origin.spec
    )
    files = built.asked_files | {"samples": samples}
    return shop.run(PREDICT, files, options, keep=origin.path is not None).file("outputs.npz")


def _built(origin: Origin, made: Made[SourceModel], asked: Framework, files: dict[str, Path]) -> Built:
    name = "source.tflite" if made.result.quantized else "float.tflite"
    return Built(origin, made.result, made.file(name), asked, files)


def _anywhere(options: SourceOptions) -> SourceOptions:
    """Without paths, so that the same content gives the same key wherever it lies."""
    return SourceOptions(
        input_shapes=options.input_shapes,
        layout=options.layout,
        signature=options.signature,
        trust_pickle=options.trust_pickle,
    )


def _framework(path: Path, text: str) -> Framework:
    if path.is_dir() or path.suffix.lower() == ".zip":
        return "saved_model"
    known = _BY_SUFFIX.get(path.suffix.lower())
    if known is not None:
        return known
    if not path.exists() and ":" in path.name:
        return "pytorch"
    if not path.exists():
        raise SourceMissing(f"{text}: no such file or directory", "check the path of the model")
    raise UnsupportedModel(
        f"{text}: not a kind of model that can be converted",
        "give .keras, .h5, a SavedModel directory, .onnx, .pt2, TorchScript .pt, .tflite, or package.module:factory",
    )


def _size_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
