"""The plan of a rollout: what goes where, in which steps, on what evidence. Fixed at the start."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.types import Count, DeviceId, Name, Seconds, Share, Struct

OnBreach = Literal["revert", "revert-wave", "hold"]
"""`revert`: from all. `revert-wave`: from the open wave. `hold`: from nobody who has committed it."""

OnAbort = Literal["keep", "revert"]
LateJoiners = Literal["leave", "join"]
OnOverlap = Literal["refuse", "queue"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Above = Annotated[float, msgspec.Meta(gt=0)]

FailureClass = Literal["preflight", "download", "verify", "self-test", "switch", "probation", "silent"]
"""In which phase of the update the device failed, or that it said nothing."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Window(Struct, frozen=True, kw_only=True):
    """When versions may be sent: from `begin` until `end` in the time zone, which is after midnight where it is less.

    `days` are those on which it begins.
    """

    begin: Clock
    end: Clock
    zone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    days: tuple[Weekday, ...] = WEEKDAYS


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
    - A device that has not settled `device_deadline_s` after the version was sent to it has failed. A wave that
      is not through `wave_deadline_s` after it was opened, or after the first window from then on begins, is a breach,
      and so is a rollout after `deadline_s`. Where no other gate breaks and nobody is still trying the version, nothing
      speaks against it: the rollout is held then, whatever `on_breach` says.
    - Shares and ratios are judged by an interval of `confidence`: they are a breach where the whole interval is
      over the limit, and wait where only a part of it is and the figure itself is over it.
    - `max_error_share`, and `max_p95_ratio` (p95 of the version to p95 of what those same devices ran before, by
      class of hardware), are judged from `min_samples` inferences on; a p95 under `p95_floor_ms` is never a breach.
    - `max_crash_share` is of the devices on which the worker crashed, `max_lost_share` of those that lost their
      connection after the switch and stayed away for `lost_after_s`.
    - `max_memory_ratio` is of the worker's memory to that before, `max_prediction_psi` the population stability
      index of the answers against those before. `min_agreement` is the share of inputs to which the version must give
      the class that its predecessor gave on the same device, `min_accuracy` and `max_accuracy_drop` are of labelled
      inferences.
    - Versions are sent within one of the `windows` only, where there are any, and to `max_sends_per_minute`. They are
      taken back at any time.
    - A device that failed in one of the classes of `retries` is sent the version again, so many times,
      `retry_after_s` later.
    - Where live rollouts have a device of the target, it is refused, or queued until they have ended.
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
    device_deadline_s: Above = 3600.0
    wave_deadline_s: Above | None = 86_400.0
    deadline_s: Above | None = None
    on_breach: OnBreach = "revert"
    max_p95_ratio: Above | None = None
    p95_floor_ms: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    max_error_share: Share = 0.02
    max_crash_share: Share | None = 0.1
    max_memory_ratio: Above | None = None
    max_prediction_psi: Above | None = None
    min_agreement: Share | None = None
    min_accuracy: Share | None = None
    max_accuracy_drop: Share | None = None
    max_lost_share: Share | None = 0.2
    lost_after_s: Seconds = 120.0
    min_samples: Positive = 50
    confidence: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95
    windows: Annotated[tuple[Window, ...], msgspec.Meta(max_length=32)] = ()
    max_sends_per_minute: Positive | None = None
    retries: dict[FailureClass, Annotated[int, msgspec.Meta(ge=0, le=100)]] = {}
    retry_after_s: Seconds = 60.0
    late_joiners: LateJoiners = "leave"
    on_overlap: OnOverlap = "refuse"
