"""What can be wrong with something that arrived.

ProtocolError
├── TopicError        the topic is not one of ours
└── MessageError      the payload is not a valid message
    ├── TooLarge      more bytes than the limit of its kind
    └── Malformed     not JSON, or not of the message's shape
"""


class ProtocolError(Exception):
    """The peer sent something that the contract does not allow; the sender must change."""


class TopicError(ProtocolError):
    """A topic outside of the tree `wherry/v1/{fleet}`."""


class MessageError(ProtocolError):
    """A payload that cannot be decoded."""


class TooLarge(MessageError):
    """The payload exceeds the limit of its kind."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{kind} of {size_bytes} bytes exceeds the limit of {limit_bytes}")
        self.kind = kind
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class Malformed(MessageError):
    """The payload is not of the expected shape."""
