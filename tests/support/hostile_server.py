"""A tiny HTTP server that does one thing wrong, written on the bare socket: one function per fault.

Each is given the connection, with the head of the request read, and the blob; what it leaves undone is closed.
"""

import gzip
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.wait import EVERY_S

HERE = Path(__file__).parent
CERTIFICATE = HERE / "self_signed.pem"
"""Of `localhost`, signed by itself; with its key, for nobody trusts it."""

LIMIT_S = 20.0


class Visit:
    """One request. `first` and `last` are of the range that it asks for."""

    def __init__(self, connection: socket.socket, head: str, blob: bytes, leave: threading.Event) -> None:
        self.connection, self.head, self.blob, self.leave = connection, head, blob, leave
        found = re.search(r"(?im)^range: bytes=(\d+)-(\d+)", head)
        self.first, self.last = (int(found[1]), int(found[2])) if found else (0, len(blob) - 1)

    @property
    def body(self) -> bytes:
        return self.blob[self.first : self.last + 1]

    def say(self, *lines: str, body: bytes = b"") -> None:
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self, *, body: bytes | None = None, **changes: str | None) -> None:
        """Right, but for `changes` of headers; None leaves one out."""
        sent = self.body if body is None else body
        digest = hashlib.sha256(self.blob).hexdigest()
        headers = {
            "Content-Range": f"bytes {self.first}-{self.last}/{len(self.blob)}",
            "Content-Length": str(len(sent)),
            "ETag": f'"{digest}"',
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.say("HTTP/1.1 206 Partial Content", *lines, body=sent)

    def drip(self, data: bytes) -> None:
        """A byte now and then, until the client leaves."""
        for _ in range(int(LIMIT_S / EVERY_S)):
            if self.leave.wait(EVERY_S):
                return
            self.connection.sendall(data)

    def hold(self) -> None:
        """Say nothing more."""
        self.leave.wait(LIMIT_S)


Fault = Callable[[Visit], None]


def no_range(visit: Visit) -> None:
    visit.say("HTTP/1.1 200 OK", f"Content-Length: {len(visit.blob)}", body=visit.blob)


def not_there(visit: Visit) -> None:
    visit.say("HTTP/1.1 404 Not Found", "Content-Length: 0")


def another_range(visit: Visit) -> None:
    visit.first, visit.last = visit.first + 1, visit.last + 1
    visit.answer()


def another_size(visit: Visit) -> None:
    visit.answer(Content_Range=f"bytes {visit.first}-{visit.last}/{len(visit.blob) + 1}")


def no_content_range(visit: Visit) -> None:
    visit.answer(Content_Range=None)


def many_ranges(visit: Visit) -> None:
    visit.answer(
        Content_Range=None, Content_Type="multipart/byteranges; boundary=x", body=b"--x\r\n\r\nbytes\r\n--x--\r\n"
    )


def shorter(visit: Visit) -> None:
    visit.answer(body=visit.body[:-1])


def cut_short(visit: Visit) -> None:
    visit.answer(body=visit.body[:-1], Content_Length=str(len(visit.body)))


def shorter_without_length(visit: Visit) -> None:
    visit.answer(body=visit.body[:-1], Content_Length=None, Connection="close")


def longer(visit: Visit) -> None:
    visit.answer(body=visit.body + b"!")


def endless(visit: Visit) -> None:
    visit.answer(Content_Length=None)
    while not visit.leave.is_set():
        visit.connection.sendall(bytes(65536))


def endless_chunks(visit: Visit) -> None:
    visit.answer(Content_Length=None, Transfer_Encoding="chunked", body=b"")
    while not visit.leave.is_set():
        visit.connection.sendall(b"8000\r\n" + bytes(0x8000) + b"\r\n")


def compressed(visit: Visit) -> None:
    visit.answer(body=gzip.compress(visit.body), Content_Encoding="gzip")


def bad_chunks(visit: Visit) -> None:
    visit.answer(Content_Length=None, Transfer_Encoding="chunked", body=b"not hexadecimal\r\n")


def weak_etag(visit: Visit) -> None:
    visit.answer(ETag=f'W/"{hashlib.sha256(visit.blob).hexdigest()}"')


def another_etag(visit: Visit) -> None:
    visit.answer(ETag='"v2"')


def precondition_failed(visit: Visit) -> None:
    visit.say("HTTP/1.1 412 Precondition Failed", "Content-Length: 0")


def redirect_loop(visit: Visit) -> None:
    path = visit.head.split()[1]
    visit.say("HTTP/1.1 302 Found", f"Location: {path}", "Content-Length: 0")


def redirect_to_nowhere(visit: Visit) -> None:
    visit.say("HTTP/1.1 307 Temporary Redirect", "Content-Length: 0")


def redirect_to_a_file(visit: Visit) -> None:
    visit.say("HTTP/1.1 301 Moved Permanently", "Location: file:///etc/hostname", "Content-Length: 0")


def redirect_beyond_ascii(visit: Visit) -> None:
    visit.connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\xe9\r\nContent-Length: 0\r\n\r\n")


def garbage(visit: Visit) -> None:
    visit.connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")


def hang_up(visit: Visit) -> None:
    """Nothing at all."""


def endless_head(visit: Visit) -> None:
    visit.connection.sendall(b"HTTP/1.1 206 Partial Content\r\n")
    while not visit.leave.is_set():
        visit.connection.sendall(b"X-Padding: " + b"a" * 4000 + b"\r\n")


def endless_hints(visit: Visit) -> None:
    while not visit.leave.is_set():
        visit.connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def silent(visit: Visit) -> None:
    visit.hold()


def dripping_head(visit: Visit) -> None:
    visit.connection.sendall(b"HTTP/1.1 206 Partial Content\r\nX-Padding: ")
    visit.drip(b"a")


def stalled_body(visit: Visit) -> None:
    visit.answer(body=visit.body[:100], Content_Length=str(len(visit.body)))
    visit.hold()


def dripping_body(visit: Visit) -> None:
    visit.answer(body=b"", Content_Length=str(len(visit.body)))
    visit.drip(visit.body[:1])


@contextmanager
def misbehaving(fault: Fault, blob: bytes, *, tls: bool = False) -> Iterator[str]:
    """The base URL of a server that has this fault at every request, one connection after another."""
    leave = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if context is not None:
        context.load_cert_chain(CERTIFICATE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, fault, blob, leave, context), daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}/artifacts"
        finally:
            leave.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT_S)


def _serve(
    listener: socket.socket, fault: Fault, blob: bytes, leave: threading.Event, context: ssl.SSLContext | None
) -> None:
    while not leave.is_set():
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(LIMIT_S)
            with connection if context is None else context.wrap_socket(connection, server_side=True) as peer:
                while head := _head(peer):
                    fault(Visit(peer, head, blob, leave))
                    if fault not in (redirect_loop,):
                        break


def _head(connection: socket.socket) -> str:
    """Of the next request; empty where there is none."""
    found = b""
    while b"\r\n\r\n" not in found:
        data = connection.recv(4096)
        if not data:
            return ""
        found += data
    return found.decode("latin-1")
