"""One window of how a slot behaves. May be lost; whatever must not be lost is an event."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.latency import LatencySketch
from wherry.protocol.profile import Confidence, Predictions
from wherry.protocol.types import Count, Message, Name, Seconds, Share, Struct, VersionRef

Throttle = Literal["under-voltage", "frequency-capped", "throttled", "temperature-limit"]


class SystemReading(Struct, frozen=True, kw_only=True):
    """The board and Wherry's own processes at the end of the window.

    `throttling` is what slows the board down now: empty where nothing does, None where the board does not show it.
    `frequency_share` is the processors' frequency now, of the highest that they can do.
    """

    cpu_share: Share
    load_1min: Annotated[float, msgspec.Meta(ge=0)]
    ram_available_bytes: Count
    disk_free_bytes: Count
    supervisor_rss_bytes: Count
    worker_rss_bytes: Count = 0
    temperature_c: float | None = None
    throttling: tuple[Throttle, ...] | None = None
    frequency_share: Share | None = None


class Telemetry(Message, frozen=True, kw_only=True, tag="telemetry"):
    """`labelled` of the inferences came with a label and `correct` of those were right.

    `predictions` counts the top class of each inference, at most 64 classes, by index; `confidence` how sure the
    model was of it, in ten bins from 0 to 1, empty where there are no scores. `worker_cpu_share` is of one processor,
    so that four busy threads make 4.
    `boot_id` and `window` order the windows; a repeated one is ignored.
    """

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    window: Count
    window_s: Seconds
    slot: Name
    ref: VersionRef
    phase: Literal["running", "probation"]
    inferences: Count
    errors: Count
    latency: LatencySketch
    labelled: Count = 0
    correct: Count = 0
    predictions: Predictions = {}
    confidence: Confidence = ()
    worker_cpu_share: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    system: SystemReading
