"""The plan of a rollout: what goes where, in which steps, on what evidence. Fixed at the start."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Count, DeviceId, Name, Seconds, Share, Struct

OnBreach = Literal["revert", "hold"]
OnAbort = Literal["keep", "revert"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Target(Struct, frozen=True, kw_only=True):
    """Which devices: those named, else those with all the labels for which the query holds, else every device."""

    devices: tuple[DeviceId, ...] = ()
    labels: dict[str, str] = {}
    query: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class WaveStep(Struct, frozen=True, kw_only=True):
    """How many devices have been reached once the wave is through: a count, or a percentage."""

    amount: Positive
    percent: bool = False


FULL_FLEET = (WaveStep(amount=100, percent=True),)
CAREFUL_WAVES = (WaveStep(amount=1), WaveStep(amount=50, percent=True), WaveStep(amount=100, percent=True))


class RolloutPlan(Struct, frozen=True, kw_only=True):
    """What must hold in every wave before the next one is opened.

    - `min_devices` must have committed, or all that can run it where the wave is smaller.
    - `min_inferences` must have been answered by the version, over the devices of the wave.
    - `soak_s` must pass after the last device of the wave has settled.
    - More failed devices, in the whole rollout, than both `max_failures` and `max_failure_share` of those
      reached are a breach: with five canaries one failure is 20 %, so a count is needed too.
    - A device that has not settled `device_deadline_s` after the version was sent to it has failed.
    - `max_error_share` and `max_p95_ratio` (p95 of the version to p95 of what those same devices ran
      before) are a breach when exceeded over at least `min_samples` inferences; a p95 under
      `p95_floor_ms` never is.
    """

    model: Name
    version: Positive
    slot: Name = "main"
    target: Target = Target()
    waves: Annotated[tuple[WaveStep, ...], msgspec.Meta(min_length=1, max_length=32)] = CAREFUL_WAVES
    soak_s: Seconds = 60.0
    min_devices: Positive = 1
    min_inferences: Count = 200
    max_failures: Count = 0
    max_failure_share: Share = 0.0
    device_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    on_breach: OnBreach = "revert"
    max_p95_ratio: Annotated[float, msgspec.Meta(gt=0)] | None = None
    p95_floor_ms: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    max_error_share: Share = 0.02
    min_samples: Positive = 50
