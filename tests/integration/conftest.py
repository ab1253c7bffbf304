"""Networks and conversions that several tests look at, each made once a session."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import conversion
from wherry.protocol.manifest import HealthLimits

INT8_RECIPE = {"health": HealthLimits(p95_ms=50.0), "calibration": {"ranges": "minmax"}}
"""With the ranges as they were recorded: tests compute them again."""

LABELS = tuple(str(digit) for digit in range(10))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of the voyage and their data: hasty, better, slow and wide `.keras`, train and heldout `.npz`."""
    directory = tmp_path_factory.mktemp("digits")
    _run("examples.voyage.train", directory)
    return directory


@pytest.fixture(scope="session")
def odd_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("odd")
    _run("tests.support.odd_models", directory)
    return directory


@pytest.fixture(scope="session")
def float_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`float.tflite` of the better network, and the source's outputs for heldout-200 in `expected.npy`."""
    directory = tmp_path_factory.mktemp("float")
    _run("tests.support.float_file", digits / "better.keras", digits / "heldout-200.npz", directory)
    return directory


@pytest.fixture(scope="session")
def int8(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> conversion.Conversion:
    """The better network in int8, with labels and health limits."""
    return conversion.convert(
        conversion.request(
            digits / "better.keras",
            digits / "train.npz",
            tmp_path_factory.mktemp("int8") / "out",
            evaluation=str(digits / "heldout.npz"),
            labels=LABELS,
            recipe=INT8_RECIPE,
        ),
        PYTHONPROFILEIMPORTTIME="1",
    )


@pytest.fixture(scope="session")
def dynamic(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> conversion.Conversion:
    return conversion.convert(
        conversion.request(
            digits / "wide.keras",
            digits / "train.npz",
            tmp_path_factory.mktemp("dynamic") / "out",
            "dynamic",
            evaluation=str(digits / "heldout.npz"),
        )
    )


def _run(module: str, *arguments: Path) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True, capture_output=True)
