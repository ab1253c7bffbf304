"""What the configuration of a Keras file is refused for, and what does not matter in it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from wherry.converters.errors import ConversionError, UnsafeModel, UnsupportedModel
from wherry.converters.sources import keras_file

LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4w==", None, None]}}
OWN = {"module": "project.losses", "class_name": "MyLoss", "config": {}, "registered_name": "project>MyLoss"}


def _save(path: Path, **config: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential"} | config))
    return path


@pytest.mark.parametrize("own", [LAMBDA, OWN])
def test_what_a_model_was_trained_with_does_not_matter(tmp_path: Path, own: dict[str, Any]) -> None:
    path = _save(tmp_path / "a.keras", config={}, compile_config={"loss": own, "metrics": [own]})
    assert keras_file.look(path) == keras_file.KerasFile(path, "keras")


@pytest.mark.parametrize(("own", "kind"), [(LAMBDA, UnsafeModel), (OWN, UnsupportedModel)])
def test_code_in_layers_is_refused_also_where_a_layer_was_compiled(
    tmp_path: Path, own: dict[str, Any], kind: type[ConversionError]
) -> None:
    inner = {"class_name": "Functional", "config": {}, "compile_config": {"loss": own}}
    for layer in (own, inner):
        with pytest.raises(kind):
            keras_file.look(_save(tmp_path / "a.keras", config={"layers": [layer]}))
