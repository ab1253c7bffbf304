"""The networks of `tests.support.networks` and their variants, made once a test process."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FAMILIES = ("litert", "tflite-runtime")


@cache
def networks() -> Path:
    """A directory with float files and data."""
    directory = Path(tempfile.mkdtemp(prefix="wherry-compressed-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    run("tests.support.networks", directory)
    return directory


@cache
def compressed() -> Path:
    """The same, with every variant of the plain networks and `remedies.json` of the others."""
    directory = networks()
    run("tests.support.compression", directory)
    return directory


@cache
def answers(network: str) -> Path:
    """The same, with what each variant of `network` answers in both runtimes."""
    directory = compressed()
    files = sorted(directory.glob(f"{network}-*.tflite"))
    for family in FAMILIES:
        run("tests.support.run_tflite", family, directory / f"{network}.npz", directory, *files)
    return directory


def run(module: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
