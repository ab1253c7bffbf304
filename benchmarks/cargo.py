"""The model that is shipped: one dense int8 layer of 5 MiB of weights, which every runtime runs."""

from pathlib import Path

import numpy as np

from tests.support import dense_versions
from tests.support.cargo_hold import Version
from wherry.protocol.blob import BlobRef
from wherry.protocol.manifest import HealthLimits

FEATURES = 5120
CLASSES = 1024

HEALTH = HealthLimits(min_inferences=5, probation_s=1, deadline_s=60, p95_ratio=50)


def version(number: int) -> Version:
    """`dense:<number>`; no two have a block in common."""
    return dense_versions.make(number, HEALTH, features=FEATURES, classes=CLASSES)


def ballast(number: int) -> Version:
    """A version of a few kilobytes, to take the place of a large one."""
    return dense_versions.make(number, HEALTH, features=64, classes=10)


def artifact(of: Version) -> tuple[BlobRef, bytes]:
    return next((ref, data) for ref, data in of.blobs if ref.digest == of.assignment.artifact)


def write_feed(path: Path, count: int) -> None:
    """`count` inputs without labels."""
    np.savez(path, x=np.random.default_rng(0).integers(-20, 20, (count, FEATURES), dtype=np.int8))
