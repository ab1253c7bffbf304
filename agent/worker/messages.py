"""What supervisor and worker say to each other over the worker's control socket.

Each message is MessagePack behind a four-byte big-endian length. The supervisor speaks first with
`Load`; the worker answers every order with exactly one of the answers named there, and sends
`Window` unasked while it serves. End of file on the socket ends the worker.

With an order may come open files (SCM_RIGHTS), whose number it says in `files`: what a worker may read and
where it may listen is given to it, and it looks for nothing itself.
"""

from typing import Annotated, Literal

import msgspec

from wherry.protocol.latency import LatencySketch
from wherry.protocol.manifest import TensorSpec, Tolerance
from wherry.protocol.profile import Confidence, Predictions
from wherry.protocol.runtime import Family
from wherry.protocol.types import ComparedCount, Count, Name, Reason, Seconds, Struct

Listener = Literal["http", "fast"]
"""What is spoken on a listening socket: the Open Inference Protocol, or the frames of `wherry.agent.client`."""


class Identity(Struct, frozen=True, kw_only=True):
    """What the data plane says that it serves. `labels` are the names of the classes, by index; may be empty."""

    slot: Name = "main"
    model: str = ""
    version: Count = 0
    variant: str = ""
    labels: tuple[str, ...] = ()


class Sandbox(Struct, frozen=True, kw_only=True):
    """What a worker may have. `memory_bytes` is of address space; it and `cpu_s` are 0 for no limit.

    `processes` are threads, besides those that the worker's user has already, and with all that it gets later.
    `cpu_s` is of processor time until the worker serves. `uid`, `gid` and the other `groups` only from root.
    """

    memory_bytes: Count = 0
    cpu_s: Count = 0
    open_files: Count = 256
    processes: Count = 64
    uid: Count | None = None
    gid: Count | None = None
    groups: tuple[Count, ...] = ()
    seccomp: bool = True


class Order(Struct, frozen=True, kw_only=True, tag_field="type"):
    """From the supervisor. `files` is how many open files come with it."""

    files: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0


class Load(Order, frozen=True, kw_only=True, tag="load"):
    """Build an interpreter for the open file, whose bytes were verified, and warm it up. Answer: Loaded or Refused."""

    files: Annotated[int, msgspec.Meta(ge=0, le=8)] = 1
    family: Family
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    warm_up: Count = 3
    identity: Identity = Identity()
    sandbox: Sandbox | None = None


class SelfTest(Order, frozen=True, kw_only=True, tag="self-test"):
    """Run the golden vectors of the open file, compare within the tolerance. Answer: SelfTested or Refused.

    With `samples`, a second open file has inputs that the incumbent answered (`samples.py`): count how often the
    answer is the same.
    """

    files: Annotated[int, msgspec.Meta(ge=0, le=8)] = 1
    tolerance: Tolerance
    samples: bool = False


class Serve(Order, frozen=True, kw_only=True, tag="serve"):
    """Serve until told to stop, saying a Window every `window_s`. Answer: Serving, once the sockets are listened on.

    The open files are listening sockets; `listeners` says what is spoken on each. With `samples` the last of them is
    a file of memory in which the newest inputs are kept, for a successor to be compared on.
    """

    window_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    listeners: Annotated[tuple[Listener, ...], msgspec.Meta(max_length=8)] = ()
    max_request_bytes: Count = 16 * 1024 * 1024
    samples: bool = False


class Stop(Order, frozen=True, kw_only=True, tag="stop"):
    """Accept no more, answer what has been asked, say the last Window, then Stopped, and exit with status 0.

    Connections on which nothing is asked are given `drain_s` to be used once more, and are then closed.
    """

    drain_s: Seconds = 0.0


class Answer(Struct, frozen=True, kw_only=True, tag_field="type"):
    """From the worker."""


class Loaded(Answer, frozen=True, kw_only=True, tag="loaded"):
    runtime_version: str


class SelfTested(Answer, frozen=True, kw_only=True, tag="self-tested"):
    """`reason` says in words what was compared, what it took and, where not `ok`, what was out of tolerance.

    `agreed` of the `compared` samples got the same class as from the incumbent.
    """

    ok: bool
    reason: Reason
    compared: ComparedCount = 0
    agreed: ComparedCount = 0


class Serving(Answer, frozen=True, kw_only=True, tag="serving"):
    pass


class Window(Answer, frozen=True, kw_only=True, tag="window"):
    """What happened since the window before; see Telemetry for the fields.

    `errors` are inferences that failed. `cpu_s` is what all threads of the worker used.
    """

    window_s: Seconds
    inferences: Count
    errors: Count
    last_error: Reason = ""
    latency: LatencySketch
    labelled: Count = 0
    correct: Count = 0
    predictions: Predictions = {}
    confidence: Confidence = ()
    rss_bytes: Count
    cpu_s: Seconds = 0.0


class Stopped(Answer, frozen=True, kw_only=True, tag="stopped"):
    pass


class Refused(Answer, frozen=True, kw_only=True, tag="refused"):
    """The order before this could not be carried out; the worker exits with status 1."""

    reason: Reason


AnyOrder = Load | SelfTest | Serve | Stop
AnyAnswer = Loaded | SelfTested | Serving | Window | Stopped | Refused
