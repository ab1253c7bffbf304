"""Messages to bytes and back: JSON, one tagged union per direction, a size limit per kind."""

from typing import Any

import msgspec

from wherry.protocol import limits
from wherry.protocol.down import DownMessage
from wherry.protocol.errors import Malformed, TooLarge
from wherry.protocol.types import Message
from wherry.protocol.up import UpMessage

LIMIT_BYTES: dict[str, int] = {
    "status": limits.MAX_STATUS_BYTES,
    "birth": limits.MAX_BIRTH_BYTES,
    "reported": limits.MAX_REPORTED_BYTES,
    "event": limits.MAX_EVENT_BYTES,
    "telemetry": limits.MAX_TELEMETRY_BYTES,
    "log": limits.MAX_LOG_BYTES,
    "upload": limits.MAX_UPLOAD_MESSAGE_BYTES,
    "desired": limits.MAX_DESIRED_BYTES,
    "action": limits.MAX_ACTION_BYTES,
    "receipt": limits.MAX_RECEIPT_BYTES,
}
"""By kind, which is both the last level of the topic and the tag of the message."""

_encoder = msgspec.json.Encoder()
_up: msgspec.json.Decoder[UpMessage] = msgspec.json.Decoder(UpMessage)
_down: msgspec.json.Decoder[DownMessage] = msgspec.json.Decoder(DownMessage)


def kind_of(message: Message) -> str:
    """The tag of a message, equal to the last level of its topic."""
    return str(message.__struct_config__.tag)


def encode(message: Message) -> bytes:
    """Raises TooLarge where the message would be refused by its receiver."""
    data = _encoder.encode(message)
    kind = kind_of(message)
    if len(data) > LIMIT_BYTES[kind]:
        raise TooLarge(kind, len(data), LIMIT_BYTES[kind])
    return data


def decode_up(kind: str, data: bytes) -> UpMessage:
    """Decode what a device sent on its topic `kind`. Raises TooLarge or Malformed."""
    message: UpMessage = _decode(_up, kind, data)
    return message


def decode_down(kind: str, data: bytes) -> DownMessage:
    """Decode what the controller sent on the topic `kind`. Raises TooLarge or Malformed."""
    message: DownMessage = _decode(_down, kind, data)
    return message


def _decode(decoder: msgspec.json.Decoder[Any], kind: str, data: bytes) -> Any:
    if len(data) > LIMIT_BYTES[kind]:
        raise TooLarge(kind, len(data), LIMIT_BYTES[kind])
    try:
        message = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a {kind}: {error}") from error
    if kind_of(message) != kind:
        raise Malformed(f"a {kind_of(message)} on the topic of a {kind}")
    return message
