"""Whether a version can run here at all, before anything large is fetched."""

import msgspec

from wherry.protocol.manifest import Manifest, Variant
from wherry.protocol.runtime import Runtime, satisfies

MIB = 1024 * 1024
RAM_FACTOR = 2
"""The file is mapped, and its weights may be unpacked once more for the kernels."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What the device has now. `to_fetch_bytes` is what is not on disk yet."""

    runtimes: tuple[Runtime, ...]
    disk_free_bytes: int
    disk_reserve_bytes: int
    ram_available_bytes: int
    ram_reserve_bytes: int
    max_artifact_bytes: int
    to_fetch_bytes: int


def choose_runtime(variant: Variant, runtimes: tuple[Runtime, ...]) -> Runtime | None:
    """The first of `runtimes` that the variant admits and has golden outputs for."""
    return next(
        (entry for entry in runtimes if satisfies(entry, variant.runtimes) and variant.tolerance(entry.family)), None
    )


def find_variant(manifest: Manifest, name: str, artifact: str) -> Variant | str:
    """The variant that was assigned; in words, where the manifest does not have it as such."""
    variant = manifest.variant(name)
    if variant is None:
        return f"the manifest has no variant {name}"
    if variant.artifact.digest != artifact:
        return f"the manifest names another artifact for variant {name} than the assignment"
    return variant


def check(variant: Variant, board: Board) -> str | None:
    """Why the variant cannot run here; None where it can be tried."""
    return _runtime(variant, board) or _size(variant, board) or _disk(board) or _ram(variant, board)


def _runtime(variant: Variant, board: Board) -> str | None:
    if choose_runtime(variant, board.runtimes) is not None:
        return None
    have = ", ".join(str(entry) for entry in board.runtimes) or "no runtime"
    need = " or ".join(f"{entry.family} {entry.lowest}" for entry in variant.runtimes)
    return f"needs {need}, this device has {have}"


def _size(variant: Variant, board: Board) -> str | None:
    size = variant.artifact.size_bytes
    if size <= board.max_artifact_bytes:
        return None
    return f"the artifact has {_mib(size)}, limit {_mib(board.max_artifact_bytes)}"


def _disk(board: Board) -> str | None:
    spare = board.disk_free_bytes - board.disk_reserve_bytes
    if board.to_fetch_bytes == 0 or board.to_fetch_bytes <= spare:
        return None
    return f"needs {_mib(board.to_fetch_bytes)} of disk, {_mib(max(0, spare))} can be spared"


def _ram(variant: Variant, board: Board) -> str | None:
    need = variant.artifact.size_bytes * RAM_FACTOR + variant.arena_bytes
    spare = board.ram_available_bytes - board.ram_reserve_bytes
    if need <= spare:
        return None
    return f"needs {_mib(need)} of memory, {_mib(max(0, spare))} can be spared"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"
