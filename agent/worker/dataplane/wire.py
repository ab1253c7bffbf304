"""Answers as bytes of HTTP."""

from http import HTTPStatus

from wherry.agent.worker.dataplane.service import Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_JSON = b"Content-Type: application/json\r\nContent-Length: %d\r\n"
_BINARY = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n"


def encode_reply(reply: Reply, *, close: bool) -> bytes:
    """The whole of an answer; with `close` it says that it is the connection's last."""
    size = len(reply.body)
    form = _JSON % size if reply.json_length is None else _BINARY % (reply.json_length, size)
    allow = f"Allow: {reply.allow}\r\n".encode() if reply.allow else b""
    return b"".join(
        (_STATUS[reply.status], form, allow, b"Connection: close\r\n\r\n" if close else b"\r\n", reply.body)
    )
