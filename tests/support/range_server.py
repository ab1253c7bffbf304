"""A small HTTP server of blobs by digest, with Range, as the controller's."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving_blobs(blobs: Mapping[str, bytes], *, spoil: bytes = b"", status: int = 206) -> Iterator[str]:
    """The base URL. `spoil` is appended to every answer; `status` other than 206 is sent instead of bytes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            blob = blobs.get(self.path.rsplit("/", 1)[1])
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if blob is None or found is None or status != 206:
                self._answer(404 if status == 206 else status, b"no")
                return
            first, last = int(found[1]), int(found[2])
            body = blob[first : last + 1]
            self._answer(206, body + spoil, f"bytes {first}-{first + len(body) - 1}/{len(blob)}")

        def _answer(self, code: int, body: bytes, content_range: str = "") -> None:
            self.send_response(code)
            if content_range:
                self.send_header("Content-Range", content_range)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/blobs"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
