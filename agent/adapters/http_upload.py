"""Puts a bundle where its order says, over HTTP, in a thread of its own.

Rules upheld here:
- The whole is named by its digest (`Repr-Digest`, RFC 9530), so that what arrives can be verified.
- httpcore costs memory that most boards never need, so it is imported with the first upload.
- It ends with exactly one `HttpUploaded`, whatever the server does; how long it may take is the caller's matter.
"""

import base64
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

LIMIT_S = 20.0
"""For each step: connecting, sending a piece, the answer."""


class HttpUploaded(msgspec.Struct, frozen=True):
    """`problem` is empty where the server has it."""

    action_id: str
    problem: str


class HttpUpload:
    def __init__(self, on_event: Callable[[HttpUploaded], None]) -> None:
        self._on_event = on_event

    def put(self, url: str, action_id: str, data: bytes, digest: str) -> None:
        """Start; the answer comes as an event."""
        work = threading.Thread(
            target=lambda: self._on_event(HttpUploaded(action_id, _put(url, data, digest))), name="upload", daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:
            self._on_event(HttpUploaded(action_id, f"no thread: {error}"))


def repr_digest(digest: str) -> str:
    """A SHA-256 in hexadecimal digits as the header has it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"


def _put(url: str, data: bytes, digest: str) -> str:
    import httpcore

    timeout = dict.fromkeys(("connect", "read", "write", "pool"), LIMIT_S)
    try:
        headers = [("Content-Type", "application/gzip"), ("Content-Length", str(len(data)))]
        headers += [("Host", urlsplit(url).netloc), ("Repr-Digest", repr_digest(digest))]
        with httpcore.stream("PUT", url, headers=headers, content=data, extensions={"timeout": timeout}) as answer:
            status = answer.status  # what else the server says, perhaps without end, is not read
    except Exception as error:  # noqa: BLE001  also what TLS, an odd URL or an odd server raise: blocks follow
        return f"{url}: {str(error) or type(error).__name__}"
    return "" if 200 <= status < 300 else f"{url}: HTTP status {status}"
