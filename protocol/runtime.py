"""Runtime families, their versions, and how versions compare."""

import re
from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Struct

Family = Literal["tflite-runtime", "litert"]
"""Kernels differ between families: results are equal within a tolerance, never bit for bit."""

RuntimeVersion = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+){0,3}", max_length=40)]


class Runtime(Struct, frozen=True, kw_only=True):
    family: Family
    version: RuntimeVersion

    def __str__(self) -> str:
        return f"{self.family} {self.version}"


class RuntimeFloor(Struct, frozen=True, kw_only=True):
    """The lowest version of a family that runs an artifact rightly."""

    family: Family
    lowest: RuntimeVersion


def version_key(version: str) -> tuple[int, ...]:
    """The leading numbers of `2.14.0` as (2, 14, 0); what follows them is not compared."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    if found is None:
        raise ValueError(f"not a version: {version!r}")
    numbers = [int(part) for part in found.group().split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def satisfies(runtime: Runtime, floors: tuple[RuntimeFloor, ...]) -> bool:
    """Whether `runtime` is of a family in `floors`, at its lowest version or above."""
    return any(
        floor.family == runtime.family and version_key(runtime.version) >= version_key(floor.lowest) for floor in floors
    )
