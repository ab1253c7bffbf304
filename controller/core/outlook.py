"""A planned rollout for a program: the same that `core.explain` says in words."""

from collections.abc import Iterable, Sequence

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.compatibility import Fit, choose
from wherry.controller.core.explain import earliest
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.targeting import Waves
from wherry.protocol.manifest import Variant
from wherry.protocol.types import Struct


class PlannedDevice(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`variant` is what it would be sent; where that cannot be known yet it is None, and `reason` says why."""

    device: str
    variant: str | None
    reason: str
    online: bool


class PlannedWave(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`not_before` is in words, and empty where nothing has to be waited for."""

    wave: int
    not_before: str
    devices: tuple[PlannedDevice, ...]


class Outlook(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`text` is for a person. `apart` are the devices that are sent nothing, each with the reason.

    `waits_for` is the rollout after which this one would begin.
    """

    text: str
    plan: RolloutPlan
    waves: tuple[PlannedWave, ...]
    apart: dict[str, str]
    waits_for: int | None


def planned_waves(
    plan: RolloutPlan,
    variants: Sequence[Variant],
    candidates: Iterable[Candidate],
    waves: Waves,
    *,
    now_s: float | None,
) -> tuple[PlannedWave, ...]:
    """Every device of every wave, in the order of sending."""
    known = {candidate.device: candidate for candidate in candidates}
    starts = earliest(plan, [len(wave) for wave in waves.waves], now_s)
    return tuple(
        PlannedWave(
            wave=number,
            not_before=start.removeprefix("not before "),
            devices=tuple(_planned(plan, variants, known[device]) for device in wave),
        )
        for number, (wave, start) in enumerate(zip(waves.waves, starts, strict=True), start=1)
    )


def _planned(plan: RolloutPlan, variants: Sequence[Variant], candidate: Candidate) -> PlannedDevice:
    variant, reason = None, "has not said what it can run"
    if candidate.birth is not None:
        fit = choose(variants, candidate.birth, plan.slot)
        variant, reason = (fit.variant, "") if isinstance(fit, Fit) else (None, fit.reason)
    return PlannedDevice(device=candidate.device, variant=variant, reason=reason, online=candidate.online)
