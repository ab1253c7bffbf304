"""One request for a run of blocks, or for the list of their hashes, over HTTP: what an answer must be like.

Rules upheld here:
- The digest of a blob is its strong ETag. An answer that carries a weak or another one is not of this blob; one that
  carries none is judged by its bytes alone, as all are: hashes decide, and the ETag only saves the way.
- An answer is the range that was asked for, as it is: not compressed, not shorter, and nothing after it is read.
- Every block is handed on when it is whole, so that a cut keeps what has come; the last one waits for the end.
- Redirects are followed a few times, and never from https to http.
- httpcore costs memory that most boards never need, so it is imported with the first request.
"""

import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import msgspec

from wherry.protocol.blob import BlobRef
from wherry.protocol.limits import BLOCK_BYTES, HASH_BYTES

if TYPE_CHECKING:
    import httpcore

    from wherry.agent.adapters.slow_links import SlowLimits

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """`count` blocks of a blob from `first` on, at `url`; its list of hashes where `first` is None."""

    url: str
    ref: BlobRef
    first: int | None
    count: int = 1

    @property
    def target(self) -> str:
        return self.url if self.first is not None else f"{self.url}/hashes"

    @property
    def size_bytes(self) -> int:
        if self.first is None:
            return self.ref.block_count * HASH_BYTES
        return sum(self.ref.block_size_bytes(self.first + step) for step in range(self.count))

    @property
    def is_everything(self) -> bool:
        """Whether a server without ranges may send it: its whole file is what is wanted."""
        return self.first is None or self.size_bytes == self.ref.size_bytes

    @property
    def content_range(self) -> str:
        start = (self.first or 0) * BLOCK_BYTES
        return f"bytes {start}-{start + self.size_bytes - 1}/{self.ref.size_bytes}"

    def headers(self) -> dict[bytes | str, bytes | str]:
        found: dict[bytes | str, bytes | str] = {"Accept-Encoding": "identity", "User-Agent": "wherry-agent"}
        if self.first is not None:
            spec = self.content_range.removeprefix("bytes ").partition("/")[0]
            found |= {"Range": f"bytes={spec}", "If-Range": f'"{self.ref.digest}"', "If-Match": f'"{self.ref.digest}"'}
        return found


class Unsuitable(Exception):
    """The server did not give the bytes that were asked for; the text is for people."""


class Ranges:
    """A client that keeps its connections. Not for several threads."""

    def __init__(self, limits: "SlowLimits") -> None:
        import httpcore

        from wherry.agent.adapters.slow_links import Meter, MeteredBackend

        self._limits, self._meter = limits, Meter
        self._backend = MeteredBackend(Meter(limits))
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=self._backend, max_connections=2
        )

    def close(self) -> None:
        """End its connections."""
        self._pool.close()

    def blocks(self, run: Run) -> Generator[bytes, None, None]:
        """The blocks in order, each of its size; the list of hashes comes as one. Raises Unsuitable."""
        try:
            with self._answer(run) as response:
                _check(run, response.status, _headers(response))
                self._backend.meter.begin_body()
                yield from _cut(run, response.iter_stream())
        except Unsuitable as error:
            raise Unsuitable(f"{run.target}: {error}") from error
        except Exception as error:
            if not _is_the_peers(error):
                raise
            raise Unsuitable(f"{run.target}: {error or type(error).__name__}") from error

    @contextmanager
    def _answer(self, run: Run) -> "Iterator[httpcore.Response]":
        """Follow redirects. All of them together have the time of one head."""
        self._backend.meter = self._meter(self._limits)
        url = run.target
        for _ in range(MAX_REDIRECTS + 1):
            with self._pool.stream("GET", _known(url), headers=run.headers()) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                url = _follow(url, _headers(response).get("location", ""))
        raise Unsuitable(f"redirects more than {MAX_REDIRECTS} times")


def _known(url: str) -> str:
    if not url.isascii():
        raise Unsuitable(f"{url[:200]!a} is not ASCII; a URL has other letters as %xx, a host as xn--")
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unsuitable(f"{url} is neither http nor https")
    return url


def _follow(url: str, location: str) -> str:
    if not location:
        raise Unsuitable("redirects to nowhere")
    there = urljoin(url, location)
    if url.startswith("https:") and not there.startswith("https:"):
        raise Unsuitable(f"redirects from https to {there}")
    return there


def _is_the_peers(error: Exception) -> bool:
    """What a server or the network can cause, and what a URL can be."""
    import httpcore

    from wherry.agent.adapters.slow_links import TooSlow

    known = (
        httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol,
        TooSlow, UnicodeError, ValueError,
    )  # fmt: skip
    return isinstance(error, known)


def _headers(response: "httpcore.Response") -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _check(run: Run, status: int, headers: dict[str, str]) -> None:
    """Refuse what the head of an answer shows already. Raises Unsuitable."""
    etag = headers.get("etag")
    if run.first is not None and etag is not None and etag != f'"{run.ref.digest}"':
        kind = "a weak" if etag.startswith("W/") else "another"
        raise Unsuitable(f"has {kind} ETag, {etag[:80]}, where the digest is asked for")
    if status != 206 and not (status == 200 and run.is_everything):
        raise Unsuitable(f"answered {status} to a {'range request' if run.first is not None else 'request'}")
    found = headers.get("content-range")
    if status == 206 and found != run.content_range:
        raise Unsuitable(f"answered range {found!r}, asked for {run.content_range!r}")
    if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
        raise Unsuitable(f"answered in the encoding {encoding[:40]!r}, which was not asked for")
    length = headers.get("content-length", "")
    if length and length != str(run.size_bytes):
        raise Unsuitable(f"announced {length[:20]} bytes, asked for {run.size_bytes}")


def _cut(run: Run, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Hand on each block that is whole; one that ends the answer once nothing followed it. Raises Unsuitable."""
    pending, passed, wanted = bytearray(), 0, run.size_bytes
    step = BLOCK_BYTES if run.first is not None else wanted
    for chunk in chunks:
        pending += chunk
        if passed + len(pending) > wanted:
            raise Unsuitable(f"sent more than the {wanted} bytes asked for")
        while len(pending) >= step and passed + step < wanted:
            yield bytes(pending[:step])
            del pending[:step]
            passed += step
    if passed + len(pending) != wanted:
        raise Unsuitable(f"sent {passed + len(pending)} of {wanted} bytes")
    if pending:
        yield bytes(pending)
