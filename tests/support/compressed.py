"""How the networks of `tests.support.networks` and their variants are made and run: each by a process of its own."""

import subprocess
import sys
from pathlib import Path

FAMILIES = ("litert", "tflite-runtime")


def compress(directory: Path, *names: str) -> Path:
    """The directory, with float files, data, every variant of the plain networks and `remedies.json` of the others."""
    run("tests.support.compression", directory, *names)
    return directory


def answer(directory: Path, network: str, *kernels: str) -> Path:
    """The directory, with what each variant of `network` answers in both runtimes."""
    files = sorted(directory.glob(f"{network}-*.tflite"))
    for family in FAMILIES:
        run("tests.support.run_tflite", family, ",".join(kernels), directory / f"{network}.npz", directory, *files)
    return directory


def run(module: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.spare", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
