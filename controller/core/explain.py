"""A planned rollout as text for a person: who, when, on what evidence, and what happens otherwise."""

from collections.abc import Iterable, Mapping, Sequence

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.compatibility import Fit, choose
from wherry.controller.core.plan import RolloutPlan, Target
from wherry.controller.core.targeting import Waves
from wherry.protocol.manifest import Variant


def explain(plan: RolloutPlan, variants: Sequence[Variant], candidates: Iterable[Candidate], waves: Waves) -> str:
    """Lines that end with a newline; the same plan over the same fleet reads the same."""
    known = {candidate.device: candidate for candidate in candidates}
    total = sum(len(wave) for wave in waves.waves)
    lines = [f"{plan.model}:{plan.version} to slot {plan.slot} of {describe(plan.target)}: {_devices(total)}"]
    for number, wave in enumerate(waves.waves, start=1):
        lines.append(f"wave {number} of {len(waves.waves)}: {_devices(len(wave))}")
        lines += [f"  {device}  {_fit(plan, variants, known[device])}" for device in wave]
    lines += ["promote when:", *(f"  {line}" for line in _evidence(plan))]
    lines += [f"{plan.on_breach} when:", *(f"  {line}" for line in _breaches(plan))]
    return "\n".join(lines + _apart(waves.apart)) + "\n"


def describe(target: Target) -> str:
    """The target in the form that `parse_target` reads."""
    if target.devices:
        return ",".join(target.devices)
    labels = ",".join(f"{key}={value}" for key, value in target.labels.items())
    return " and ".join(part for part in (labels, target.query) if part) or "all"


def _fit(plan: RolloutPlan, variants: Sequence[Variant], candidate: Candidate) -> str:
    if candidate.birth is None:
        return "has not said what it can run"
    fit = choose(variants, candidate.birth, plan.slot)
    runtimes = ", ".join(str(runtime) for runtime in candidate.birth.runtimes)
    name = fit.variant if isinstance(fit, Fit) else "nothing"
    return f"{name} on {runtimes}{'' if candidate.online else ', not connected'}"


def _evidence(plan: RolloutPlan) -> list[str]:
    return [
        "every device of the wave that can run it has settled",
        f"at least {plan.min_devices} committed",
        f"at least {plan.min_inferences} inferences were answered",
        f"{plan.soak_s:g} s have passed since",
    ]


def _breaches(plan: RolloutPlan) -> list[str]:
    share = f" and over {plan.max_failure_share:.0%}" if plan.max_failure_share else ""
    lines = [
        f"over {plan.max_failures}{share} of the devices failed; {plan.device_deadline_s:g} s of silence is failure",
        f"more than {plan.max_error_share:.1%} of {plan.min_samples} or more requests failed",
    ]
    if plan.max_p95_ratio is not None:
        lines.append(f"p95 is over {plan.p95_floor_ms:g} ms and over {plan.max_p95_ratio:g} times that before")
    return lines


def _apart(apart: Mapping[str, str]) -> list[str]:
    return ["cannot run it:", *(f"  {device}  {reason}" for device, reason in apart.items())] if apart else []


def _devices(count: int) -> str:
    return f"{count} device" if count == 1 else f"{count} devices"
