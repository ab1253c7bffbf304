"""A planned rollout as text for a person: who, when, on what evidence, and what happens otherwise."""

from collections.abc import Iterable, Mapping, Sequence

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.compatibility import Fit, choose
from wherry.controller.core.plan import WEEKDAYS, RolloutPlan, Target
from wherry.controller.core.targeting import Waves
from wherry.controller.core.windows import is_open, next_opening
from wherry.protocol.manifest import Variant


def explain(
    plan: RolloutPlan,
    variants: Sequence[Variant],
    candidates: Iterable[Candidate],
    waves: Waves,
    *,
    now_s: float | None = None,
    max_lines: int | None = None,
) -> str:
    """Lines that end with a newline; the same plan over the same fleet at the same time reads the same.

    Of each wave, and of those set apart, `max_lines` devices are named. Without `now_s` windows are only named.
    """
    known = {candidate.device: candidate for candidate in candidates}
    total = sum(len(wave) for wave in waves.waves)
    lines = [f"{plan.model}:{plan.version} to slot {plan.slot} of {describe(plan.target)}: {_devices(total)}"]
    starts = earliest(plan, [len(wave) for wave in waves.waves], now_s)
    for number, (wave, start) in enumerate(zip(waves.waves, starts, strict=True), start=1):
        when = f", {start}" if start else ""
        lines.append(f"wave {number} of {len(waves.waves)}: {_devices(len(wave))}{when}")
        lines += _first(
            [f"  {device}  {_fit(plan, variants, known[device])}" for device in wave[:max_lines]], len(wave)
        )
    lines += ["promote when:", *(f"  {line}" for line in _evidence(plan))]
    lines += [f"{plan.on_breach} when:", *(f"  {line}" for line in _breaches(plan))]
    sending = sending_of(plan)
    lines += ["sent:", *(f"  {line}" for line in sending)] if sending else []
    return "\n".join(lines + _apart(waves.apart, max_lines)) + "\n"


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
    return [
        f"over {plan.max_failures}{share} of the devices failed; {plan.device_deadline_s:g} s of silence is failure",
        f"more than {plan.max_error_share:.1%} of {plan.min_samples} or more requests failed",
        *(words.format(limit) for limit, words in _limits(plan) if limit is not None),
    ]


def _limits(plan: RolloutPlan) -> list[tuple[float | None, str]]:
    """Limits that can be off, each with its words."""
    return [
        (plan.max_p95_ratio, f"p95 is over {plan.p95_floor_ms:g} ms and over {{:g}} times that before"),
        (plan.max_crash_share, "the worker crashed on more than {:.1%} of the devices"),
        (plan.max_memory_ratio, "the worker needs over {:g} times the memory of that before"),
        (plan.max_prediction_psi, "answers have drifted from those before by a stability index over {:g}"),
        (plan.min_agreement, "fewer than {:.1%} of the inputs were answered as by that before"),
        (plan.min_accuracy, "less than {:.1%} of labelled inferences were right"),
        (plan.max_accuracy_drop, "the accuracy is lower than that before by more than {:g}"),
        (plan.max_lost_share, f"more than {{:.1%}} lost their connection after the switch for {plan.lost_after_s:g} s"),
        (plan.wave_deadline_s, "a wave is not through {:g} s after it was opened"),
        (plan.deadline_s, "the rollout has not ended after {:g} s"),
    ]


def sending_of(plan: RolloutPlan) -> list[str]:
    """How the plan sends, where that is not at once and once."""
    lines = [
        f"from {entry.begin} to {entry.end} {entry.zone}"
        + ("" if len(entry.days) == len(WEEKDAYS) else f" on {', '.join(entry.days)}")
        for entry in plan.windows
    ]
    if plan.max_sends_per_minute is not None:
        lines.append(f"to {plan.max_sends_per_minute} devices a minute at most")
    for phase, times in sorted(plan.retries.items()):
        lines.append(f"{times} more times to a device that failed in {phase}, {plan.retry_after_s:g} s later")
    if plan.late_joiners == "join":
        lines.append("also to devices that join the target later")
    return lines


def earliest(plan: RolloutPlan, sizes: Sequence[int], now_s: float | None) -> list[str]:
    """Before when each wave cannot be opened, where that can be said: rate, soak and windows, and no failures."""
    words, after_s = [], 0.0
    for size in sizes:
        opening = None
        if now_s is not None and not is_open(plan.windows, now_s + after_s):
            opening = next_opening(plan.windows, now_s + after_s)
            after_s = opening[0] - now_s if opening is not None else after_s
        if opening is not None:
            words.append(f"not before {opening[1]}")
        else:
            words.append(f"not before {after_s:.0f} s from now" if after_s else "")
        sending_s = 0 if plan.max_sends_per_minute is None else (-(-size // plan.max_sends_per_minute) - 1) * 60
        after_s += sending_s + plan.soak_s
    return words


def _apart(apart: Mapping[str, str], max_lines: int | None) -> list[str]:
    if not apart:
        return []
    lines = [f"  {device}  {reason}" for device, reason in apart.items()][:max_lines]
    return [f"not sent to {_devices(len(apart))}:", *_first(lines, len(apart))]


def _first(lines: list[str], count: int) -> list[str]:
    return lines if len(lines) == count else [*lines, f"  and {count - len(lines)} more"]


def _devices(count: int) -> str:
    return f"{count} device" if count == 1 else f"{count} devices"
