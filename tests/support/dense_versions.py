"""Versions of a real model that every runtime runs: one dense layer, with golden vectors and a feed."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tests.support.cargo_hold import Version
from tests.support.tiny_model import Dense, random_dense
from wherry.protocol.blob import describe
from wherry.protocol.down.desired import Assignment
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import HealthLimits, Manifest, Operator, Tolerance, Variant, encode_manifest
from wherry.protocol.runtime import Family, RuntimeFloor

FEATURES = 20_000
CLASSES = 10
FAMILIES: tuple[Family, ...] = ("litert", "tflite-runtime")
HEALTH = HealthLimits(min_inferences=30, probation_s=1, deadline_s=60, p95_ratio=50)
NO_DRIFT: dict[str, None] = {"prediction_psi": None, "confidence_shift": None}
"""Models of random weights answer unlike each other, and none is the worse for it."""


def make(
    number: int,
    health: HealthLimits = HEALTH,
    *,
    wrong_golden: bool = False,
    features: int = FEATURES,
    classes: int = CLASSES,
    tail: bytes = b"",
    dense: Dense | None = None,
    drift: bool = False,
) -> Version:
    """`dense:<number>`, of `features` times `classes` bytes and a little more: by default 200 KB, four blocks.

    Its drift is judged where `drift` asks for it. `tail` is put behind the model's file, where no runtime looks.
    """
    dense = dense or random_dense(features, classes, seed=number)
    health = health if drift else replace(health, **NO_DRIFT)
    artifact, golden = dense.file() + tail, _golden(dense, wrong=wrong_golden)
    variant = Variant(
        name="int8",
        artifact=describe(artifact),
        inputs=(dense.input_spec,),
        outputs=(dense.output_spec,),
        operators=(Operator(name="FULLY_CONNECTED", version=4, count=1),),
        runtimes=tuple(RuntimeFloor(family=family, lowest="2.0.0") for family in FAMILIES),
        golden=describe(golden),
        tolerances=tuple(Tolerance(family=family, max_abs=1, min_cosine=0.99) for family in FAMILIES),
    )
    manifest = encode_manifest(Manifest(model="dense", version=number, variants=(variant,), health=health))
    assignment = Assignment(
        slot="main",
        model="dense",
        version=number,
        variant="int8",
        manifest=describe(manifest),
        artifact=variant.artifact.digest,
    )
    return Version(
        assignment, ((assignment.manifest, manifest), (variant.artifact, artifact), (variant.golden, golden))
    )


def write_feed(directory: Path, number: int, count: int = 20) -> None:
    """Random inputs, labelled with what `dense:<number>` answers."""
    directory.mkdir(parents=True, exist_ok=True)
    x = _inputs(count, FEATURES)
    np.savez(directory / "feed.npz", x=x, y=random_dense(FEATURES, CLASSES, seed=number).expected_steps(x).argmax(1))


def _inputs(count: int, features: int) -> npt.NDArray[np.int8]:
    return np.random.default_rng(99).integers(-20, 20, (count, features), dtype=np.int8)


def _golden(dense: Dense, *, wrong: bool) -> bytes:
    vectors = []
    for x in _inputs(3, dense.weights.shape[1]):
        steps = np.rint(dense.expected_steps(x[np.newaxis])).astype(np.int8)
        output = (-steps if wrong else steps).tobytes()
        vectors.append(GoldenVector(inputs=(x.tobytes(),), outputs=dict.fromkeys(FAMILIES, (output,))))
    return encode_golden(GoldenSet(vectors=tuple(vectors)))
