"""What ends a worker, or an order to it.

WorkerError
├── ChannelError
│   ├── ChannelClosed   the other side is gone: the ordinary end
│   └── ChannelBroken   the other side sent what is not a message: it is not to be trusted any more
└── OrderRefused        the model, its golden vectors or the order cannot be used; the reason says why
"""


class WorkerError(Exception):
    """The root of all errors of the worker."""


class ChannelError(WorkerError):
    """The control channel cannot be used any further."""


class ChannelClosed(ChannelError):
    """End of file on the control channel."""


class ChannelBroken(ChannelError):
    """The bytes on the control channel are not messages of ours."""


class OrderRefused(WorkerError):
    """An order that this worker cannot carry out, through no fault of its own."""
