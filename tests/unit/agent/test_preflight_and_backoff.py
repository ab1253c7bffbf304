"""What is refused before anything large is fetched, and how waits grow."""

import msgspec
import pytest

from tests.support.cargo_hold import make_version
from wherry.agent.core.backoff import delay_s
from wherry.agent.core.preflight import Board, check, choose_runtime, find_variant
from wherry.protocol.manifest import Manifest, Variant, decode_manifest
from wherry.protocol.runtime import Runtime

MIB = 1024 * 1024
BOARD = Board(
    runtimes=(Runtime(family="litert", version="2.3.0"),),
    disk_free_bytes=100 * MIB,
    disk_reserve_bytes=50 * MIB,
    ram_available_bytes=100 * MIB,
    ram_reserve_bytes=50 * MIB,
    max_artifact_bytes=10 * MIB,
    to_fetch_bytes=MIB,
)


def _manifest() -> Manifest:
    return decode_manifest(make_version(1, floor="2.2.0").blobs[0][1])


def _variant() -> Variant:
    return _manifest().variants[0]


def _sized(size_bytes: int) -> Variant:
    variant = _variant()
    return msgspec.structs.replace(variant, artifact=msgspec.structs.replace(variant.artifact, size_bytes=size_bytes))


def test_what_fits_passes() -> None:
    assert check(_variant(), BOARD) is None


@pytest.mark.parametrize(
    ("variant", "board", "reason"),
    [
        (_variant(), {"runtimes": ()}, "needs litert 2.2.0, this device has no runtime"),
        (
            _variant(),
            {"runtimes": (Runtime(family="tflite-runtime", version="2.14.0"),)},
            "needs litert 2.2.0, this device has tflite-runtime 2.14.0",
        ),
        (
            _variant(),
            {"runtimes": (Runtime(family="litert", version="2.1.9"),)},
            "needs litert 2.2.0, this device has litert 2.1.9",
        ),
        (_sized(11 * MIB), {}, "the artifact has 11.0 MiB, limit 10.0 MiB"),
        (_variant(), {"to_fetch_bytes": 51 * MIB}, "needs 51.0 MiB of disk, 50.0 MiB can be spared"),
        (_sized(9 * MIB), {"ram_available_bytes": 60 * MIB}, "needs 18.0 MiB of memory, 10.0 MiB can be spared"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(variant: Variant, board: dict[str, object], reason: str) -> None:
    assert check(variant, msgspec.structs.replace(BOARD, **board)) == reason


def test_a_blob_that_is_on_disk_needs_no_space() -> None:
    full = msgspec.structs.replace(BOARD, disk_free_bytes=0, to_fetch_bytes=0)
    assert check(_variant(), full) is None


def test_the_assignment_and_the_manifest_must_agree() -> None:
    variant = _variant()
    assert find_variant(_manifest(), "int8", variant.artifact.digest) == variant
    assert find_variant(_manifest(), "int4", variant.artifact.digest) == "the manifest has no variant int4"
    assert find_variant(_manifest(), "int8", "0" * 64) == (
        "the manifest names another artifact for variant int8 than the assignment"
    )


def test_a_runtime_without_golden_outputs_is_not_chosen() -> None:
    variant = msgspec.structs.replace(_variant(), tolerances=())
    assert choose_runtime(variant, BOARD.runtimes) is None


def test_waits_double_up_to_their_limit_and_are_jittered_from_zero() -> None:
    longest = [delay_s(failures, 1.0, base_s=1.0, limit_s=60.0) for failures in range(1, 9)]
    assert longest == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delay_s(5, 0.0, base_s=1.0, limit_s=60.0) == 0
    assert delay_s(10_000, 1.0, base_s=1.0, limit_s=60.0) == 60
