"""What a worker must be told and given to run a version: orders, and open files whose bytes were verified just now."""

import os

from wherry.agent.core.preflight import choose_runtime, find_variant
from wherry.agent.errors import AgentError, DamagedBlob
from wherry.agent.services import Services
from wherry.agent.worker.messages import Identity, Load, SelfTest
from wherry.protocol.manifest import Manifest
from wherry.protocol.profile import Profile
from wherry.protocol.types import VersionRef


class NotRunnable(AgentError):
    """The version cannot run on this device as it is now."""


class Launch:
    """`load` and `test` are orders; `artifact`, and `golden` where it was asked for, the open files that go with them.

    Whoever prepared it closes it; what a worker was given stays open there.
    """

    def __init__(self, load: Load, test: SelfTest, manifest: Manifest, artifact: int, golden: int | None) -> None:
        self.load, self.test, self.manifest = load, test, manifest
        self.reference: Profile | None = None
        self.artifact, self.golden = artifact, golden

    def close(self) -> None:
        """More than once is harmless."""
        for file in (self.artifact, self.golden):
            if file is not None and file >= 0:
                os.close(file)
        self.artifact, self.golden = -1, None


def prepare(services: Services, slot: str, ref: VersionRef, *, with_golden: bool) -> Launch:
    """Raises StoreError where a file is missing, or damaged and removed; NotRunnable where nothing here runs it."""
    try:
        return _prepare(services, slot, ref, with_golden=with_golden)
    except DamagedBlob as error:
        services.store.blobs.discard(error.digest)
        raise


def _prepare(services: Services, slot: str, ref: VersionRef, *, with_golden: bool) -> Launch:
    manifest = services.store.manifest(ref.manifest)
    variant = find_variant(manifest, ref.variant, ref.artifact)
    if isinstance(variant, str):
        raise NotRunnable(variant)
    runtime = choose_runtime(variant, services.runtimes)
    tolerance = None if runtime is None else variant.tolerance(runtime.family)
    if runtime is None or tolerance is None:
        raise NotRunnable(f"no runtime on this device runs {ref}")
    load = Load(
        family=runtime.family,
        inputs=variant.inputs,
        outputs=variant.outputs,
        threads=services.config.slots[slot].threads,
        identity=Identity(slot=slot, model=ref.model, version=ref.version, variant=ref.variant, labels=manifest.labels),
        sandbox=services.sandbox,
    )
    artifact = services.store.blobs.open_verified(ref.artifact)
    launch = Launch(load, SelfTest(tolerance=tolerance), manifest, artifact, None)
    launch.reference = variant.reference
    if with_golden:
        try:
            launch.golden = services.store.blobs.open_verified(variant.golden.digest)
        except BaseException:
            launch.close()
            raise
    return launch
