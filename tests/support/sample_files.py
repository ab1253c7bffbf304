"""Data files and the inputs of models that take them, for tests of converters/data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wherry.converters.data import SampleSet, load
from wherry.converters.errors import BadRequest, ConversionError, DataError
from wherry.converters.model import End

TABLE = End(name="table", shape=(1, 3))
LAST = End(name="image", shape=(1, 4, 5, 3))
FIRST = End(name="image", shape=(1, 3, 4, 5), axes=(0, 2, 3, 1))
IDS = End(name="ids:0", shape=(1, 2), dtype="int32")
PICTURES = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def take(where: str | Path, *ends: End, limit: int = 100, **also: Any) -> SampleSet:
    return load(str(where), ends, also.pop("preprocessing", {}), limit=limit, **also)


def refused(where: str | Path, *ends: End, kind: type[ConversionError] = DataError, **also: Any) -> ConversionError:
    with pytest.raises(kind) as caught:
        take(where, *ends, **also)
    assert caught.value.fix
    assert kind is BadRequest or str(where).rstrip("/") in caught.value.message
    return caught.value
