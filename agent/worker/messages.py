"""What supervisor and worker say to each other over the worker's control socket.

Each message is MessagePack behind a four-byte big-endian length. The supervisor speaks first with
`Load`; the worker answers every order with exactly one of the answers named there, and sends
`Window` unasked while it serves. End of file on the socket ends the worker.
"""

from typing import Annotated

import msgspec

from wherry.protocol.latency import LatencySketch
from wherry.protocol.manifest import TensorSpec, Tolerance
from wherry.protocol.runtime import Family
from wherry.protocol.types import Count, Reason, Seconds, Struct


class Feed(Struct, frozen=True, kw_only=True):
    """A directory of `.npz` files with `x`, or an array for each input by its name ([N, ...], stored or raw, see
    feed.py), and optionally `y` ([N], class indices), read in name order, again and again, at `rate_hz`."""

    directory: str
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10.0


class Order(Struct, frozen=True, kw_only=True, tag_field="type"):
    """From the supervisor."""


class Load(Order, frozen=True, kw_only=True, tag="load"):
    """Build an interpreter for the verified file and warm it up. Answer: Loaded or Refused."""

    family: Family
    artifact_path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    warm_up: Count = 3


class SelfTest(Order, frozen=True, kw_only=True, tag="self-test"):
    """Run the golden vectors and compare within the tolerance. Answer: SelfTested or Refused."""

    golden_path: str
    tolerance: Tolerance


class Serve(Order, frozen=True, kw_only=True, tag="serve"):
    """Serve until told to stop, saying a Window every `window_s`. Answer: Serving."""

    feed: Feed | None = None
    window_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0


class Stop(Order, frozen=True, kw_only=True, tag="stop"):
    """Finish what is being answered, say the last Window, then Stopped, and exit with status 0."""


class Answer(Struct, frozen=True, kw_only=True, tag_field="type"):
    """From the worker."""


class Loaded(Answer, frozen=True, kw_only=True, tag="loaded"):
    runtime_version: str


class SelfTested(Answer, frozen=True, kw_only=True, tag="self-tested"):
    """`reason` says in words what was compared, what it took and, where not `ok`, what was out of tolerance."""

    ok: bool
    reason: Reason


class Serving(Answer, frozen=True, kw_only=True, tag="serving"):
    pass


class Window(Answer, frozen=True, kw_only=True, tag="window"):
    """What happened since the window before; see Telemetry for the fields.

    `errors` are inferences that failed. `bad_files` of the feed could not be used, which is no fault of the
    model; `remark` is the last thing to know about the feed.
    """

    window_s: Seconds
    inferences: Count
    errors: Count
    last_error: Reason = ""
    bad_files: Count = 0
    remark: Reason = ""
    latency: LatencySketch
    labelled: Count = 0
    correct: Count = 0
    predictions: Annotated[dict[int, Count], msgspec.Meta(max_length=64)] = {}
    rss_bytes: Count


class Stopped(Answer, frozen=True, kw_only=True, tag="stopped"):
    pass


class Refused(Answer, frozen=True, kw_only=True, tag="refused"):
    """The order before this could not be carried out; the worker exits with status 1."""

    reason: Reason


AnyOrder = Load | SelfTest | Serve | Stop
AnyAnswer = Loaded | SelfTested | Serving | Window | Stopped | Refused
