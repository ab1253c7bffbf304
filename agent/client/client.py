"""The client of one slot.

Rules upheld here:
- An inference changes nothing, so what was not answered is asked again, until the deadline: over a switch, a crash or a
  restart of the agent an app waits longer, and sees no error.
- A request that ends two workers is not given to a third.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wherry.agent.client.answer import Answer
from wherry.agent.client.errors import Lost, ModelFailed, NotServed, Refused
from wherry.agent.client.fast import FastLink
from wherry.agent.client.frames import NO_LABEL, Hello
from wherry.agent.client.link import Broken, Link, Unread
from wherry.agent.worker.fit import Unfit, right_class
from wherry.agent.worker.runtimes.interpreter import Tensor

DIRECTORY = "/run/wherry-agent"
"""Where the service has its sockets (RuntimeDirectory= of the unit)."""

PAUSE_S = 0.02
"""Between two tries to connect: a worker starts in half a second."""

MAX_ENDED = 2
"""Workers that one request may see the end of."""

Inputs = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]


class Client:
    """Asks `slot` of the agent on this device. Several threads may share one; they wait for each other."""

    def __init__(
        self,
        slot: str = "main",
        *,
        directory: str | Path | None = None,
        http: bool = False,
        url: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        """Nothing is connected yet. `directory` of the sockets: else that in WHERRY_SOCKETS, else the service's.

        `http` speaks the Open Inference Protocol instead of the fast mode, on the slot's other socket or, with a `url`
        such as `http://127.0.0.1:8000`, over TCP. Raises ValueError for a `url` that is none, and for no time at all.
        """
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be more than 0, not {timeout_s:g}")
        sockets = Path(directory or os.environ.get("WHERRY_SOCKETS") or DIRECTORY)
        self._open = _way(sockets, slot, http=http, url=url)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._link: Link | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def served(self) -> Hello:
        """Who answers now, and what it takes and gives. Raises NotServed."""
        with self._lock:
            return self._connected(monotonic() + self._timeout_s).hello

    def infer(self, inputs: Inputs, *, label: int | None = None) -> Answer:
        """Ask for one prediction.

        `inputs`: one array for a model of one input, else a sequence in the model's order, or a mapping by name; each
        of the model's shape, with the batch of 1 or without. Arrays of the model's own stored type go in as they are;
        all others are prepared as the version's manifest says. `label` is the right class, where it is known: the
        device then measures accuracy. Raises NotServed, Refused, ModelFailed or Lost.
        """
        with self._lock:
            return self._infer(inputs, label)

    def _infer(self, inputs: Inputs, label: int | None) -> Answer:
        deadline_s, ended, unread = monotonic() + self._timeout_s, 0, 0
        while True:
            link = self._connected(deadline_s)
            try:
                answer = link.ask(_ordered(inputs, link.hello), _class(label, link.hello))
            except Unread as error:
                self._drop()
                if unread:  # the first time it was a worker that gave way to the next one, which is there already
                    self._pause(error, deadline_s)
                unread += 1
                continue
            except Broken as error:
                self._drop()
                ended += 1
                if ended >= MAX_ENDED:
                    raise Lost(f"{ended} workers ended over this request: {error}") from error
                continue
            except (Refused, ModelFailed):
                raise  # an answer, too
            except BaseException:
                self._drop()  # half an answer may be left behind
                raise
            return answer

    def _connected(self, deadline_s: float) -> Link:
        """A link that waits no longer than there is time. Raises NotServed."""
        if self._link is not None and self._link.moved:
            self._drop()
        if self._link is not None:
            self._link.limit(self._timeout_s)
        while self._link is None:
            try:
                self._link = self._open(_left_s(deadline_s))
                self._link.limit(_left_s(deadline_s))
            except Unread as error:
                self._pause(error, deadline_s)
        return self._link

    def _pause(self, error: Unread, deadline_s: float) -> None:
        """Before the next try. Raises NotServed where there is no time for one."""
        if monotonic() + PAUSE_S >= deadline_s:
            raise NotServed(
                f"{error}: nobody answers for {self._timeout_s:g} s; is wherry-agent running, does the slot "
                "hold a version (wherry-agent status)? Name the sockets' directory in WHERRY_SOCKETS"
            ) from error
        sleep(PAUSE_S)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _left_s(deadline_s: float) -> float:
    """Never none at all: for the kernel that is for ever."""
    return max(deadline_s - monotonic(), PAUSE_S)


def _way(sockets: Path, slot: str, *, http: bool, url: str) -> Callable[[float], Link]:
    """How a link is made that waits so many seconds for the worker."""
    if not http and not url:
        return lambda limit_s: FastLink(sockets / f"{slot}.fast.sock", limit_s)
    from wherry.agent.client.http import HttpLink, address  # an app of the fast mode does without

    target = address(url) if url else sockets / f"{slot}.sock"
    return lambda limit_s: HttpLink(target, slot, limit_s)


def _class(label: int | None, hello: Hello) -> int:
    """As it is sent. Raises Refused."""
    if label is None:
        return NO_LABEL
    try:
        return right_class(label, hello.outputs)
    except Unfit as error:
        raise Refused(str(error)) from error


def _ordered(inputs: Inputs, hello: Hello) -> list[Tensor]:
    """One array for each input of the model, in its order. Raises Refused."""
    if type(inputs) is np.ndarray and len(hello.inputs) == 1:
        return [inputs]  # what is asked most, and the checks below take longer than all the rest
    names = [spec.name for spec in hello.inputs]
    if isinstance(inputs, Mapping):
        missing = [name for name in names if name not in inputs]
        if missing or len(inputs) != len(names):
            raise Refused(f"the model takes {', '.join(names)}; given were {', '.join(inputs)}")
        return [_array(name, inputs[name]) for name in names]
    if len(names) == 1:
        return [_array(names[0], inputs)]
    if not isinstance(inputs, Sequence) or len(inputs) != len(names):
        raise Refused(f"the model takes {len(names)} inputs: {', '.join(names)}")
    return [_array(name, entry) for name, entry in zip(names, inputs, strict=True)]


def _array(name: str, given: Any) -> Tensor:
    """Raises Refused, as for lists of different lengths."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise Refused(f"{name} is no array: {error}") from error
