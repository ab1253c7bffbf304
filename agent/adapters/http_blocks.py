"""Blocks over HTTP, by Range requests, in a thread of its own that exists once something was asked.

Rules upheld here:
- What is asked for twice before it was answered is fetched once, so what waits is bounded by the blobs' sizes.
- What is forgotten is not fetched any more, and not answered.
- httpx costs memory that most boards never need, so it is imported with the first request.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from wherry.protocol.blob import BlobRef
from wherry.protocol.limits import BLOCK_BYTES

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 15.0


class HttpBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one block: `data` of the length asked for, or a reason why not."""

    digest: str
    index: int
    data: bytes | None = None
    reason: str = ""


_Key = tuple[str, int]
"""Digest and index of a block."""


class _Request(msgspec.Struct, frozen=True):
    url: str
    ref: BlobRef
    index: int


class _Unsuitable(Exception):
    """The server answered something else than the bytes that were asked for."""


class HttpBlocks:
    def __init__(self, on_block: Callable[[HttpBlock], None]) -> None:
        self._on_block = on_block
        self._wanted: dict[_Key, _Request] = {}
        self._asked = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, artifacts_url: str, ref: BlobRef, index: int) -> None:
        """Fetch one block of `{artifacts_url}/{digest}`; the answer comes to `on_block`. Never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="http blocks", daemon=True)
            self._thread.start()
        request = _Request(f"{artifacts_url.rstrip('/')}/{ref.digest}", ref, index)
        with self._asked:
            self._wanted.setdefault((ref.digest, index), request)
            self._asked.notify()

    def forget(self, digest: str) -> None:
        """Nobody wants blocks of this blob any more."""
        with self._asked:
            self._wanted = {key: request for key, request in self._wanted.items() if key[0] != digest}

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
            while True:
                request = self._oldest()
                try:
                    data, reason = _fetch(client, request), ""
                except (httpx.HTTPError, httpx.InvalidURL, _Unsuitable) as error:
                    data, reason = None, f"{request.url}: {error or type(error).__name__}"
                digest, index = request.ref.digest, request.index
                if self._strike_out((digest, index)):
                    self._on_block(HttpBlock(digest=digest, index=index, data=data, reason=reason))

    def _oldest(self) -> _Request:
        """What has waited longest. It stays wanted while it is fetched."""
        with self._asked:
            self._asked.wait_for(lambda: self._wanted)
            return next(iter(self._wanted.values()))

    def _strike_out(self, key: _Key) -> bool:
        """Whether it was wanted until now."""
        with self._asked:
            return self._wanted.pop(key, None) is not None


def _fetch(client: "httpx.Client", request: _Request) -> bytes:
    """The bytes of one block; reads no more than were asked for."""
    size = request.ref.block_size_bytes(request.index)
    first = request.index * BLOCK_BYTES
    whole = request.ref.block_count == 1
    with client.stream("GET", request.url, headers={"Range": f"bytes={first}-{first + size - 1}"}) as response:
        if response.status_code != 206 and not (whole and response.status_code == 200):
            raise _Unsuitable(f"answered {response.status_code} to a range request")
        expected = f"bytes {first}-{first + size - 1}/{request.ref.size_bytes}"
        if response.status_code == 206 and response.headers.get("content-range") != expected:
            raise _Unsuitable(f"answered range {response.headers.get('content-range')!r}, asked for {expected!r}")
        data = bytearray()
        for chunk in response.iter_raw(size + 1):
            data += chunk
            if len(data) > size:
                raise _Unsuitable(f"sent more than the {size} bytes asked for")
    if len(data) != size:
        raise _Unsuitable(f"sent {len(data)} of {size} bytes")
    return bytes(data)
