"""What the conversion process refuses before it loads TensorFlow; each case is a real process or file."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.conversion import convert, request
from wherry.converters.errors import SourceError, UnreadableModel, UnsafeModel, UnsupportedModel
from wherry.converters.model import SourceOptions
from wherry.converters.sources import keras, keras_file, saved_model

pytestmark = pytest.mark.slow

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": None}


def archive(path: Path, config: dict[str, Any], version: str = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 2)))
    return tmp_path / "data.npz"


def test_a_wrong_path_is_one_line_with_a_fix_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    conversion = convert(request(tmp_path / "no.keras", data, tmp_path / "out"))
    assert (conversion.status, conversion.failed.kind, conversion.failed.ours) == (2, "SourceMissing", False)
    assert conversion.failed.message == f"{tmp_path}/no.keras: no such file"
    assert conversion.failed.fix
    assert "Traceback" not in conversion.stderr
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"source": 1}', b"\xff"])
def test_what_is_not_a_request_is_refused(sent: bytes) -> None:
    done = subprocess.run([sys.executable, "-m", "wherry.converters"], input=sent, capture_output=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "BadRequest"


def test_an_existing_directory_is_never_touched(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    conversion = convert(request(tmp_path / "no.keras", data, tmp_path / "out"))
    assert (conversion.status, conversion.failed.kind) == (2, "OutputError")


@pytest.mark.parametrize(
    ("layer", "error"),
    [
        ({"class_name": "Lambda", "module": "keras.layers"}, UnsafeModel),
        ({"class_name": "Activation", "config": {"activation": {"class_name": "__lambda__"}}}, UnsafeModel),
        ({"class_name": "system", "module": "os"}, UnsupportedModel),
        ({"class_name": "Mine", "module": None, "registered_name": "Custom>Mine"}, UnsupportedModel),
    ],
)
def test_code_and_foreign_classes_are_refused_from_the_configuration(
    tmp_path: Path, layer: dict[str, Any], error: type[SourceError]
) -> None:
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [DENSE, layer]}}
    with pytest.raises(error):
        keras.inspect(archive(tmp_path / "model.keras", config), SourceOptions())


def test_the_keras_that_wrote_the_file_reads_it(tmp_path: Path) -> None:
    assert keras_file.look(archive(tmp_path / "new.keras", DENSE)).library == "keras"
    assert keras_file.look(archive(tmp_path / "old.keras", DENSE, "2.15.0")).library == "tf_keras"


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.keras", DENSE).read_bytes()
    contents = {"cut.keras": whole[:-30], "empty.keras": b"", "text.h5": b"hello", "cut.h5": b"\x89HDF\r\n\x1a\n\0"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in contents:
        with pytest.raises(UnreadableModel, match="not a Keras model, truncated or damaged"):
            keras.inspect(tmp_path / name, SourceOptions())
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"not a .keras or .h5 file"):
        keras.inspect(tmp_path / "model.onnx", SourceOptions())


def spoiled(path: Path, member: str) -> None:
    """Alter the first packed byte of a member, which then cannot be unpacked."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(member)] ^= 0xFF
    path.write_bytes(content)


def test_an_archive_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    keras_path, saved_path = tmp_path / "packed.keras", tmp_path / "packed.zip"
    for path, member in ((keras_path, "config.json"), (saved_path, "net/saved_model.pb")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, json.dumps(DENSE))
        spoiled(path, member)
    with pytest.raises(UnreadableModel, match="not a Keras model, truncated or damaged"):
        keras.inspect(keras_path, SourceOptions())
    with pytest.raises(UnreadableModel, match="nor a sound"):
        saved_model.inspect(saved_path, SourceOptions())


def test_a_damaged_member_that_only_loading_reads_is_the_files_fault(tmp_path: Path) -> None:
    path, member = tmp_path / "packed.zip", "net/variables/variables.index"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/saved_model.pb", b"graph")
        archive.writestr(member, b"index" * 20)
    spoiled(path, member)
    with pytest.raises(UnreadableModel, match="nor a sound"), saved_model.unpacked(path):
        pass


@pytest.mark.parametrize(
    ("config", "metadata"), [(DENSE, []), ({"class_name": "Policy", "config": "half"}, {"keras_version": "3"})]
)
def test_a_description_of_another_form_is_refused(tmp_path: Path, config: Any, metadata: Any) -> None:
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(UnreadableModel, match="not a Keras model, truncated or damaged"):
        keras.inspect(tmp_path / "odd.keras", SourceOptions())


def test_a_file_in_which_hdf5_loops_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(DENSE)
    content = bytearray((tmp_path / "loop.h5").read_bytes())
    size = content.index(b"GCOL") + 24  # of the first object in the heap; the next one is then the same again
    content[size : size + 8] = (2**64 - 16).to_bytes(8, "little")
    (tmp_path / "loop.h5").write_bytes(content)
    monkeypatch.setattr(keras_file, "HDF5_TIMEOUT_S", 1)
    with pytest.raises(UnreadableModel, match="not a Keras model, truncated or damaged"):
        keras.inspect(tmp_path / "loop.h5", SourceOptions())


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = [1.0]
    with pytest.raises(UnsupportedModel, match="perhaps only its weights"):
        keras.inspect(tmp_path / "weights.h5", SourceOptions())


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("no.tflite", {"signature": "serve"}, "SourceMissing"),
        ("no.keras", {"signature": "serve"}, "BadRequest"),
        ("no.onnx", {"weights": "/no/weights.pt"}, "BadRequest"),
    ],
)
def test_an_option_that_the_source_cannot_have_is_refused_and_not_overlooked(
    data: Path, tmp_path: Path, name: str, options: dict[str, str], kind: str
) -> None:
    assert convert(request(tmp_path / name, data, tmp_path / "out", **options)).failed.kind == kind
