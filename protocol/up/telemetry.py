"""One window of how a slot behaves. May be lost; whatever must not be lost is an event."""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.latency import LatencySketch
from wherry.protocol.types import Count, Message, Name, Seconds, Share, Struct, VersionRef


class SystemReading(Struct, frozen=True, kw_only=True):
    """The board and Wherry's own processes at the end of the window."""

    cpu_share: Share
    load_1min: Annotated[float, msgspec.Meta(ge=0)]
    ram_available_bytes: Count
    disk_free_bytes: Count
    supervisor_rss_bytes: Count
    worker_rss_bytes: Count = 0
    temperature_c: float | None = None


class Telemetry(Message, frozen=True, kw_only=True, tag="telemetry"):
    """`labelled` of the inferences came with a label and `correct` of those were right.

    `predictions` counts the top class of each inference, at most 64 classes, by index.
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
    predictions: Annotated[dict[int, Count], msgspec.Meta(max_length=64)] = {}
    system: SystemReading
