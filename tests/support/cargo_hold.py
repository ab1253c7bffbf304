"""Versions made of arbitrary bytes, with the manifest and everything a controller publishes of them."""

import msgspec

from wherry.agent.adapters.store import Store
from wherry.protocol import topics
from wherry.protocol.blob import BlobRef, describe, hash_list, split
from wherry.protocol.down.desired import Assignment, Desired
from wherry.protocol.golden import GoldenSet, GoldenVector, encode_golden
from wherry.protocol.manifest import HealthLimits, Manifest, TensorSpec, Tolerance, Variant, encode_manifest
from wherry.protocol.runtime import RuntimeFloor

FLEET = "test"
DEVICE = "boat-1"


class Version(msgspec.Struct, frozen=True):
    """`blobs` are the manifest, the artifact and the golden vectors, in this order."""

    assignment: Assignment
    blobs: tuple[tuple[BlobRef, bytes], ...]

    def messages(self, fleet: str = FLEET) -> dict[str, bytes]:
        """Topics and payloads of all blocks and lists of hashes."""
        found = {}
        for ref, data in self.blobs:
            for index, block in enumerate(split(data)):
                found[topics.block(fleet, ref.digest, index)] = block
            if ref.hashes:
                found[topics.hashes(fleet, ref.digest)] = hash_list(data)
        return found


def make_version(
    number: int,
    *,
    artifact: bytes | None = None,
    health: HealthLimits | None = None,
    floor: str = "2.0.0",
    slot: str = "main",
) -> Version:
    """`digits:<number>`, of about 200 KB unless `artifact` is given."""
    artifact = bytes(f"artifact {number} ", "ascii") * 20_000 if artifact is None else artifact
    golden = encode_golden(
        GoldenSet(vectors=(GoldenVector(inputs=(b"\0" * 4,), outputs={"litert": (bytes([number % 256]),)}),))
    )
    spec = TensorSpec(name="x", shape=(1, 1), dtype="float32")
    variant = Variant(
        name="int8",
        artifact=describe(artifact),
        inputs=(spec,),
        outputs=(spec,),
        operators=(),
        runtimes=(RuntimeFloor(family="litert", lowest=floor),),
        golden=describe(golden),
        tolerances=(Tolerance(family="litert", max_abs=1, min_cosine=0.9),),
    )
    limits = health or HealthLimits(min_inferences=200, probation_s=3, deadline_s=60)
    manifest = encode_manifest(Manifest(model="digits", version=number, variants=(variant,), health=limits))
    assignment = Assignment(
        slot=slot,
        model="digits",
        version=number,
        variant="int8",
        manifest=describe(manifest),
        artifact=variant.artifact.digest,
    )
    blobs = ((assignment.manifest, manifest), (variant.artifact, artifact), (variant.golden, golden))
    return Version(assignment, blobs)


def desire(generation: int, *versions: Version, epoch: int = 1, url: str | None = None) -> Desired:
    slots = tuple(version.assignment for version in versions)
    return Desired(epoch=epoch, generation=generation, slots=slots, artifacts_url=url)


def hold(store: Store, data: bytes) -> str:
    """Put a blob into a store by way of a part, as a download does; its digest."""
    ref = describe(data)
    part = store.parts.open(ref)
    for index, block in enumerate(split(data)):
        part.write(index, block)
    part.close()
    store.blobs.adopt(part.path, ref.digest)
    return ref.digest
