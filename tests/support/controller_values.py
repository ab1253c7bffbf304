"""Values that controller tests are made of: manifests of arbitrary bytes, births, plans."""

from typing import Any

from wherry.controller.core.plan import RolloutPlan
from wherry.protocol.blob import BlobRef, describe
from wherry.protocol.manifest import Manifest, Operator, TensorSpec, Tolerance, Variant
from wherry.protocol.runtime import Runtime, RuntimeFloor
from wherry.protocol.up import Birth

LITERT = Runtime(family="litert", version="2.3.0")
TFLITE = Runtime(family="tflite-runtime", version="2.14.0")
ANYWHERE = (RuntimeFloor(family="litert", lowest="1.0.0"), RuntimeFloor(family="tflite-runtime", lowest="2.5.0"))
LITERT_ONLY = (RuntimeFloor(family="litert", lowest="1.0.0"),)


def make_variant(
    salt: str,
    *,
    name: str = "int8",
    floors: tuple[RuntimeFloor, ...] = ANYWHERE,
    operators: tuple[Operator, ...] = (),
    artifact: BlobRef | None = None,
    arena_bytes: int = 0,
) -> Variant:
    spec = TensorSpec(name="x", shape=(1, 4), dtype="int8")
    return Variant(
        name=name,
        artifact=artifact or describe(f"artifact {salt} {name}".encode()),
        inputs=(spec,),
        outputs=(spec,),
        operators=operators,
        runtimes=floors,
        golden=describe(f"golden {salt} {name}".encode()),
        tolerances=(Tolerance(family="litert", max_abs=1, min_cosine=0.9),),
        arena_bytes=arena_bytes,
    )


def make_manifest(salt: str, *variants: Variant, model: str = "digits") -> Manifest:
    return Manifest(model=model, variants=variants or (make_variant(salt),))


def make_birth(*runtimes: Runtime, **more: Any) -> Birth:
    values: dict[str, Any] = {
        "boot_id": "b1", "agent_version": "0.1.0", "machine": "aarch64", "os": "Linux", "python": "3.11",
        "cpu_count": 4, "ram_bytes": 2**30, "disk_total_bytes": 2**34, "disk_free_bytes": 2**33,
        "runtimes": runtimes or (LITERT,),
    }  # fmt: skip
    return Birth(**(values | more))


def make_plan(version: int = 1, **more: Any) -> RolloutPlan:
    """Digits, with gates that only ask for commits unless `more` says otherwise."""
    values: dict[str, Any] = {"soak_s": 0.0, "min_inferences": 0, "device_deadline_s": 100.0}
    return RolloutPlan(model="digits", version=version, **(values | more))
