"""The small model that the agent is measured with: ResNet-8 int8 where it is at hand, else one dense layer.

Versions of it differ in bytes behind the model's file, where no runtime looks, so that they answer alike and have
digests of their own.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.form import ROOT
from tests.support.cargo_hold import Version
from tests.support.tiny_model import random_dense
from wherry.agent.worker import runtimes
from wherry.agent.worker.runtimes.interpreter import Interpreter
from wherry.protocol.blob import describe
from wherry.protocol.down.desired import Assignment
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import HealthLimits, Manifest, Operator, Tolerance, Variant, encode_manifest
from wherry.protocol.runtime import RuntimeFloor

RESNET = ROOT.parent / "shared" / "models" / "resnet8_int8_reference.tflite"
HEALTH = HealthLimits(
    min_inferences=5, probation_s=0.5, deadline_s=60, p95_ratio=50, prediction_psi=None, confidence_shift=None
)
"""A committed version a second: what is measured is the machinery, and not how long a fleet's owner waits."""

GOLDEN = 3


class SmallModel:
    """`name` says which model it is. `sample` is one stored input."""

    def __init__(self, directory: Path) -> None:
        self.name = "resnet8-int8" if RESNET.is_file() else "dense-int8"
        self.path = directory / "model.tflite"
        self.path.write_bytes(RESNET.read_bytes() if RESNET.is_file() else random_dense(3072, 1024).file())

    @cached_property
    def bare(self) -> Interpreter:
        """Set, invoke, get, in this process, with the same number of threads as a worker's."""
        return runtimes.load("litert", self.path, 1)

    @cached_property
    def sample(self) -> npt.NDArray[np.int8]:
        return self._random(0)

    def version(self, number: int) -> Version:
        data = self.path.read_bytes() + f"version {number}".encode()
        golden = encode_golden(GoldenSet(vectors=tuple(self._vector(seed) for seed in range(1, GOLDEN + 1))))
        variant = Variant(
            name="int8",
            artifact=describe(data),
            inputs=self.bare.inputs,
            outputs=self.bare.outputs,
            operators=(Operator(name="FULLY_CONNECTED", version=4, count=1),),
            runtimes=(RuntimeFloor(family="litert", lowest="2.0.0"),),
            golden=describe(golden),
            tolerances=(Tolerance(family="litert", max_abs=1, min_cosine=0.99),),
        )
        manifest = encode_manifest(Manifest(model=self.name, version=number, variants=(variant,), health=HEALTH))
        assignment = Assignment(
            slot="main",
            model=self.name,
            version=number,
            variant="int8",
            manifest=describe(manifest),
            artifact=variant.artifact.digest,
        )
        blobs = ((assignment.manifest, manifest), (variant.artifact, data), (variant.golden, golden))
        return Version(assignment, blobs)

    def _random(self, seed: int) -> npt.NDArray[np.int8]:
        return np.random.default_rng(seed).integers(-128, 128, self.bare.inputs[0].shape, dtype=np.int8)

    def _vector(self, seed: int) -> GoldenVector:
        given = self._random(seed)
        outputs = tuple(output.tobytes() for output in self.bare.run([given]))
        return GoldenVector(inputs=(given.tobytes(),), outputs={"litert": outputs})
