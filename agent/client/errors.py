"""What can come of asking for a prediction, by who must act.

ClientError
├── NotServed     nobody answered in time: is the agent running, does the slot hold a version?
├── Refused       the inputs are not what the model takes: the app must change
├── ModelFailed   the model gave no answer to these inputs; the version is at fault, and its gates see it
└── Lost          the worker ended twice while it had this request: it may be what ends it, so it is not sent again
"""


class ClientError(Exception):
    """Base of all that a client raises."""


class NotServed(ClientError):
    """Nobody answered in time."""


class Refused(ClientError):
    """The inputs do not fit."""


class ModelFailed(ClientError):
    """The model gave no answer."""


class Lost(ClientError):
    """Two workers ended over this request."""
