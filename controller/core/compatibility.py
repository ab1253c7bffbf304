"""Which variant of a version a device can run, by what it probed at start; never by a label.

The order of the variants in the manifest is the preference: the first that fits is taken.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from wherry.protocol.manifest import Variant
from wherry.protocol.runtime import Runtime, RuntimeFloor, satisfies
from wherry.protocol.types import Struct
from wherry.protocol.up import Birth

PROTOCOL_VERSION = 1


class Fit(Struct, frozen=True, kw_only=True):
    """`variant` is the name of the one to send."""

    variant: str


class Misfit(Struct, frozen=True, kw_only=True):
    """Why no variant can be sent, in words for the operator."""

    reason: str


def choose(variants: Sequence[Variant], birth: Birth, slot: str) -> Fit | Misfit:
    """The first variant that the device can run in `slot`, or why there is none."""
    if PROTOCOL_VERSION not in birth.protocol_versions:
        return Misfit(reason=f"the device does not speak protocol version {PROTOCOL_VERSION}")
    if slot not in birth.slots:
        return Misfit(reason=f"the device has no slot {slot!r}, only {', '.join(birth.slots) or 'none'}")
    reasons: dict[str, str] = {}
    for variant in variants:
        objection = _objection(variant, birth)
        if objection is None:
            return Fit(variant=variant.name)
        reasons[variant.name] = objection
    if len(reasons) == 1:
        return Misfit(reason=next(iter(reasons.values())))
    return Misfit(reason="; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


def _objection(variant: Variant, birth: Birth) -> str | None:
    if not _runs_on(variant.runtimes, birth.runtimes):
        return _runtime_objection(variant, birth)
    disk_bytes = variant.artifact.size_bytes + variant.golden.size_bytes
    if disk_bytes > birth.disk_free_bytes:
        return f"needs {disk_bytes} bytes of disk; the device had {birth.disk_free_bytes} free"
    ram_bytes = variant.artifact.size_bytes + variant.arena_bytes
    if ram_bytes > birth.ram_bytes:
        return f"needs {ram_bytes} bytes of memory; the device has {birth.ram_bytes}"
    return None


@lru_cache(1024)  # a fleet has few sets of runtimes, and all of it is asked about at once
def _runs_on(floors: tuple[RuntimeFloor, ...], runtimes: tuple[Runtime, ...]) -> bool:
    return any(satisfies(runtime, floors) for runtime in runtimes)


def _runtime_objection(variant: Variant, birth: Birth) -> str:
    needs = _or(f"{floor.family} >= {floor.lowest}" for floor in variant.runtimes)
    has = ", ".join(str(runtime) for runtime in birth.runtimes) or "no runtime that works"
    newest = max(variant.operators, key=lambda operator: operator.version, default=None)
    cause = f" ({newest.name} version {newest.version})" if newest is not None and newest.version > 1 else ""
    return f"needs {needs}; the device has {has}{cause}"


def _or(parts: Iterable[str]) -> str:
    return " or ".join(parts) or "a runtime that no device has"
