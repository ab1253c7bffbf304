"""A runtime that, instead of computing, tries what a hijacked one would: loaded in the real worker.

`python -m tests.support.hostile_runtime --fd N` is the worker with this for LiteRT. The model's file is JSON: `Target`.
What came of the tries made while loading is the runtime's version; what came of those made when the model is warm
is the error of the first inference. Each is said as `name=worked` or `name=refused`.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wherry.agent.worker import runtimes
from wherry.agent.worker.__main__ import main
from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

SPEC = TensorSpec(name="x", shape=(1, 4), dtype="float32")
REFUSALS = (errno.EPERM, errno.EACCES)

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
PR_SET_DUMPABLE = 4


class Target(NamedTuple):
    """What is there to be hurt: the supervisor, its files, and somebody who listens."""

    supervisor: int
    directory: str
    state: str
    port: int
    unix: str


def load(path: Path, _threads: int) -> "Hostile":
    return Hostile(Target(**json.loads(path.read_text())))


class Hostile:
    inputs = outputs = (SPEC,)

    def __init__(self, target: Target) -> None:
        self._target = target
        self.version = tell(try_all(target))

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        raise ArithmeticError(tell(try_all(self._target)))


def tell(worked: dict[str, bool]) -> str:
    return " ".join(f"{name}={'worked' if it else 'refused'}" for name, it in worked.items())


def heard(text: str) -> dict[str, bool]:
    """What `tell` told, whatever stands around it."""
    return {word.split("=")[0]: word.endswith("=worked") for word in text.split() if "=" in word}


def try_all(target: Target) -> dict[str, bool]:
    return {name: works(attempt, target) for name, attempt in ATTEMPTS.items()}


def works(attempt: Callable[[Target], object], target: Target) -> bool:
    """False where the system refused; what else goes wrong is a mistake of this harness, and is raised."""
    try:
        attempt(target)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return False
    return True


def read_passwd(_target: Target) -> None:
    Path("/etc/passwd").read_bytes()


def read_state(target: Target) -> None:
    Path(target.state).read_bytes()


def list_state(target: Target) -> None:
    [*Path(target.directory).iterdir()]


def write_file(target: Target) -> None:
    path = Path(target.directory, f"written-{os.getpid()}")
    try:
        path.write_bytes(b"x")
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise PermissionError(errno.EPERM, "made, but nothing written") from None
        raise
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def connect_tcp(target: Target) -> None:
    socket.create_connection(("127.0.0.1", target.port), timeout=5).close()


def connect_unix(target: Target) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(target.unix)


def listen_tcp(_target: Target) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def execute(_target: Target) -> None:
    """A program that is there and cannot be loaded, so that this process is not replaced where it is let."""
    try:
        os.execv("/bin/sh", ["x" * 2**18] * 64)  # noqa: S606 - that is what is tried
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise


def fork(_target: Target) -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def start_program(_target: Target) -> None:
    subprocess.run(["/bin/true"], check=True)


def kill_supervisor(target: Target) -> None:
    os.kill(target.supervisor, 0)


def kill_by_thread(target: Target) -> None:
    check(ctypes.CDLL(None, use_errno=True).tgkill(target.supervisor, target.supervisor, 0))


def signal_by_file(target: Target) -> None:
    """A pipe whose arriving data the kernel tells the supervisor with a signal: here one that does nothing."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, fcntl.F_SETOWN, target.supervisor)
        fcntl.fcntl(reading, fcntl.F_SETSIG, signal.SIGWINCH)
    finally:
        os.close(reading)
        os.close(writing)


def read_memory(target: Target) -> None:
    with Path(f"/proc/{target.supervisor}/mem").open("rb"):
        pass


def trace_supervisor(target: Target) -> None:
    """PTRACE_SEIZE, which stops nothing, and is undone by the end of the thread that did it."""
    failed: list[OSError] = []

    def seize() -> None:
        try:
            check(ctypes.CDLL(None, use_errno=True).ptrace(0x4206, target.supervisor, 0, 0))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=seize)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def own_namespace(_target: Target) -> None:
    """In a child where there can be one, so that this process keeps its own."""
    if (child := os.fork()) == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 else 1)
    if os.waitpid(child, 0)[1]:
        raise PermissionError(errno.EPERM, "unshare")


def be_dumpable(_target: Target) -> None:
    check(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def hide_a_program(_target: Target) -> None:
    os.close(os.memfd_create("program"))


def hold_code(_target: Target) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


ATTEMPTS: dict[str, Callable[[Target], object]] = {
    "passwd": read_passwd,
    "state": read_state,
    "list": list_state,
    "write": write_file,
    "tcp": connect_tcp,
    "unix": connect_unix,
    "listen": listen_tcp,
    "exec": execute,
    "fork": fork,
    "program": start_program,
    "kill": kill_supervisor,
    "tgkill": kill_by_thread,
    "sigio": signal_by_file,
    "mem": read_memory,
    "ptrace": trace_supervisor,
    "unshare": own_namespace,
    "dumpable": be_dumpable,
    "memfd": hide_a_program,
    "code": hold_code,
}
"""Short names: a message of 500 characters carries them all."""

ONLY_WHEN_LOCKED = {"code"}
"""Allowed while loading: a library is code."""

if __name__ == "__main__":
    runtimes.MODULES["litert"] = "tests.support.hostile_runtime"
    sys.exit(main())
