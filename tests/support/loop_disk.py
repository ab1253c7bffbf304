"""Disks in files: ext4, a loop device, and a mount in a namespace that ends with its process. Takes root."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("mkfs.ext4", "losetup", "unshare", "mount", "umount")
_SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_LIBC = ctypes.CDLL(None, use_errno=True)


class NoLoopDisk(Exception):
    """This machine gives no loop device or mount, and why."""


def tool(name: str) -> str:
    """The path of a program. Raises NoLoopDisk."""
    found = shutil.which(name, path=_SEARCHED)
    if found is None:
        raise NoLoopDisk(f"{name} is not installed")
    return found


def make_ext4(image: Path, size_mib: int, *options: str) -> None:
    """An empty file system, with nothing left to be initialised in the background. Raises NoLoopDisk."""
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    lazy = ("-E", "lazy_itable_init=0,lazy_journal_init=0")
    subprocess.run([tool("mkfs.ext4"), "-q", "-F", *lazy, *options, str(image)], check=True)


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """Its path in /dev. Raises NoLoopDisk."""
    found = subprocess.run([tool("losetup"), "--find", "--show", str(image)], capture_output=True, text=True)
    if found.returncode:
        raise NoLoopDisk(f"no loop device: {found.stderr.strip()}")
    device = found.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run([tool("losetup"), "--detach", device], check=True)


@contextmanager
def mounted(device: str, directory: Path) -> Iterator[None]:
    """By the system call itself, which is faster than the program. Raises OSError where the kernel refuses."""
    directory.mkdir(exist_ok=True)
    _call(_LIBC.mount, device.encode(), bytes(directory), b"ext4", 0, None)
    try:
        yield
    finally:
        _call(_LIBC.umount2, bytes(directory), 0)


def _call(function: object, *arguments: object) -> None:
    if function(*arguments):  # type: ignore[operator]
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_own_namespace(command: list[str]) -> list[str]:
    """The command, with mounts that nobody else sees and that end with it."""
    return [tool("unshare"), "--mount", "--propagation", "private", *command]


def try_out() -> None:
    """Raises NoLoopDisk where one of all this does not work here."""
    for name in TOOLS:
        tool(name)
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "disk.img"
        make_ext4(image, 2, "-O", "^has_journal")
        done = subprocess.run(in_own_namespace(["true"]), capture_output=True, text=True)
        if done.returncode:
            raise NoLoopDisk(f"no namespace for mounts: {done.stderr.strip()}")
        with loop_device(image) as device:
            script = f"mount -t ext4 {device} {name} && umount {name}"
            done = subprocess.run(in_own_namespace(["sh", "-c", script]), capture_output=True, text=True)
        if done.returncode:
            raise NoLoopDisk(f"no mount of a loop device: {done.stderr.strip()}")
