"""The board itself, as told at birth: machine, system, memory, disk and accelerators."""

import os
import platform
import shutil
from pathlib import Path

import msgspec
import psutil

_ROOT = Path("/")

_USB_CORAL = {("1a6e", "089a"), ("18d1", "9302")}
"""Vendor and product of Coral's USB accelerator, before and after its firmware is loaded."""

MAX_ACCELERATORS = 8
"""As many as the birth message may carry."""


class BoardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the birth message, under the same names."""

    machine: str
    os: str
    python: str
    cpu_count: int
    ram_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    accelerators: tuple[str, ...]


def board(state_dir: Path) -> BoardFacts:
    """Look at the board now; the disk is the one that holds `state_dir`, which must exist."""
    disk = shutil.disk_usage(state_dir)
    return BoardFacts(
        machine=platform.machine(),
        os=_os_name(),
        python=platform.python_version(),
        cpu_count=len(os.sched_getaffinity(0)),
        ram_bytes=psutil.virtual_memory().total,
        disk_total_bytes=disk.total,
        disk_free_bytes=disk.free,
        accelerators=accelerators(),
    )


def accelerators(root: Path = _ROOT) -> tuple[str, ...]:
    """What the file system under `root` shows: `edge-tpu`, `edge-tpu-usb`, `hailo`, `nvidia: Jetson …`. Best effort."""
    found = [
        *("edge-tpu" for _ in sorted(root.glob("dev/apex_[0-9]*"))),
        *("edge-tpu-usb" for device in sorted(root.glob("sys/bus/usb/devices/*")) if _usb_id(device) in _USB_CORAL),
        *("hailo" for _ in sorted(root.glob("dev/hailo[0-9]*"))),
        *_nvidia(root),
    ]
    return tuple(found[:MAX_ACCELERATORS])


def _nvidia(root: Path) -> list[str]:
    model = _text(root / "proc/device-tree/model")
    return [f"nvidia: {model.removeprefix('NVIDIA ')}"] if model.startswith("NVIDIA") else []


def _usb_id(device: Path) -> tuple[str, str]:
    return _text(device / "idVendor"), _text(device / "idProduct")


def _text(path: Path) -> str:
    """The text of a file of the kernel's, without the zero byte of the device tree; empty where there is none."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
