"""What supervisor and feeder say to each other: lines of JSON over a socket that the feeder inherits.

The supervisor says one `Job`; from then on the feeder says a `Pulse` every `PULSE_S`. End of file ends the feeder.
"""

from typing import Annotated

import msgspec

from wherry.agent.config import FeedConfig, ResultsConfig
from wherry.protocol.types import Count, Name, Reason, Struct

PULSE_S = 1.0

MAX_LINE_BYTES = 64 * 1024
"""Of a job or a pulse; longer ones are none of ours."""

MAX_REMARKS = 8
"""Different ones in one pulse; what else there is comes with the next."""


class Job(Struct, frozen=True, kw_only=True):
    """What a feeder is for. `sockets` is the directory of the data plane."""

    slot: Name
    sockets: str
    feed: FeedConfig
    results: ResultsConfig = ResultsConfig()


class Pulse(Struct, frozen=True, kw_only=True):
    """What happened since the pulse before.

    `passed_over` are samples, files or messages that could not be used, which is no fault of the model; `dropped` are
    messages that came faster than they were answered, and results that nobody took in time. `remarks` are for a person
    to know, and come again with every pulse while they hold.
    """

    answered: Count = 0
    failed: Count = 0
    passed_over: Count = 0
    dropped: Count = 0
    remarks: Annotated[tuple[Reason, ...], msgspec.Meta(max_length=MAX_REMARKS)] = ()
