"""What a `.keras` or `.h5` file says about itself, read without any Keras.

Rules upheld here:
- What holds code, names a class outside of Keras or another file is refused by its configuration, before
  any Keras sees the file. `trust_pickle` lets Lambda layers through, whose code is in the file; classes
  that are elsewhere cannot be had by any option.
- Exactly one Keras reads the file: the one that wrote it.
"""

import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wherry.converters.errors import SourceMissing, UnreadableModel, UnsafeModel, UnsupportedModel

Library = Literal["keras", "tf_keras"]

SAVE_AGAIN = "save the whole model again with model.save(path), and copy it completely"
HDF5_TIMEOUT_S = 60
"""The description of the largest network is read in a fraction of a second."""

_BUILT_IN = ("keras", "tf_keras", "builtins")
_CODE = ("Lambda", "__lambda__")
_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_DAMAGE = (OSError, ValueError, TypeError, AttributeError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What zipfile, json and h5py raise for files that are not what they seem."""


@dataclass(frozen=True)
class KerasFile:
    """A file that was looked at and found harmless, and the library that reads it.

    `runs_code`: it has Lambda layers, and the user trusts it. `half`: some layers compute in 16 bits.
    """

    path: Path
    library: Library
    runs_code: bool = False
    half: bool = False


def look(path: Path, *, trust: bool = False) -> KerasFile:
    """Decide whether and by what the file may be loaded. Raises SourceError."""
    if not path.is_file():
        raise SourceMissing(f"{path}: no such file", "check the path of the model")
    try:
        config, version = _READERS[path.suffix.lower()](path)
        half = any(_half(node) for node in _nodes(config))
    except KeyError as error:
        raise UnsupportedModel(f"{path}: not a .keras or .h5 file", "save the model with Keras as .keras") from error
    except PermissionError as error:
        raise SourceMissing(f"{path}: not readable by this user", "change its permissions") from error
    except _DAMAGE as error:
        raise UnreadableModel(f"{path}: not a Keras model, truncated or damaged", SAVE_AGAIN) from error
    runs_code = _refuse_code(path, config, trust=trust)
    library: Library = "tf_keras" if version.startswith(("1.", "2.")) else "keras"
    return KerasFile(path, library, runs_code, half)


def in_float32(file: KerasFile, scratch: Path) -> Path:
    """A copy of the file whose layers compute in float32, which is what TFLite has; the weights are the same."""
    import shutil

    copy = scratch / f"float32{file.path.suffix.lower()}"
    if file.path.suffix.lower() == ".keras":
        with zipfile.ZipFile(file.path) as archive, zipfile.ZipFile(copy, "w") as written:
            for name in archive.namelist():
                content = archive.read(name)
                written.writestr(name, _widen(content.decode()) if name == "config.json" else content)
        return copy
    import h5py

    shutil.copyfile(file.path, copy)
    with h5py.File(copy, "r+") as hdf5:
        raw = hdf5.attrs["model_config"]
        hdf5.attrs["model_config"] = _widen(raw.decode() if isinstance(raw, bytes) else raw)
    return copy


def _read_archive(path: Path) -> tuple[Any, str]:
    """The configuration and the Keras version in a `.keras` file, which is a zip."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" not in names or archive.testzip() is not None:
            raise ValueError("no configuration, or a damaged member")
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        config = json.loads(archive.read("config.json"))
    if isinstance(config, dict):
        config.pop("compile_config", None)  # of training; with compile=False neither Keras reads it
    return config, str(metadata.get("keras_version", "3."))


def _read_hdf5(path: Path) -> tuple[Any, str]:
    """The configuration and the Keras version in an `.h5` file. Whatever HDF5 does with it, it does to a child."""
    path.open("rb").close()  # or tells that it may not be read
    command = [sys.executable, "-m", "wherry.converters.sources.hdf5_child", str(path), str(HDF5_TIMEOUT_S)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"HDF5 ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    found: dict[str, str] = json.loads(done.stdout)
    if "model_config" not in found:
        raise UnsupportedModel(f"{path}: holds no model, perhaps only its weights", SAVE_AGAIN)
    return json.loads(found["model_config"]), found.get("keras_version", "2.")


_READERS = {".keras": _read_archive, ".h5": _read_hdf5, ".hdf5": _read_hdf5}


def _refuse_code(path: Path, config: Any, *, trust: bool) -> bool:
    """Whether the file has code that the user trusts. Raises UnsafeModel and UnsupportedModel."""
    runs_code = False
    for node in (node for node in _nodes(config) if "class_name" in node):
        name = node.get("class_name")
        if name in _CODE:
            runs_code = True
            if not trust:
                raise UnsafeModel(
                    f"{path}: has a Lambda layer, which is code inside of the file and is never run",
                    "replace it by Keras layers (Rescaling, Multiply, Reshape …) and save the model again; "
                    "or give --trust-pickle, if you would run any program from where the file is from",
                )
        module = str(node.get("module") or "keras").split(".")[0]
        custom = node.get("registered_name") if ">" in str(node.get("registered_name")) else None
        if module not in _BUILT_IN or custom:
            raise UnsupportedModel(
                f"{path}: needs the class {name!r}, which is not part of Keras",
                "build the model from Keras's own layers and save it again, or export it with model.export(directory)",
            )
        settings = node.get("config")
        if isinstance(settings, dict) and isinstance(settings.get("vocabulary"), str):
            raise UnsafeModel(
                f"{path}: the layer {settings.get('name', name)!r} reads another file, {settings['vocabulary']!r}",
                "look words up outside of the model",
            )
    return runs_code


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `config`."""
    stack = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _half(node: dict[str, Any]) -> bool:
    """Whether a layer's configuration, or a policy's, asks for 16 bits; what an input takes is not meant."""
    if node.get("class_name") in ("DTypePolicy", "Policy"):
        return dict(node.get("config") or {}).get("name") in _HALF
    settings = node.get("config")
    layer = isinstance(settings, dict) and node.get("class_name") != "InputLayer"
    return layer and dict(settings or {}).get("dtype") in _HALF


def _widen(text: str) -> str:
    config = json.loads(text)
    for node in list(_nodes(config)):
        if _half(node):
            key = "name" if node["class_name"] in ("DTypePolicy", "Policy") else "dtype"
            node["config"][key] = "float32"
    return json.dumps(config)
