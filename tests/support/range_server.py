"""A small HTTP server of blobs by digest and of their lists of hashes, with Range and ETag, as the controller's."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wherry.protocol.blob import hash_list


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client may keep its connection

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none."""


@contextmanager
def serving_blobs(
    blobs: Mapping[str, bytes],
    *,
    spoil: bytes = b"",
    status: int = 206,
    has_lists: bool = True,
    asked: list[str] | None = None,
) -> Iterator[str]:
    """The base URL. `spoil` is appended to every answer; `status` other than 206 is sent instead of bytes.

    A server that knows nothing of Wherry has no lists. `asked` takes down what was asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            digest = self.path.split("/")[2]
            blob = blobs.get(digest)
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if asked is not None:
                asked.append(found[0] if found else self.path)
            if blob is not None and has_lists and status == 206 and self.path.endswith("/hashes"):
                self._answer(200, hash_list(blob))
                return
            if blob is None or found is None or status != 206:
                self._answer(404 if status == 206 else status, b"no")
                return
            first, last = int(found[1]), int(found[2])
            body = blob[first : last + 1]
            self._answer(206, body + spoil, f"bytes {first}-{first + len(body) - 1}/{len(blob)}", digest)

        def _answer(self, code: int, body: bytes, content_range: str = "", etag: str = "") -> None:
            self.send_response(code)
            if content_range:
                self.send_header("Content-Range", content_range)
            if etag:
                self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = _QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/blobs"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
