"""Networks and conversions that several tests look at, each made once a session, by one of its processes."""

import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import conversion
from tests.support.compressed import answer, compress
from wherry.protocol.manifest import HealthLimits

T = TypeVar("T")

INT8_RECIPE = {"health": HealthLimits(p95_ms=50.0), "calibration": {"ranges": "minmax"}}
"""With the ranges as they were recorded: tests compute them again."""

LABELS = tuple(str(digit) for digit in range(10))


class Shared:
    """What one process of the session has made, for all of them."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        own = tmp_path_factory.getbasetemp()
        self._directory = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def once(self, name: str, make: Callable[[Path], T]) -> T:
        """What `make` gives for a directory that is for it alone; who comes meanwhile waits."""
        kept = self._directory / f"{name}.pickle"
        with (self._directory / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                directory = self._directory / f"{name}-{os.getpid()}"
                directory.mkdir()
                kept.write_bytes(pickle.dumps(make(directory)))
        found: T = pickle.loads(kept.read_bytes())  # noqa: S301 - of this very session
        return found


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory)


@pytest.fixture(scope="session")
def digits(shared: Shared) -> Path:
    """The networks of the voyage and their data: hasty, better, slow and wide `.keras`, train and heldout `.npz`."""
    return shared.once("digits", lambda directory: _run("examples.voyage.train", directory))


@pytest.fixture(scope="session")
def odd_models(shared: Shared) -> Path:
    return shared.once("odd", lambda directory: _run("tests.support.odd_models", directory))


@pytest.fixture(scope="session")
def float_digits(digits: Path, shared: Shared) -> Path:
    """`float.tflite` of the better network, and the source's outputs for heldout-200 in `expected.npy`."""
    given = digits / "better.keras", digits / "heldout-200.npz"
    return shared.once("float", lambda directory: _run("tests.support.float_file", *given, directory))


@pytest.fixture(scope="session")
def int8(digits: Path, shared: Shared) -> conversion.Conversion:
    """The better network in int8, with labels and health limits."""
    return shared.once(
        "int8",
        lambda directory: conversion.convert(
            conversion.request(
                digits / "better.keras",
                digits / "train.npz",
                directory / "out",
                evaluation=str(digits / "heldout.npz"),
                labels=LABELS,
                recipe=INT8_RECIPE,
            ),
            PYTHONPROFILEIMPORTTIME="1",
        ),
    )


@pytest.fixture(scope="session")
def dynamic(digits: Path, shared: Shared) -> conversion.Conversion:
    return shared.once(
        "dynamic",
        lambda directory: conversion.convert(
            conversion.request(
                digits / "wide.keras",
                digits / "train.npz",
                directory / "out",
                "dynamic",
                evaluation=str(digits / "heldout.npz"),
            )
        ),
    )


@pytest.fixture(scope="session")
def compressed(shared: Shared) -> Path:
    """The networks of `tests.support.networks` with every variant of them, and `remedies.json`."""
    return shared.once("compressed", compress)


@pytest.fixture(scope="session")
def answers(compressed: Path, shared: Shared) -> Callable[[str], Path]:
    """The same directory, with what each variant of a network answers in both runtimes, XNNPACK or not."""
    return lambda network: shared.once(f"answers-{network}", lambda _: answer(compressed, network, "out", "plain"))


def _run(module: str, *arguments: Path) -> Path:
    """The last of the arguments, the directory in which the module has made its files."""
    subprocess.run(
        [sys.executable, "-m", "tests.support.spare", module, *map(str, arguments)], check=True, capture_output=True
    )
    return arguments[-1]
