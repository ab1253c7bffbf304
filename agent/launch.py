"""What a worker must be told to run a version, from files that were verified just now."""

import msgspec

from wherry.agent.adapters.store import Store
from wherry.agent.core.preflight import choose_runtime, find_variant
from wherry.agent.errors import AgentError, DamagedBlob
from wherry.agent.worker.messages import Load, SelfTest
from wherry.protocol.manifest import HealthLimits
from wherry.protocol.runtime import Runtime
from wherry.protocol.types import VersionRef


class NotRunnable(AgentError):
    """The version cannot run on this device as it is now."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """`test` names golden vectors that were verified only if they were asked for."""

    load: Load
    test: SelfTest
    health: HealthLimits


def prepare(
    store: Store, runtimes: tuple[Runtime, ...], ref: VersionRef, threads: int, *, verify_golden: bool
) -> Launch:
    """Raises StoreError where a file is missing, or damaged and removed; NotRunnable where nothing here runs it."""
    try:
        return _prepare(store, runtimes, ref, threads, verify_golden=verify_golden)
    except DamagedBlob as error:
        store.blobs.discard(error.digest)
        raise


def _prepare(
    store: Store, runtimes: tuple[Runtime, ...], ref: VersionRef, threads: int, *, verify_golden: bool
) -> Launch:
    manifest = store.manifest(ref.manifest)
    variant = find_variant(manifest, ref.variant, ref.artifact)
    if isinstance(variant, str):
        raise NotRunnable(variant)
    runtime = choose_runtime(variant, runtimes)
    tolerance = None if runtime is None else variant.tolerance(runtime.family)
    if runtime is None or tolerance is None:
        raise NotRunnable(f"no runtime on this device runs {ref}")
    load = Load(
        family=runtime.family,
        artifact_path=str(store.blobs.verified_path(ref.artifact)),
        inputs=variant.inputs,
        outputs=variant.outputs,
        threads=threads,
    )
    digest = variant.golden.digest
    golden = store.blobs.verified_path(digest) if verify_golden else store.blobs.path(digest)
    return Launch(load=load, test=SelfTest(golden_path=str(golden), tolerance=tolerance), health=manifest.health)
