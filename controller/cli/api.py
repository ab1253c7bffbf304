"""The controller's HTTP API as the commands call it.

A problem that the controller answers with becomes the error that it was there: NotFound, Conflict,
Invalid, NotAllowed or Unavailable. A status of 500 becomes ServerBug. A redirection is not followed: the
token is for the controller that was named.
"""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import msgspec

from wherry.controller.cli.context_file import resolve
from wherry.controller.cli.show import plain
from wherry.controller.errors import Conflict, ControllerError, Invalid, NotAllowed, NotFound, Unavailable

TIMEOUT_S = 60.0

ERRORS: dict[int, type[ControllerError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
}


class ServerBug(Exception):
    """The controller failed in a way that is nobody's mistake but ours."""


class Api:
    """The controller at `url`, or the one that is meant without; a connection a call, so there is nothing to close."""

    def __init__(self, url: str) -> None:
        meant = resolve(url)
        self.url = meant.url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {meant.token}"} if meant.token else {}
        # Reading the certificates takes 20 ms a call; without encryption there is nothing to verify with them.
        self._encrypted = self.url.startswith("https:")

    def get(self, path: str, **query: str | int) -> Any:
        return self._call("GET", path, params=query)

    def get_text(self, path: str) -> str:
        return self._answer("GET", path).text

    def get_bytes(self, path: str) -> bytes:
        return self._answer("GET", path).content

    def post(self, path: str, body: object = None) -> Any:
        return self._call("POST", path, content=msgspec.json.encode(body if body is not None else {}))

    def put(self, path: str, body: object) -> Any:
        return self._call("PUT", path, content=msgspec.json.encode(body))

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", path, content=msgspec.json.encode(body))

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def put_file(self, path: str, file: Path) -> Any:
        """With a bar on a terminal, on standard error, as long as it takes."""
        with _opened(file) as content:
            return self._call("PUT", path, content=content)

    def _call(self, method: str, path: str, **more: Any) -> Any:
        return _decoded(self._answer(method, path, **more), self.url)

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = httpx.request(
                method,
                f"{self.url}/api/v1/{path}",
                timeout=TIMEOUT_S,
                verify=self._encrypted,
                headers=self._headers,
                **more,
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Invalid(f"{self.url!r} is not a URL", "use http://HOST:PORT") from error
        except httpx.TransportError as error:
            raise Unavailable(
                f"no controller answers at {self.url}",
                "start one with `wherry controller`, or name it with --url or `wherry context use`",
            ) from error
        if response.is_success:
            return response
        raise _error(response, self.url)


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    if not sys.stderr.isatty():
        return file.open("rb")
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import open as open_with_bar

    name = escape(plain(file.name))
    return open_with_bar(file, "rb", description=name, console=Console(stderr=True), transient=True)


def _decoded(response: httpx.Response, url: str) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise Unavailable(f"what answers at {url} is not a controller", "name the controller with --url") from error


def _error(response: httpx.Response, url: str) -> Exception:
    if "problem+json" not in response.headers.get("content-type", ""):
        return Unavailable(f"what answers at {url} is not a controller", "name the controller with --url")
    problem = msgspec.json.decode(response.content)
    if response.status_code == 500:
        return ServerBug(problem["detail"])
    return ERRORS.get(response.status_code, Invalid)(problem["detail"], problem.get("fix", ""))
