"""Who is meant, in which order, and in which wave.

Rules upheld here:
- A target names devices, or labels that must all match and a query that must hold, or everybody. Being offline
  excludes nobody.
- Devices online at planning come first, so that a canary can speak; after that the order is that of a
  hash of the rollout and the device, so that the risk of going first moves round the fleet. Named
  devices keep the order in which they were named: that is how an operator chooses the canary.
- Steps are cumulative: `1,50%,100%` of ten devices are waves of 1, 4 and 5. A percentage is rounded up.
  A step that adds nobody makes no wave. The last step must reach everybody.
- Devices that can run no variant are set apart before the waves are cut, so that no wave is emptied by
  them. Devices whose capability is not known yet stay in.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from wherry.controller.core.candidate import Candidate
from wherry.controller.core.compatibility import Misfit, choose
from wherry.controller.core.plan import RolloutPlan, Target, WaveStep
from wherry.controller.core.query import holds, parse_query
from wherry.controller.errors import Invalid
from wherry.protocol.manifest import Variant
from wherry.protocol.types import Struct, is_device_id


class Waves(Struct, frozen=True, kw_only=True):
    """Devices by wave, and those set apart with the reason."""

    waves: tuple[tuple[str, ...], ...]
    apart: dict[str, str]


_QUERY = re.compile(r'[<>!()"@]|(^|\s)(and|or|not|in)(\s|$)')
"""What is in queries and not in lists of devices and labels."""


def parse_target(text: str) -> Target:
    """`all`, `pi-1,pi-2`, `site=lab,kind=pi`, `@group`, or a query (`core.query`). Raises Invalid."""
    if _QUERY.search(text.strip()):
        parse_query(text.strip())
        return Target(query=text.strip())
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts == ["all"]:
        return Target()
    if parts and all("=" in part for part in parts):
        labels = dict(part.split("=", 1) for part in parts)
        if all(labels):
            return Target(labels=labels)
    elif parts and all(is_device_id(part) for part in parts):
        return Target(devices=tuple(dict.fromkeys(parts)))
    raise Invalid(
        f"not a target: {text!r}",
        "give all, device ids (pi-1,pi-2), labels (site=lab,kind=pi), a group (@berlin-lab) or a query "
        "(site=lab and ram_mb>=2000)",
    )


def parse_waves(text: str) -> tuple[WaveStep, ...]:
    """`1,50%,100%`. Raises Invalid."""
    steps = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,9})(%?)", part.strip())
        if found is None or int(found[1]) == 0 or (found[2] and int(found[1]) > 100):
            raise Invalid(f"not a wave: {part.strip()!r}", "give counts or percentages, such as 1,50%,100%")
        steps.append(WaveStep(amount=int(found[1]), percent=bool(found[2])))
    return tuple(steps)


def matches(target: Target, candidate: Candidate) -> bool:
    """Raises Invalid where its query cannot be read."""
    if target.devices:
        return candidate.device in target.devices
    labels = candidate.birth.labels if candidate.birth is not None else {}
    if any(labels.get(key) != value for key, value in target.labels.items()):
        return False
    return not target.query or holds(parse_query(target.query), candidate)


def cut(plan: RolloutPlan, variants: Sequence[Variant], candidates: Iterable[Candidate], seed: str) -> Waves:
    """Order the targets and cut them into waves. Raises Invalid where the steps do not reach everybody."""
    apart: dict[str, str] = {}
    able: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda entry: entry.device):
        fit = choose(variants, candidate.birth, plan.slot) if candidate.birth is not None else None
        if isinstance(fit, Misfit):
            apart[candidate.device] = fit.reason
        else:
            able.append(candidate)
    ordered = [candidate.device for candidate in sorted(able, key=lambda entry: _rank(plan.target, entry, seed))]
    return Waves(waves=_slices(ordered, plan.waves), apart=apart)


def _rank(target: Target, candidate: Candidate, seed: str) -> tuple[int, bool, str]:
    if target.devices:
        return (target.devices.index(candidate.device), False, "")
    digest = hashlib.sha256(f"{seed}/{candidate.device}".encode()).hexdigest()
    return (0, not candidate.online, digest)


def _slices(devices: Sequence[str], steps: Iterable[WaveStep]) -> tuple[tuple[str, ...], ...]:
    waves = []
    reached = 0
    for step in steps:
        amount = -(-step.amount * len(devices) // 100) if step.percent else step.amount
        end = min(amount, len(devices))
        if end > reached:
            waves.append(tuple(devices[reached:end]))
            reached = end
    if reached < len(devices):
        raise Invalid(f"the waves end at {reached} of {len(devices)} devices", "end them with 100%")
    return tuple(waves)
