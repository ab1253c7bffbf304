"""Trains the networks and converts them with `wherry convert`, two at a time, while the story goes on.

What it runs is niced: the boards of the story share this machine's cores, and their latency is watched.
"""

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from examples.voyage.waiting import NotAsTold, wait_for

TRAIN_LIMIT_S = 300.0
NICE = ["nice", "-n", "10"]

HEALTH = """\
# What a device holds a version to before it commits it. Short, for a demonstration.
probation_s = 3.0
min_inferences = 60
p95_ms = 15.0
# Six boards, two conversions and a controller share this machine: under this, a ratio is noise.
p95_ratio_floor_ms = 10.0
"""


class Order(NamedTuple):
    """One package to be made of a network; `recipe` is empty for a file that somebody else has quantized."""

    network: str
    recipe: str = "int8"

    @property
    def file_name(self) -> str:
        return f"{self.network}.keras" if self.recipe else f"{self.network}.tflite"


class Package(NamedTuple):
    directory: Path
    report: dict[str, Any]

    @property
    def told(self) -> str:
        """`int8, 62.3 KiB, 96.5 % right (float 96.4 %)`."""
        variant = next(entry for entry in self.report["variants"] if entry["accepted"])
        scores = next(run["scores"] for run in variant["runtimes"] if run["ok"])
        size_kib = variant["artifact_bytes"] / 1024
        before = scores.get("float_accuracy")
        compared = f" (float {before['share']:.1%})" if before else ""
        return f"{variant['name']}, {size_kib:.1f} KiB, {scores['accuracy']['share']:.1%} right{compared}"


class Shipyard:
    """Begins at once; `package(n)` waits for the package of the n-th order, from 1."""

    def __init__(self, directory: Path, orders: list[Order]) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        (directory / "health.toml").write_text(HEALTH)
        with (directory / "train.log").open("wb") as log:
            self._training = subprocess.Popen(
                [*NICE, sys.executable, "-m", "examples.voyage.train", directory], stdout=log, stderr=log
            )
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._packages: list[Future[Package]] = [
            self._pool.submit(self._make, number, order) for number, order in enumerate(orders, start=1)
        ]

    @property
    def held_out(self) -> Path:
        """The digits that no network has seen."""
        return self.directory / "heldout.npz"

    def network(self, name: str) -> str:
        """What the training says of the network, once it is trained: `better: 56,714 weights, 96.4% … right`."""
        log = self.directory / "train.log"

        def told() -> str | None:
            lines = log.read_text(errors="replace").splitlines()
            return next((line for line in lines if line.startswith(f"{name}: ")), None)

        return wait_for(told, f"{name} is trained; see {log}", TRAIN_LIMIT_S)

    def package(self, number: int) -> Package:
        """Raises NotAsTold where it could not be made."""
        return self._packages[number - 1].result()

    def close(self) -> None:
        for package in self._packages:
            package.cancel()
        self._training.terminate()
        self._training.wait()
        self._pool.shutdown(cancel_futures=True)

    def _make(self, number: int, order: Order) -> Package:
        network = self.directory / order.file_name
        wait_for(lambda: network.exists() or self._training.poll() is not None, f"{network.name}", TRAIN_LIMIT_S)
        if not network.exists():
            raise NotAsTold(f"the training ended without {network.name}; see {self.directory / 'train.log'}")
        out = self.directory / f"package-{number}"
        log = self.directory / f"package-{number}.log"
        with log.open("wb") as said:
            done = subprocess.run(
                self._command(network, order, out), stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        if done.returncode != 0:
            raise NotAsTold(f"{network.name} was not converted: {log.read_text().strip().splitlines()[-1]}")
        return Package(out, json.loads((out / "report.json").read_text()))

    def _command(self, network: Path, order: Order, out: Path) -> list[str | Path]:
        data: list[str | Path] = ["--calibration", self.directory / "train.npz", "--evaluation", self.held_out]
        how: list[str | Path] = ["--health", self.directory / "health.toml", "--no-cache", "--out", out]
        if order.recipe:
            how += ["--recipe", order.recipe]
        return [*NICE, Path(sys.executable).with_name("wherry"), "convert", network, "--name", "digits", *data, *how]
