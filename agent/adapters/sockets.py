"""The listening sockets of the data plane: opened once, held by the supervisor, and lent to whichever worker answers.

Rules upheld here:
- A socket stays open as long as the agent runs: what connects while no worker answers waits, and is not refused.
- A socket file that an earlier agent left behind is replaced; the lock of the state directory says that it is ours.
- Apps find the sockets where the configuration says. Reasons for another place are a disk that can only be read, and a
  state directory so deep that sockets in it would have no address, where the configuration asks for no place.
"""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wherry.agent.config import Config, SlotConfig
from wherry.agent.errors import SocketUnusable
from wherry.agent.services import Listening
from wherry.agent.worker.messages import Listener

BACKLOG = 512
"""Connections that wait while a worker starts; the system's own limit may be lower."""

MAX_PATH_BYTES = 107
"""Of a Unix socket's address on Linux (unix(7))."""


def socket_path(config: Config, slot: str, kind: Listener) -> Path:
    """Where apps find the slot."""
    return Path(config.data_plane.directory) / (f"{slot}.sock" if kind == "http" else f"{slot}.fast.sock")


@contextlib.contextmanager
def settled(config: Config) -> Iterator[Config]:
    """With a directory for sockets that can be written: where there is none, one for temporary files.

    That one is removed at the end. Raises SocketUnusable, also where only this user may not write: apps look at the
    place that was asked for, and would find nobody.
    """
    directory = config.data_plane.directory
    is_default = directory == f"{config.state_dir}/sockets"
    if not (is_default and _is_too_deep(config)) and _can_be_written(Path(directory)):
        yield config
        return
    try:
        spare = tempfile.TemporaryDirectory(prefix=f"wherry-{config.device}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise SocketUnusable(directory, "cannot hold sockets, and there is no place for temporary files") from error
    with spare as path:
        data_plane = msgspec.structs.replace(config.data_plane, directory=path)
        yield msgspec.structs.replace(config, data_plane=data_plane)


def _is_too_deep(config: Config) -> bool:
    return any(len(os.fsencode(socket_path(config, slot, "fast"))) > MAX_PATH_BYTES for slot in config.slots)


def _can_be_written(directory: Path) -> bool:
    """False on a disk that can only be read, found by trying: one that the kernel gave up is not marked as such.

    Raises SocketUnusable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            return error.errno != errno.EROFS  # a full disk may have room for a socket still
        raise SocketUnusable(str(directory), error.strerror or str(error)) from error


@contextlib.contextmanager
def listening(config: Config) -> Iterator[dict[str, Listening]]:
    """Open the sockets of every slot of a settled `config`; closed and removed at the end. Raises SocketUnusable."""
    with contextlib.ExitStack() as stack:
        yield {name: _of_slot(stack, config, name, slot) for name, slot in config.slots.items()}


def _of_slot(stack: contextlib.ExitStack, config: Config, name: str, slot: SlotConfig) -> Listening:
    kinds: list[Listener] = ["http", "fast"]
    opened = [stack.enter_context(_unix(config, name, kind)) for kind in kinds]
    if slot.http_port is not None:
        opened.append(stack.enter_context(_tcp(slot.http_port)))
        kinds.append("http")
    return Listening(tuple(kinds), tuple(sock.fileno() for sock in opened))


@contextlib.contextmanager
def _unix(config: Config, slot: str, kind: Listener) -> Iterator[socket.socket]:
    path = socket_path(config, slot, kind)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise SocketUnusable(str(path), f"is longer than the {MAX_PATH_BYTES} bytes that a socket's path may have")
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            path.unlink(missing_ok=True)
            sock.bind(str(path))
            path.chmod(int(config.data_plane.socket_mode, 8))
            sock.listen(BACKLOG)
        except OSError as error:
            raise SocketUnusable(str(path), error.strerror or str(error)) from error
        yield sock
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _tcp(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen(BACKLOG)
        except OSError as error:
            raise SocketUnusable(f"127.0.0.1:{port}", error.strerror or str(error)) from error
        yield sock


def addresses(config: Config, slot: str) -> tuple[str, ...]:
    """Where apps reach the slot, as a person reads it."""
    port = config.slots[slot].http_port
    kinds: tuple[Listener, ...] = ("http", "fast")
    unix = tuple(str(socket_path(config, slot, kind)) for kind in kinds)
    return unix if port is None else (*unix, f"127.0.0.1:{port}")
